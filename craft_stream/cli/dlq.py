"""`craft-stream dlq`: records that could not be decided."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import orjson
import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.choices import check_choice
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.presence import require
from craft_stream.cli.tell import counted
from craft_stream.errors import UnavailableError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Output, Record, TransactionError
from craft_stream.reading.records import DecodeReason
from craft_stream.settings import KafkaSettings, Settings

BATCH = 1_000  # letters of one transaction
_PREFIX = "craft-error-"
_ERROR = r"[A-Z]\w*[a-z]\w*"  # the name of a class
# A record among the letters that says which of its partition were sent again. It is behind them, so it outlives them.
MARK = b"craft-replayed"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List dead letters and send them again.")

Reason = Annotated[
    str | None, typer.Option(metavar="REASON", help="Only those with this reason, such as not_json.")
]


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that could not be decided.

    Attributes:
        message: as it stands among the dead letters.
        facts: what happened to it: topic, partition, offset, stage, class, message.
        replayed: it was sent again.
    """

    message: Message
    facts: dict[str, str]
    replayed: bool = False

    @property
    def kind(self) -> str:
        """Stage and reason."""
        return f"{self.facts.get('stage')}: {self.facts.get('class')}"


def _letters(settings: Settings, reason: str | None) -> Iterator[Letter]:
    """Dead letters with a reason, or all.

    Raises:
        ConfigurationError: at the end, where no letter has had that reason and it is no name of an error either.
    """
    topic, known = settings.kafka.dead_letter_topic, {*map(str, DecodeReason)}
    with closing(KafkaTransport(settings.kafka).reader()) as reader:
        require(reader, topic)
        for partition, (first, end) in reader.bounds(topic, reader.partitions(topic)).items():
            sent: set[int] = set()
            for messages in reader.read(topic, partition, first, end):
                sent.update(_marked(messages))
            for messages in reader.read(topic, partition, first, end):
                for message in messages:
                    facts = {
                        name.removeprefix(_PREFIX): (value or b"").decode("utf-8", "replace")
                        for name, value in message.headers
                        if name.startswith(_PREFIX)
                    }
                    if facts:
                        known.add(facts.get("class", ""))
                    if facts and (reason is None or facts.get("class") == reason):
                        yield Letter(message, facts, message.offset in sent)
    # Beside the reasons of reading a letter may have any error's name, which may come with a later one.
    if reason is None or not re.fullmatch(_ERROR, reason):
        check_choice("--reason", reason, sorted(known))


def _marked(messages: Iterable[Message]) -> Iterator[int]:
    for message in messages:
        if message.key == MARK and message.value:
            yield from orjson.loads(message.value)["offsets"]


@app.command(epilog="Example: craft-stream dlq ls --json")
def ls(
    config: Config = None,
    overrides: Overrides = None,
    reason: Reason = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, help="Print at most so many; all are counted.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """List dead letters and count them by stage and reason; values are not printed."""
    counts: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for letter in _letters(load_settings(config, overrides), reason):
        counts[letter.kind] += 1
        again[letter.kind] += letter.replayed
        if counts.total() > limit:
            continue
        facts, size = letter.facts, len(letter.message.value or b"")
        if as_json:
            print(orjson.dumps(facts | {"bytes": str(size), "replayed": letter.replayed}).decode())
        else:
            where = f"{facts.get('topic')}/{facts.get('partition')}/{facts.get('offset')}"
            mark = "  (sent again)" if letter.replayed else ""
            print(f"{where}  {letter.kind}  {counted(size, 'bytes')}  {facts.get('message')}{mark}")
    if not as_json:
        for kind, count in counts.most_common():
            print(f"{count:10,d}  {kind}" + (f"  ({again[kind]:,d} sent again)" if again[kind] else ""))
        print(f"{counts.total():10,d}  in all")


@app.command(epilog="Example: craft-stream dlq replay --yes")
def replay(
    config: Config = None,
    overrides: Overrides = None,
    reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write; without it only the count is printed.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those too that were sent again before.")] = False,
) -> None:
    """Send dead letters to the end of the input topic again: bytes, key and headers as they came.

    Each goes to the partition that it came from, 1,000 in one transaction together with a mark of what was sent, so that
    called again it sends what is left. What is still no pair comes back as another dead letter, so repair the cause first.
    Tombstones are left out.
    """
    settings = load_settings(config, overrides)
    count = before = 0
    batch: list[Letter] = []
    width = _width(settings.kafka) if yes else 0
    output = KafkaTransport(settings.kafka).output("dlq") if yes else None
    try:
        for letter in _letters(settings, reason):
            if letter.message.value is None:
                continue
            if letter.replayed and not again:
                before += 1
                continue
            count += 1
            batch.append(letter)
            if len(batch) == BATCH:
                _send(output, settings.kafka, width, batch)
                batch = []
        _send(output, settings.kafka, width, batch)
    finally:
        if output is not None:
            output.close()
    done = f" ({before} had been sent before)" if before else ""
    print(f"sent {count} again{done}" if yes else f"{count} would be sent again{done}; add --yes")


def _width(kafka: KafkaSettings) -> int:
    with closing(KafkaTransport(kafka).reader()) as reader:
        require(reader, kafka.input_topic, kafka.dead_letter_topic)
        return len(reader.partitions(kafka.input_topic))


def _send(output: Output | None, kafka: KafkaSettings, width: int, letters: Sequence[Letter]) -> None:
    """Send letters and the marks of them, or nothing."""
    if output is None or not letters:
        return
    to: dict[int, list[Record]] = {}
    marks: dict[int, list[int]] = {}
    for letter in letters:
        message, place = letter.message, letter.facts.get("partition", "")
        headers = [item for item in message.headers if not item[0].startswith(_PREFIX)]
        partition = int(place) % width if place.isdigit() else 0
        to.setdefault(partition, []).append(Record(message.value, message.key, headers))
        marks.setdefault(message.partition, []).append(message.offset)
    try:
        output.begin()
        for partition, records in to.items():
            output.send_all(kafka.input_topic, partition, records)
        for partition, offsets in marks.items():
            output.send(kafka.dead_letter_topic, partition, orjson.dumps({"offsets": offsets}), MARK)
        output.commit({}, None)
    except TransactionError as error:
        raise UnavailableError(f"{error}: call it again, it goes on with what was not sent") from error
