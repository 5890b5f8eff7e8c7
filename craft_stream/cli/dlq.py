"""`craft-stream dlq`: records that could not be decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import orjson
import typer

from connectors.kafka.sink import TopicSink
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.errors import ConfigurationError
from craft_stream.ports.messages import Message
from craft_stream.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List dead letters and send them again.")

Reason = Annotated[str | None, typer.Option(help="Only those with this reason, such as not_json.")]


def _letters(settings: Settings) -> Iterator[tuple[Message, dict[str, str]]]:
    topic = settings.kafka.dead_letter_topic
    with closing(KafkaTransport(settings.kafka).reader()) as reader:
        partitions = reader.partitions(topic)
        if not partitions:
            raise ConfigurationError(f"there is no topic {topic}: type `craft-stream topics create`")
        for partition, (first, end) in reader.bounds(topic, partitions).items():
            for messages in reader.read(topic, partition, first, end):
                for message in messages:
                    prefix = "craft-error-"
                    facts = {
                        name.removeprefix(prefix): value.decode("utf-8", "replace")
                        for name, value in message.headers
                        if name.startswith(prefix)
                    }
                    yield message, facts


@app.command(epilog="Example: craft-stream dlq ls --json")
def ls(
    config: Config = None,
    overrides: Overrides = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=0, help="Print at most so many; all are counted.")] = 20,
    as_json: Json = False,
) -> None:
    """List dead letters and count them by stage and reason; values are not printed."""
    counts: dict[str, int] = {}
    for message, facts in _letters(load_settings(config, overrides)):
        if reason is not None and facts.get("class") != reason:
            continue
        kind = f"{facts.get('stage')}: {facts.get('class')}"
        counts[kind] = counts.get(kind, 0) + 1
        if sum(counts.values()) > limit:
            continue
        facts |= {"bytes": str(len(message.value or b""))}
        if as_json:
            print(orjson.dumps(facts).decode())
        else:
            where = f"{facts.get('topic')}/{facts.get('partition')}/{facts.get('offset')}"
            print(f"{where}  {kind}  {facts['bytes']} bytes  {facts.get('message')}")
    if not as_json:
        for kind, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"{count:10,d}  {kind}")
        print(f"{sum(counts.values()):10,d}  in all")


@app.command(epilog="Example: craft-stream dlq replay --yes")
def replay(
    config: Config = None,
    overrides: Overrides = None,
    reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write; without it only the count is printed.")] = False,
) -> None:
    """Send dead letters to the end of the input topic again: bytes, key and headers as they came.

    What is still no pair comes back as another dead letter, so repair the cause first. Tombstones are left
    out.
    """
    settings = load_settings(config, overrides)
    sink = TopicSink(settings.kafka, settings.kafka.input_topic) if yes else None
    count = 0
    try:
        for message, facts in _letters(settings):
            if message.value is None or (reason is not None and facts.get("class") != reason):
                continue
            count += 1
            if sink is not None:
                headers = [item for item in message.headers if not item[0].startswith("craft-error-")]
                sink.append(message.key, message.value, headers)
        if sink is not None:
            sink.flush()
    finally:
        if sink is not None:
            sink.close()
    print(f"sent {count} again" if yes else f"{count} would be sent again; add --yes")
