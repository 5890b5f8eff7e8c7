"""`craft-stream target`: the pairs, or texts of one side, that describe the domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import orjson
import typer

from connectors.files import open_source
from connectors.kafka.sink import TopicSink
from craft_stream.cli.choices import check_choice
from craft_stream.cli.faults import Faults
from craft_stream.cli.files import read_texts
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.tell import tell
from craft_stream.errors import DataError
from craft_stream.reading.records import Refusal, examine
from craft_stream.settings import RecordSettings

CHUNK = 1_000

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Publish and withdraw the pairs that describe the domain.",
)


@app.callback()
def _root() -> None: ...


@app.command(epilog="Example: craft-stream target publish domain.jsonl --config craft.toml")
def publish(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files of pairs; `-` is standard input.")
    ],
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the pairs with these ids out of the target instead.")
    ] = False,
    side: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE",
            help="The files are texts without translations, a line each: `source` for the stream's source side, or `target`.",
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write pairs to the target topic, each under its id; an id that is there already is replaced."""
    check_choice("--side", side, ("source", "target"))
    settings = load_settings(config, overrides)
    fields, kind = settings.record, "texts" if side else "pairs"
    sink = TopicSink(settings.kafka, settings.kafka.target_topic)
    count, faults = 0, Faults()
    try:
        records = _pairs(files, fields, faults) if side is None else _texts(files, side, fields, faults)
        for identifier, value in records:
            sink.append(identifier.encode(), None if withdraw else value)
            count += 1
        sink.flush()
    finally:
        sink.close()
    for line in faults.lines():
        tell(line)
    print(f"{'withdrew' if withdraw else 'published'} {count} {kind} ({settings.kafka.target_topic})")
    if faults.total:
        raise DataError(f"{faults.total} records are no {kind} and were not published")


def _pairs(files: list[str], fields: RecordSettings, faults: Faults) -> Iterator[tuple[str, bytes | None]]:
    """Id and record of every pair."""
    for path in files:
        source = open_source(path, fields)
        try:
            while messages := source.read(CHUNK):
                for message in messages:
                    pair = examine(message, fields)
                    if isinstance(pair, Refusal):
                        faults.count(message, pair)
                    else:
                        yield pair.id, message.value
        finally:
            source.close()


def _texts(
    files: list[str], side: str, fields: RecordSettings, faults: Faults
) -> Iterator[tuple[str, bytes | None]]:
    """Id and record of every text: a record that has the field of its side alone."""
    field = fields.source_field if side == "source" else fields.target_field
    for texts in read_texts(files, field, fields, faults):
        for identifier, text in texts:
            yield identifier, orjson.dumps({fields.id_field: identifier, field: text})
