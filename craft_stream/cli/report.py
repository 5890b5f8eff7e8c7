"""`craft-stream report`: the page of what was selected, from what was written of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from craft_stream.cli.engine import load_model
from craft_stream.cli.files import named_paths, protect_inputs, read_messages
from craft_stream.cli.options import Config, InputFormat, Overrides, load_settings, refuse_without_effect
from craft_stream.cli.reporting import ReportFile
from craft_stream.cli.snapshot import Snapshot, recompute, written
from craft_stream.cli.tell import counted
from craft_stream.cli.written import written_rows
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.report.rows import Rows
from craft_stream.settings import RecordSettings

app = typer.Typer(add_completion=False)


@app.command(
    epilog=(
        "Example: craft-stream report decisions.jsonl --model model.bin --output report.html\n\n"
        "Example: craft-stream report --group --last 200000 --output report.html --config craft.toml"
    )
)
def report(
    output: Annotated[str, typer.Option(metavar="FILE", help="The page, for a browser.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="What `score`, or `select --decisions --texts`, wrote."),
    ] = None,
    group: Annotated[
        bool,
        typer.Option("--group", help="What the group has decided, made again from the log with all texts."),
    ] = False,
    topic: Annotated[
        bool, typer.Option("--topic", help="What stands on kafka.decisions_topic: quicker, without texts.")
    ] = False,
    last: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of a topic, the last N records of each partition, about.")
    ] = 1_000_000,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model that scored them, to compare topics with the target."),
    ] = None,
    input_format: InputFormat = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Show what was selected as one page, as `select --report` does: of files, a topic, or a running group as it is now.

    Scored pairs were not decided yet: the page counts how many a threshold would take, which can be moved. Of decisions
    that were written without texts it shows figures and ids. A group is only read: it goes on meanwhile.
    """
    settings = load_settings(config, overrides)
    if bool(inputs) + group + topic != 1:
        raise ConfigurationError("give files, --group, or --topic")
    refuse_without_effect({"--input-format": (input_format, "FILE", inputs)})
    kafka = settings.kafka
    stream = (
        named_paths("FILE", inputs, None, None, input_format)
        if inputs
        else [kafka.input_topic if group else kafka.decisions_topic]
    )
    protect_inputs([output], [*(stream if inputs else ()), str(model) if model else None], settings, config)
    given = load_model(model) if model else None
    records = scored = 0
    with ExitStack() as opened:
        if inputs:
            snapshot = Snapshot(_of_files(stream, settings.record), {}, settings, None)
        else:
            snapshot = opened.enter_context((recompute if group else written)(settings, last, given))
        page = ReportFile(output, stream, snapshot.settings)
        page.open(opened)
        for rows in snapshot.rows:
            page.gather(rows)
            records, scored = records + rows.records, scored + int(np.isfinite(rows.score).sum())
        if not scored:
            raise DataError(
                f'no record of {", ".join(stream)} has a "score": give what `craft-stream score` or '
                "`select --decisions` wrote"
                if inputs
                else f"nothing was decided yet by the group {kafka.group_id}"
            )
        page.write(snapshot.facts, given or snapshot.model)
    typer.echo(f"{output}: {counted(records, 'records')}")


def _of_files(stream: list[str], fields: RecordSettings) -> Iterator[Rows]:
    start = 0
    for messages in read_messages(stream, fields):
        yield written_rows(messages, start)
        start += len(messages)
