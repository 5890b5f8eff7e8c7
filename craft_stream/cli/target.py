"""`craft-stream target`: the pairs that describe the domain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from connectors.files import open_source
from connectors.kafka.sink import TopicSink
from craft_stream.cli.faults import Faults
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
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
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write pairs to the target topic, each under its id; an id that is there already is replaced."""
    settings = load_settings(config, overrides)
    sink = TopicSink(settings.kafka, settings.kafka.target_topic)
    count, bad, faults = 0, 0, Faults()
    try:
        for message in _messages(files, settings.record):
            pair = examine(message, settings.record)
            if isinstance(pair, Refusal):
                bad += 1
                faults.count(message, pair)
                continue
            sink.append(pair.id.encode(), None if withdraw else message.value)
            count += 1
        sink.flush()
    finally:
        sink.close()
    for line in faults.lines():
        print(f"craft-stream: {line}", file=sys.stderr)
    print(f"{'withdrew' if withdraw else 'published'} {count} pairs ({settings.kafka.target_topic})")
    if bad:
        raise DataError(f"{bad} records are no pairs and were not published")


def _messages(files: list[str], fields: RecordSettings) -> Iterator[Message]:
    for path in files:
        source = open_source(path, fields)
        try:
            while messages := source.read(CHUNK):
                yield from messages
        finally:
            source.close()
