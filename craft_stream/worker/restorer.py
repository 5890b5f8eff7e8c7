"""Restoring a partition: its ledger, checked against the committed offset.

The predecessor's commit may still be under way: the offset waits for it, the ledger's topic shows it a moment
later. So both are read again until they agree.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from craft_stream.errors import (
    AccessError,
    ConfigurationError,
    IntegrityError,
    LogTruncatedError,
    NewerReleaseError,
    OffsetMovedError,
    TopicReplacedError,
    UnavailableError,
)
from craft_stream.events import Observer, Stage
from craft_stream.parameters import Parameters
from craft_stream.ports.transport import Position, Reader, Transport
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import Settings
from craft_stream.topics.ledger_index import LedgerIndex, read_restore_offset, restore_note
from craft_stream.topics.ledger_reader import LedgerRecords, ledger_prefix, read_ledger
from craft_stream.topics.ledger_writer import LedgerWriter
from craft_stream.topics.models import ModelStore
from craft_stream.topics.origin import Origin
from craft_stream.topics.partition_ledger import PartitionLedger

AGAIN_SECONDS = 0.05
READING = 0.9  # share of a restore's progress that is reading; the rest is putting together
GRACE_SECONDS = 30.0
WIDEN_SECONDS = 10.0  # for a topic to have partitions that were added
# What the brokers said of topics holds so long: the client lets 100 ms go by before it asks again, by which 60 restores took
# 6 s. A topic that is made anew meanwhile the group notices.
TOPICS_SECONDS = 1.0
DAMAGED_SECONDS = 5.0  # for a commit under way; what is damaged stays so

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition that is ready.

    Attributes:
        partition: its number.
        ledger: what it has done.
        offset: the next record to read.
        uncommitted: what its ledger leads to, where the committed offset does not.
        size: bytes that were read for it.
        attempts: how often the topic was read.
        seconds: how long it took.
    """

    partition: int
    ledger: PartitionLedger
    offset: int
    uncommitted: Position | None
    size: int
    attempts: int
    seconds: float


class Restorer:
    """Restores partitions, one at a time.

    Args:
        rebuild: begin a new ledger, or at what is left of the log, where that is all that can be done.
        observer: is told how far a restore is, what it found damaged and what became of it.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        parameters: Parameters,
        store: ModelStore,
        rebuild: bool,
        observer: Observer | None = None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._parameters = replace(parameters, listed="")  # lists are no part of a ledger
        self._store = store
        self._rebuild = rebuild
        self._observer = observer or Observer()
        self._reader: Reader | None = None
        self._topics: Mapping[str, str] = {}
        self._asked = -TOPICS_SECONDS

    def restore(self, partition: int) -> Restored:
        """Restore one partition.

        Raises:
            IntegrityError: the ledger does not lead to the committed offset, or is of topics that were made anew.
            LogTruncatedError: the log no longer holds the record to be read next.
            UnavailableError: no broker answers.
        """
        began = time.monotonic()
        if self._reader is None:
            self._reader = self._transport.reader()
        kafka = self._settings.kafka
        # longer than a dead predecessor's transaction can stay open
        deadline = began + kafka.transaction_timeout_ms / 1000 + GRACE_SECONDS
        attempts, damaged = 0, False
        topics = self._topic_ids(self._reader)
        self._make_room(partition, self._reader)
        while True:
            attempts += 1
            position = self._reader.committed(partition)
            records = self._read(partition, None if damaged else position)
            try:
                records.origin.check(topics, kafka.input_topic, kafka.ledger_topic)
                ledger = self._agreeing(partition, position, records)
                break
            except NewerReleaseError:
                raise  # nor is it rebuilt: it is sound
            except IntegrityError as error:
                # What is damaged behind the restore offset may be made good by what stands before it.
                damaged |= bool(records.damaged)
                limit = began + DAMAGED_SECONDS if damaged else deadline
                settled = isinstance(error, TopicReplacedError | OffsetMovedError)  # by no commit under way
                if time.monotonic() < limit and not settled:
                    time.sleep(AGAIN_SECONDS * min(attempts, 20))
                    continue
                if not self._rebuild:
                    self._observer.ledger_damaged(partition, "refused")
                    raise
                log.warning("%s; a new ledger is begun for partition %d", error, partition)
                self._observer.ledger_damaged(partition, "rebuilt")
                ledger, records.damaged = self._begun_anew(partition), []
                if isinstance(error, TopicReplacedError):
                    position = None  # of the topic before
                break
        if records.damaged:
            # Nothing is decided again: from the ledger before, the deltas lead to the committed offset, or `_agreeing` raises.
            log.warning(
                "partition %d: damaged records of the ledger topic were passed over, and others led to offset %d: %s",
                partition,
                ledger.ledger.next_offset,
                "; ".join(records.damaged[:5]),
            )
            self._observer.ledger_damaged(partition, "fell_back")
        writer = ledger.writer
        writer.origin = replace(
            writer.origin, input_id=topics[kafka.input_topic], ledger_id=topics[kafka.ledger_topic]
        )
        offset = self._start(partition, position, ledger.ledger)
        if ledger.ledger.model_version:
            ledger.ledger.bind(self._store.load(ledger.ledger.model_version))
        seconds = time.monotonic() - began
        self._observer.stage(Stage.RESTORE, seconds, records.size)
        return Restored(
            partition, ledger, offset, _uncommitted(ledger, position), records.size, attempts, seconds
        )

    def close(self) -> None:
        """Release the reader."""
        if self._reader is not None:
            self._reader.close()

    def _topic_ids(self, reader: Reader) -> Mapping[str, str]:
        if time.monotonic() - self._asked >= TOPICS_SECONDS:
            self._topics = reader.topic_ids(
                self._settings.kafka.input_topic, self._settings.kafka.ledger_topic
            )
            self._asked = time.monotonic()
        return self._topics

    def _make_room(self, partition: int, reader: Reader) -> None:
        """Let the ledger topic have the partition, where the input topic has come to have more.

        Raises:
            UnavailableError: it has not after a while, with what to type.
        """
        topic, source = self._settings.kafka.ledger_topic, self._settings.kafka.input_topic
        deadline, denied = time.monotonic() + WIDEN_SECONDS, ""
        while partition not in reader.partitions(topic):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{topic} has no partition {partition}, which {source} has{denied}: `craft-stream topics create` adds it"
                )
            if not denied:
                try:
                    self._transport.widen(topic, len(reader.partitions(source)))
                    log.info("%s has as many partitions as %s now", topic, source)
                except (AccessError, ConfigurationError) as error:
                    denied = f" ({error})"
            time.sleep(10 * AGAIN_SECONDS)
            reader.topic_ids(topic)  # asks the brokers anew

    def _new(self, partition: int) -> PartitionLedger:
        """An empty ledger."""
        writer = LedgerWriter(ledger_prefix(self._settings.kafka, partition))
        return PartitionLedger(Ledger(self._parameters), writer, LedgerIndex())

    def _begun_anew(self, partition: int) -> PartitionLedger:
        """An empty ledger in the place of what is on the topics, which is withdrawn, and of its decisions."""
        assert self._reader is not None  # noqa: S101
        topic, begun = self._settings.kafka.decisions_topic, self._new(partition)
        bounds = self._reader.bounds(topic, self._reader.partitions(topic))
        begun.writer.origin = Origin(decisions_from={number: end for number, (_, end) in bounds.items()})
        begun.writer.given_up = frozenset(self._read(partition, None).keys)
        return begun

    def _read(self, partition: int, position: Position | None) -> LedgerRecords:
        assert self._reader is not None  # noqa: S101
        start = read_restore_offset(position.note) if position else 0
        return read_ledger(
            self._reader,
            self._settings.kafka,
            partition,
            start,
            lambda share: self._observer.restoring(partition, READING * share),
        )

    def _agreeing(self, partition: int, position: Position | None, records: LedgerRecords) -> PartitionLedger:
        """What agrees with the committed position.

        Raises:
            OffsetMovedError: they never will.
            IntegrityError: they do not, so far.
        """
        exact = self._settings.kafka.guarantee == "exactly_once"
        # Our own commits have a note. Without one somebody has moved the offset, and only the ledger knows where it was.
        upto = position.offset if position and position.note and exact else None
        found = records.restore(self._parameters, upto)
        if found is None:
            if position is None:  # told to rebuild, it may have taken over topics with another's decisions
                return self._begun_anew(partition) if self._rebuild else self._new(partition)
            kind = IntegrityError if position.note else OffsetMovedError
            raise kind(
                f"partition {partition}: offset {position.offset} is committed, but there is no ledger: was "
                f"{self._settings.kafka.ledger_topic} deleted? `craft-stream run --rebuild` begins a new one"
            )
        ledger = found.ledger
        # Without a committed offset (the group was idle for longer than the brokers keep offsets) the ledger
        # knows. At least once, the ledger is written before the offset and may be ahead of it.
        if position is None or ledger.next_offset == position.offset:
            return found
        if not position.note:
            kafka = self._settings.kafka
            raise OffsetMovedError(
                f"partition {partition}: somebody has moved the group's offset to {position.offset}, the ledger leads to "
                f"{ledger.next_offset}: put it back (`kafka-consumer-groups --bootstrap-server {kafka.bootstrap_servers} "
                f"--group {kafka.group_id} --topic {kafka.input_topic}:{partition} --reset-offsets --to-offset "
                f"{ledger.next_offset} --execute`), or begin a new ledger there with `craft-stream run --rebuild`"
            )
        if upto is not None or ledger.next_offset < position.offset:
            raise IntegrityError(
                f"partition {partition}: the ledger leads to offset {ledger.next_offset}, but {position.offset} is "
                f"committed{''.join('; ' + what for what in records.damaged[:3])}: `craft-stream ledger verify` shows "
                "what is there, `craft-stream run --rebuild` begins a new one"
            )
        return found

    def _start(self, partition: int, position: Position | None, ledger: Ledger) -> int:
        """The offset to read from; the first of the log for a new group."""
        assert self._reader is not None  # noqa: S101
        topic = self._settings.kafka.input_topic
        first, _ = self._reader.bounds(topic, [partition])[partition]
        known = max(ledger.next_offset, position.offset if position else 0)
        if known == 0:
            return first
        if known < first and not self._rebuild:
            raise LogTruncatedError(
                f"{topic}/{partition}: offset {known} is next, but the log begins at {first}: records were deleted "
                "before they were decided. Raise the topic's retention; `craft-stream run --rebuild` goes on with what "
                "is left"
            )
        return max(known, first)


def _uncommitted(found: PartitionLedger, position: Position | None) -> Position | None:
    """What the ledger leads to where the group's offset was lost, or a worker died before it committed it (at least once)."""
    offset = found.ledger.next_offset
    if offset == 0 or (position is not None and position.offset >= offset):
        return None
    return Position(offset, restore_note(found.index.restore_offset))
