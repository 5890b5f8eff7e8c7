"""Reading a partition's records on the ledger topic, and making a ledger of what is sound."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from craft_stream.errors import IntegrityError, NewerReleaseError
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import KafkaSettings
from craft_stream.topics.ledger_entries import KEY_WORDS, Entry, Kind, parse_key
from craft_stream.topics.ledger_index import LedgerIndex, SnapshotReference
from craft_stream.topics.ledger_writer import RING, LedgerWriter
from craft_stream.topics.origin import Origin
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.topics.retained_snapshots import RetainedSnapshots
from craft_stream.topics.settings_in_force import SettingsInForce

EMPTY = -1  # in place of a snapshot's number: before the first delta

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LedgerRecords:
    """What has been read of one partition of the topic.

    Attributes:
        prefix: group/topic/partition.
        snapshots: (slot, entry) by sequence number.
        deltas, segments: the newest entries of each key, by sequence number and by index.
        models: version by the offset from which it was in force, of every change of model.
        settings: the same of settings, and of the release that decided.
        retained: snapshots kept for audits, by the offset that they lead to; those that are not on the newest list are of a
            ledger that another has replaced.
        retained_list: the newest list of them.
        origin: of the ledger; an empty one where a release before 0.2.0 has written it.
        keys: that have a value, whatever it is.
        damaged: what could not be used, and why.
        size: bytes read.
    """

    prefix: str
    snapshots: dict[int, tuple[int, Entry]] = field(default_factory=dict)
    deltas: dict[int, Entry] = field(default_factory=dict)
    segments: dict[int, Entry] = field(default_factory=dict)
    models: dict[int, int] = field(default_factory=dict)
    settings: dict[int, SettingsInForce] = field(default_factory=dict)
    retained: dict[int, Entry] = field(default_factory=dict)
    retained_list: RetainedSnapshots = field(default_factory=RetainedSnapshots)
    origin: Origin = field(default_factory=Origin)
    keys: set[bytes] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, messages: Iterable[Message]) -> None:
        """Take in records in their order; those of other groups and topics are passed over."""
        start = f"{self.prefix}/".encode()
        for message in messages:
            if not message.key or not message.key.startswith(start):
                continue
            self.size += len(message.value or b"")
            name = message.key[len(start) :].decode("utf-8", "replace")
            try:
                kind, number = parse_key(name)
                if message.value is None:
                    self.keys.discard(message.key)
                    self._remove(kind, number)
                    continue
                self.keys.add(message.key)
                self._add(number, Entry.decode(message.value, message.offset, message.timestamp_ms))
            except IntegrityError as error:
                self.damaged.append(f"{name} at offset {message.offset}: {error}")

    def _remove(self, kind: Kind, number: int) -> None:
        start = f"{KEY_WORDS[kind]}/{number} at "
        self.damaged = [problem for problem in self.damaged if not problem.startswith(start)]
        match kind:
            case Kind.SNAPSHOT:
                for sequence in [n for n, (slot, _) in self.snapshots.items() if slot == number]:
                    del self.snapshots[sequence]
            case Kind.DELTA:
                for sequence in [n for n in self.deltas if n % RING == number]:
                    del self.deltas[sequence]
            case Kind.SEGMENT:
                self.segments.pop(number, None)
            case Kind.MODEL:
                self.models.pop(number, None)
            case Kind.SETTINGS:
                self.settings.pop(number, None)
            case Kind.RETAINED_SNAPSHOT:
                self.retained.pop(number, None)
            case Kind.RETAINED_SNAPSHOTS:
                self.retained_list = RetainedSnapshots()
            case Kind.ORIGIN:
                self.origin = Origin()

    def _add(self, number: int, entry: Entry) -> None:
        match entry.kind:
            case Kind.SNAPSHOT:
                self._forget_after(entry)
                self.snapshots[entry.sequence] = (number, entry)
            case Kind.DELTA:
                self._forget_after(entry)
                self.deltas[entry.sequence] = entry
            case Kind.SEGMENT:
                self.segments[entry.sequence] = entry
            case Kind.MODEL:
                self.models[entry.sequence] = entry.next_offset
            case Kind.SETTINGS:
                self.settings[entry.sequence] = SettingsInForce.decode(entry.payload)
            case Kind.RETAINED_SNAPSHOT:
                self.retained[entry.next_offset] = entry
            case Kind.RETAINED_SNAPSHOTS:
                self.retained_list = RetainedSnapshots.decode(entry.payload)
            case Kind.ORIGIN:
                self.origin = Origin.decode(entry.payload)

    def _forget_after(self, entry: Entry) -> None:
        """What came before with a higher number is of a ledger that was replaced: numbers of one only rise."""
        while (number := next(reversed(self.snapshots), -1)) >= entry.sequence:
            if self.snapshots[number][1].next_offset == entry.next_offset:
                break  # of the same transaction
            self.snapshots.popitem()
        while next(reversed(self.deltas), -1) > entry.sequence:
            self.deltas.popitem()

    def restore(self, parameters: Parameters, upto: int | None = None) -> PartitionLedger | None:
        """The ledger as the newest snapshot that leads to the end, or to offset `upto`, has it.

        Returns:
            None when there is no snapshot.

        Raises:
            IntegrityError: what is there leads nowhere; names what is damaged.
        """
        best: PartitionLedger | None = None
        # A young ledger can be made from nothing, while the ring still holds its first delta.
        bases = [*sorted(self.snapshots, reverse=True), *([EMPTY] if 0 in self.deltas else [])]
        for sequence in bases:
            try:
                found = self._replay(sequence, parameters, upto)
            except NewerReleaseError:
                raise  # not damaged: nothing older may take its place
            except IntegrityError as error:
                log.warning("ledger %s: snapshot %d is of no use: %s", self.prefix, sequence, error)
                self.damaged.append(f"snapshot {sequence}: {error}")
                continue
            if upto is not None and found.ledger.next_offset == upto:
                return found
            if best is None or found.ledger.next_offset > best.ledger.next_offset:
                best = found
        if best is None and (self.snapshots or self.damaged):
            raise IntegrityError(
                f"the ledger {self.prefix} cannot be read: {'; '.join(self.damaged[:5])}; "
                "`craft-stream ledger verify` shows all of it, `craft-stream run --rebuild` makes a new one"
            )
        return best

    def since(self, holds: Callable[[SettingsInForce], bool]) -> int | None:
        """Offset from which on something holds of what was in force, without a break; None: at the end it does not."""
        offset = None
        for at, one in sorted(self.settings.items()):
            offset = (at if offset is None else offset) if holds(one) else None
        return offset

    @property
    def end(self) -> int:
        """The next offset to decide after all that is here; 0: nothing is."""
        entries = [*self.deltas.values(), *(entry for _, entry in self.snapshots.values())]
        return max((entry.next_offset for entry in entries), default=0)

    def starts(self) -> list[int]:
        """Offsets at which a recomputation may begin with a snapshot, in order."""
        kept = {one.next_offset for one in self.retained_list.kept} & self.retained.keys()
        return sorted(kept | {entry.next_offset for _, entry in self.snapshots.values()})

    def start(self, parameters: Parameters, offset: int) -> Ledger:
        """The ledger of the snapshot at one of the `starts`.

        Raises:
            IntegrityError: it is damaged, of other parameters, or a segment that it needs is gone.
        """
        snapshots = {entry.next_offset: entry for _, entry in self.snapshots.values()}
        return Ledger.restore(parameters, (snapshots | self.retained)[offset].payload, self._payloads())

    def _payloads(self) -> dict[int, bytes]:
        return {index: segment.payload for index, segment in self.segments.items()}

    def _replay(self, sequence: int, parameters: Parameters, upto: int | None) -> PartitionLedger:
        """The deltas since a snapshot upon it."""
        segments = self._payloads()
        snapshot = b"" if sequence == EMPTY else self.snapshots[sequence][1].payload
        ledger = Ledger.restore(parameters, snapshot, segments) if snapshot else Ledger(parameters)
        number, size = sequence, 0
        while (delta := self.deltas.get(number + 1)) and (upto is None or delta.next_offset <= upto):
            ledger.apply(delta.payload, segments)
            number += 1
            size += len(delta.payload)
        newest = [self.snapshots[n] for n in sorted(self.snapshots) if n <= sequence][-2:]
        references = [
            SnapshotReference(e.at, Ledger.first_segment(e.payload), e.written_ms) for _, e in newest
        ]
        writer = LedgerWriter(
            self.prefix,
            sequence=number + 1,
            slot=(newest[-1][0] + 1) % 2 if newest else 0,
            first_segment=references[-1].first_segment if references else None,
            retained=self.retained_list,
            model_version=ledger.model_version,
            in_force=SettingsInForce(ledger.parameters, ledger.release) if ledger.model_version else None,
            deltas=number - sequence,
            delta_bytes=size,
            snapshot_bytes=len(snapshot),
            origin=self.origin,
            noted=self.origin,
        )
        if writer.in_force is not None:
            noted = max((at for at in self.settings if at < ledger.next_offset), default=None)
            if noted is not None:
                writer.in_force = replace(writer.in_force, listed=self.settings[noted].listed)
                writer.in_force_at = noted if writer.in_force == self.settings[noted] else None
            if noted is None or ledger.release != self.settings[noted].release:
                # 0.1.0 notes nothing, and leaves the notes of a ledger that it replaces by --rebuild, which may stand before
                # what is read here.
                writer.unnoted = min(self.starts(), default=None)
        index = LedgerIndex(references, {number: entry.at for number, entry in self.segments.items()})
        return PartitionLedger(ledger, writer, index)


def ledger_prefix(kafka: KafkaSettings, partition: int) -> str:
    """What the keys of a partition's records begin with, also of those on the model topic."""
    return f"{kafka.group_id}/{kafka.input_topic}/{partition}"


def read_ledger(
    reader: Reader,
    kafka: KafkaSettings,
    partition: int,
    start: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> LedgerRecords:
    """A partition's records on the ledger topic.

    Args:
        start: offset there to read from.
        progress: is told the share that has been read.
    """
    records = LedgerRecords(ledger_prefix(kafka, partition))
    first, end = reader.bounds(kafka.ledger_topic, [partition])[partition]
    start = min(max(first, start), end)
    for messages in reader.read(kafka.ledger_topic, partition, start, end):
        records.add(messages)
        progress((messages[-1].offset + 1 - start) / max(end - start, 1))
    return records
