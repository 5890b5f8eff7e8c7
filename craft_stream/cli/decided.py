"""A decision that a group has made, found by the id of its pair or the place of its record, and made again from the log."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import orjson

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import give_model, load_selector
from craft_stream.cli.lists import known_lists
from craft_stream.cli.presence import require
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.records import Pair, Refusal, examine, read_id
from craft_stream.recomputation import Recomputation, Stretch, look
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_group
from craft_stream.topics.signatures import Signatures


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a record.

    Attributes:
        place: `topic/partition/offset`.
        message: the record.
        refusal: why it holds no pair; None when it does.
        pair: it holds; None when it holds none.
        written: its decision as it stands on the decisions topic; None when none was written.
        parts: of its score, recomputed on the ledger that it met; None without a pair.
        version_since: from which offset the partition has decided with that version.
        begun: from where the log was decided again.
        parameters: digest of those that were in force.
        rate: the budget among them.
    """

    place: str
    message: Message
    refusal: Refusal | None = None
    pair: Pair | None = None
    written: dict[str, Any] | None = None
    parts: dict[str, Any] | None = None
    version_since: int = 0
    begun: int = 0
    parameters: str = ""
    rate: float = 0.0

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "place": self.place,
            "id": self.pair.id if self.pair else None,
            "source": self.pair.source if self.pair else None,
            "target": self.pair.target if self.pair else None,
            "refused": self.refusal.reason.value if self.refusal else None,
            "why_refused": self.refusal.text if self.refusal else None,
            "written": self.written,
            "differs": self.disagrees,
            "parts": self.parts,
            "version_since": self.version_since,
            "recomputed_from": self.begun,
            "parameters": self.parameters,
        }

    @property
    def disagrees(self) -> list[str]:
        """Fields in which the decision that was written is not the recomputed one."""
        if self.written is None or self.parts is None:
            return []
        own = {
            "reason": self.parts["reason"],
            "model_version": self.parts["model_version"],
            "parameters": self.parameters,
        }
        return [name for name, value in own.items() if self.written.get(name) != value]


def find(
    settings: Settings, identifier: str | None, place: str | None, given: Model | None = None
) -> Decided:
    """Find a record by the id of its pair or by its place, and decide it again as it was decided.

    Args:
        given: a version that is not on the model topic, which the group has decided with.

    Raises:
        ConfigurationError: the place is none of the input topic.
        DataError: there is no such record, it is not decided yet, or it is gone.
    """
    transport = KafkaTransport(settings.kafka)
    with closing(transport.reader()) as reader, closing(transport.reader()) as evidence:
        kafka = settings.kafka
        require(reader, kafka.input_topic, kafka.ledger_topic, kafka.model_topic, kafka.decisions_topic)
        if place is not None:
            partition, offset = _place(place, settings, reader)
        else:
            partition, offset = _search(identifier or "", settings, reader)
        return _decide_again(settings, reader, evidence, partition, offset, given)


def _place(text: str, settings: Settings, reader: Reader) -> tuple[int, int]:
    topic = settings.kafka.input_topic
    *named, partition, offset = text.rsplit("/", 2) if "/" in text else ["", "", text]
    if not (partition.isdigit() and offset.isdigit()) or named not in ([], [topic]):
        raise ConfigurationError(f'"{text}" is no place of a record: {topic}/PARTITION/OFFSET')
    if int(partition) not in reader.partitions(topic):
        raise ConfigurationError(f"{topic} has no partition {partition}")
    return int(partition), int(offset)


def _search(identifier: str, settings: Settings, reader: Reader) -> tuple[int, int]:
    """Where the newest record of an id stands: what was written about it tells at once, else the log is read."""
    kafka = settings.kafka
    quoted = orjson.dumps(identifier)
    found: tuple[int, int, int] | None = None
    for partition, (first, end) in reader.bounds(
        kafka.decisions_topic, reader.partitions(kafka.decisions_topic)
    ).items():
        for messages in reader.read(kafka.decisions_topic, partition, first, end):
            for message in messages:
                if message.value and quoted in message.value:
                    line = orjson.loads(message.value)
                    topic, number, offset = line["decision_id"].rsplit("/", 2)
                    if line["id"] == identifier and topic == kafka.input_topic:
                        found = max(found or (0, 0, 0), (message.timestamp_ms, int(number), int(offset)))
    raw = identifier.encode()
    if found is None:
        for partition, (first, end) in reader.bounds(
            kafka.input_topic, reader.partitions(kafka.input_topic)
        ).items():
            for messages in reader.read(kafka.input_topic, partition, first, end):
                for message in messages:
                    if message.value and raw in message.value and _has_id(message, identifier, settings):
                        found = max(found or (0, 0, 0), (message.timestamp_ms, partition, message.offset))
    if found is None:
        raise DataError(
            f"no record of {kafka.input_topic} has the id {identifier}: it may be older than the topic retains"
        )
    return found[1], found[2]


def _has_id(message: Message, identifier: str, settings: Settings) -> bool:
    try:
        record = orjson.loads(message.value or b"")
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and read_id(record, settings.record) == identifier


def _decide_again(
    settings: Settings, reader: Reader, evidence: Reader, partition: int, offset: int, given: Model | None
) -> Decided:
    kafka = settings.kafka
    place = f"{kafka.input_topic}/{partition}/{offset}"
    message = _record(reader, settings, partition, offset, place)
    stretch = look(evidence, settings, partition)
    if stretch.first is None:
        check_group(evidence, kafka)
    if offset >= stretch.committed:
        raise DataError(
            f"{place} is not decided yet: the group {kafka.group_id} is at {stretch.committed} of this partition"
        )
    pair = examine(message, settings.record)
    if isinstance(pair, Refusal):
        return Decided(place, message, refusal=pair)
    if stretch.first is not None and offset < stretch.first:
        raise DataError(f"{place} lies before {stretch.first}, where the group {kafka.group_id} began")
    written = _written(evidence, settings, partition, place)
    store = ModelStore(evidence, kafka.model_topic, Signatures.of(settings))
    store.refresh()
    if given is not None:
        give_model(store, given)
    selector = load_selector(settings, store)
    work = Recomputation(reader, settings, selector, store, stretch, lists=known_lists(settings))
    begun = work.begin(offset)
    if begun is None or begun > offset:
        raise DataError(f"{place} cannot be recomputed: the earliest place to begin at is {begun}")
    for _ in work.run(offset):
        pass
    if work.ledger.next_offset < offset:
        work.ledger.skip(offset - 1)
    since, version = _version(stretch, offset)
    chunk = Chunk.read([message], settings.record)
    selector, listed = work.beside(offset)
    blocked = listed is not None and bool(listed.matches(chunk.pairs, chunk.origins)[0])
    model = store.load(version)
    columns = chunk.pairs.batch.columns
    signals = zip(columns.names, columns.values[0].tolist(), strict=True)
    known = {name: value for name, value in signals if name in model.signals.names and not isnan(value)}
    parts = selector.explain(pair.source, pair.target, work.ledger, model, blocked=blocked, signals=known)
    return Decided(
        place,
        message,
        None,
        pair,
        written,
        parts,
        since,
        begun,
        replace(work.ledger.parameters, listed=selector.parameters.listed).digest,
        work.ledger.parameters.selection.rate,
    )


def _record(reader: Reader, settings: Settings, partition: int, offset: int, place: str) -> Message:
    topic = settings.kafka.input_topic
    first, end = reader.bounds(topic, [partition])[partition]
    if not first <= offset < end:
        raise DataError(f"{place} is not there: this partition holds offsets {first} to {end - 1}")
    for messages in reader.read(topic, partition, offset, offset + 1):
        for message in messages:
            if message.offset == offset:
                return message
    raise DataError(f"{place} holds no record: an aborted one, or the mark that ends a transaction")


def _version(stretch: Stretch, offset: int) -> tuple[int, int]:
    """Since which offset a version was in force at this one, and its number."""
    since = max(start for start in stretch.records.models if start <= offset)
    return since, stretch.records.models[since]


def _written(reader: Reader, settings: Settings, partition: int, place: str) -> dict[str, Any] | None:
    topic = settings.kafka.decisions_topic
    partitions = reader.partitions(topic)
    if not partitions:
        return None
    where = partition % len(partitions)
    first, end = reader.bounds(topic, [where])[where]
    found = None
    for messages in reader.read(topic, where, first, end):
        for message in messages:
            if message.key == place.encode() and message.value:
                found = orjson.loads(message.value)
    return found
