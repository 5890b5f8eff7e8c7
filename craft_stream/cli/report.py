"""`craft-stream report`: the page of what was selected, from what was written of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer

from craft_stream.cli.engine import load_model
from craft_stream.cli.files import named_paths, protect_inputs, read_messages
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.reporting import ReportFile
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.reading.records import DecodeReason
from craft_stream.report.rows import Rows
from craft_stream.selection.decisions import Reason
from craft_stream.settings import RecordSettings

app = typer.Typer(add_completion=False)

_REASONS = {reason.label: int(reason) for reason in Reason}


@app.command(epilog="Example: craft-stream report decisions.jsonl --model model.bin --output report.html")
def report(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="What `score`, or `select --decisions --texts`, wrote."),
    ],
    output: Annotated[str, typer.Option(metavar="FILE", help="The page, for a browser.")],
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="That scored them, to compare clusters with the target."),
    ] = None,
    input_format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where names do not tell it: tsv, parquet, ...")
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Show scored pairs, or decisions, as one page: what `select --report` writes, from files.

    Scored pairs were not decided yet: the page counts how many a threshold would take, which can be moved. Of decisions
    that were written without --texts it shows figures and ids.
    """
    settings = load_settings(config, overrides)
    stream = named_paths("FILE", inputs, None, None, input_format)
    protect_inputs([output], [*stream, str(model) if model else None], settings, config)
    page, start, scored = ReportFile(output, stream, settings), 0, 0
    with ExitStack() as opened:
        page.open(opened)
        for messages in read_messages(stream, settings.record):
            rows = _rows(messages, start, settings.record)
            page.gather(rows)
            start, scored = start + len(messages), scored + int(np.isfinite(rows.score).sum())
        if start and not scored:
            raise DataError(
                f'no record of {", ".join(stream)} has a "score": give what `craft-stream score` or `select --decisions` wrote'
            )
        page.write({}, load_model(model) if model else None)
    typer.echo(f"{output}: {start:,} records")


def _rows(messages: Sequence[Message], start: int, fields: RecordSettings) -> Rows:
    """Records as rows; where a record was decided, its reason says what became of it, else what speaks against it."""
    found: list[tuple[int, dict[str, Any]]] = []
    refused = []
    for place, message in enumerate(messages):
        record = _object(message)
        if isinstance(record, DecodeReason):
            refused.append(str(record))
        else:
            found.append((place, record))
    records = [record for _, record in found]
    return Rows(
        records=len(messages),
        refused=refused,
        positions=np.array([start + place for place, _ in found], np.int64),
        reason=np.array([_reason(record) for record in records], np.uint8),
        score=np.array([_number(record.get("score")) for record in records], np.float32),
        threshold=np.array([_number(record.get("threshold")) for record in records], np.float32),
        domain=np.array([_number(record.get("domain")) for record in records], np.float32),
        quality=np.array([_number(record.get("quality")) for record in records], np.float32),
        cluster=np.array([_cluster(record.get("cluster")) for record in records], np.int16),
        words=np.array(
            [
                [_words(record.get(name)) for name in (fields.source_field, fields.target_field)]
                for record in records
            ],
            np.int32,
        ).reshape(-1, 2),
        record=lambda row: records[row],
        place=lambda row: str(records[row].get("decision_id") or messages[found[row][0]].location),
    )


def _object(message: Message) -> dict[str, Any] | DecodeReason:
    if message.problem is not None or message.value is None:
        return DecodeReason.UNREADABLE
    try:
        record = orjson.loads(message.value)
    except orjson.JSONDecodeError:
        return DecodeReason.NOT_JSON
    return record if isinstance(record, dict) else DecodeReason.NOT_OBJECT


def _reason(record: dict[str, Any]) -> int:
    """Of what was not decided, nothing has been taken."""
    label = record.get("reason") or Reason.ACCEPTED.label
    if not isinstance(label, str) or label not in _REASONS:
        raise DataError(f'"reason" is {label!r}, which is none of {", ".join(_REASONS)}')
    found = _REASONS[label]
    return Reason.OVER_BUDGET if found == Reason.ACCEPTED and "outcome" not in record else found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _cluster(value: Any) -> int:
    found = _number(value)
    return int(found) if 0 <= found < 1 << 15 else -1


def _words(text: Any) -> int:
    return len(text.split()) if isinstance(text, str) else 0
