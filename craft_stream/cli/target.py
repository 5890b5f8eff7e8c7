"""`craft-stream target`: the pairs, or texts of one side, that describe the domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import orjson
import typer

from connectors.files import open_source
from connectors.kafka.sink import TopicSink
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.choices import check_choice
from craft_stream.cli.faults import Faults
from craft_stream.cli.files import read_texts
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.tell import counted, tell
from craft_stream.errors import DataError
from craft_stream.reading.records import Refusal, examine
from craft_stream.settings import RecordSettings, Settings
from craft_stream.topics.ownership import check_owner
from craft_stream.topics.target_contents import PAIRS, TargetContents

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
    """Write pairs to the target topic, each under its id; an id that is there already is replaced, wherever it stands."""
    check_choice("--side", side, ("source", "target"))
    settings = load_settings(config, overrides)
    fields, kind = settings.record, "texts" if side else "pairs"
    topic = settings.kafka.target_topic
    sink = TopicSink(settings.kafka, topic)
    contents = _contents(settings)
    if not withdraw:
        contents.check_kind(topic, side or PAIRS)
    count, faults = 0, Faults()
    try:
        records = _pairs(files, fields, faults) if side is None else _texts(files, side, fields, faults)
        for identifier, value in records:
            for key, partition in contents.places(identifier):
                sink.append(key, None if withdraw else value, partition=partition)
            count += 1
        sink.flush()
    finally:
        sink.close()
    for line in faults.lines():
        tell(line)
    print(f"{'withdrew' if withdraw else 'published'} {counted(count, kind)} ({topic})")
    if faults.total:
        are, were = (f"is no {kind[:-1]}", "was") if faults.total == 1 else (f"are no {kind}", "were")
        raise DataError(f"{counted(faults.total, 'records')} {are} and {were} not published")


@app.command(epilog="Example: craft-stream target clear --config craft.toml")
def clear(config: Config = None, overrides: Overrides = None) -> None:
    """Withdraw all that the target topic holds, so that another target, or one of another kind, can be published.

    The version in force goes on deciding until there is enough of the new target for another one.
    """
    settings = load_settings(config, overrides)
    sink = TopicSink(settings.kafka, settings.kafka.target_topic)
    contents = _contents(settings)
    try:
        for identifier in contents:
            for key, partition in contents.places(identifier):
                sink.append(key, None, partition=partition)
        sink.flush()
    finally:
        sink.close()
    print(f"withdrew {contents if contents else 'nothing'} ({settings.kafka.target_topic})")


def _contents(settings: Settings) -> TargetContents:
    """What the target topic holds.

    Raises:
        ConfigurationError: it is not there, or belongs to another group.
    """
    with closing(KafkaTransport(settings.kafka).reader()) as reader:
        check_owner(reader, settings.kafka)
        return TargetContents.read(reader, settings.kafka.target_topic, settings.record)


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
