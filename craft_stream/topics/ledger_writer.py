"""What a partition writes to the ledger topic, transaction by transaction."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from craft_stream.selection.ledger import Ledger
from craft_stream.settings import LedgerSettings
from craft_stream.topics.ledger_entries import Entry, Kind, entry_key
from craft_stream.topics.origin import Origin
from craft_stream.topics.retained_snapshots import RetainedSnapshot, RetainedSnapshots
from craft_stream.topics.settings_in_force import SettingsInForce

RING = 256
# Deltas since the snapshot before the newest are still there when the newest is damaged.
SNAPSHOT_EVERY = RING // 2
# Snapshots may take a sixteenth of what deltas take; deltas of 16 times a snapshot's size are replayed in 0.1 s.
DELTA_BYTES = 16


@dataclass(frozen=True, slots=True)
class PendingWrites:
    """What a transaction must write to the ledger topic.

    Attributes:
        records: keys and entries (None: a tombstone).
        first_segment: the oldest segment of seen pairs that the ledger needs as it is then.
        snapshot_seconds: that it took to make a snapshot, if one is among them.
    """

    records: list[tuple[bytes, Entry | None]]
    first_segment: int
    snapshot_seconds: float

    @property
    def snapshot(self) -> Entry | None:
        """The snapshot among them, if there is one."""
        found = (entry for _, entry in self.records if entry is not None and entry.kind is Kind.SNAPSHOT)
        return next(found, None)

    @property
    def sizes(self) -> Counter[Kind]:
        """Bytes by kind."""
        sizes = Counter[Kind]()
        for _, entry in self.records:
            if entry is not None:
                sizes[entry.kind] += entry.size
        return sizes


@dataclass(slots=True)
class LedgerWriter:
    """Makes a partition's records for the ledger topic.

    It is ahead of what is committed: a transaction that fails throws it away.

    Attributes:
        prefix: group/topic/partition.
        sequence: number of the next delta; a snapshot has the number of the delta beside it.
        slot: which of the two keys the next snapshot has.
        first_segment: the oldest segment of seen pairs that the newest snapshot needs; None before the first.
        retained: snapshots that are kept for audits.
        model_version: of the last change written.
        in_force: what was written last of settings, lists and release; None: nothing.
        in_force_at: the offset under which it was; None: it is not on the topic.
        unnoted: an offset at which it was in force without a note that says so; None: there is none.
        deltas: since the newest snapshot.
        delta_bytes: of these.
        snapshot_bytes: of the newest snapshot.
        origin: of the ledger.
        noted: the origin that the topic tells of.
        given_up: keys of a ledger in whose place this one has come, until they are withdrawn.
    """

    prefix: str
    sequence: int = 0
    slot: int = 0
    first_segment: int | None = None
    retained: RetainedSnapshots = field(default_factory=RetainedSnapshots)
    model_version: int = 0
    in_force: SettingsInForce | None = None
    in_force_at: int | None = None
    unnoted: int | None = None
    deltas: int = 0
    delta_bytes: int = 0
    snapshot_bytes: int = 0
    origin: Origin = field(default_factory=Origin)
    noted: Origin = field(default_factory=Origin)
    given_up: frozenset[bytes] = frozenset()

    def write(
        self,
        ledger: Ledger,
        changes: Iterable[tuple[int, int]],
        settings: LedgerSettings,
        now_ms: int,
        in_force: Sequence[tuple[int, SettingsInForce]] = (),
    ) -> PendingWrites:
        """What the next transaction must write.

        Args:
            ledger: after the transaction's decisions.
            changes: (offset, Model version in force from there) of these decisions.
            settings: which snapshots to retain.
            now_ms: the time.
            in_force: (offset, settings, lists and release in force from there) of these decisions, where they are others
                than before.
        """
        records: list[tuple[bytes, Entry | None]] = [(key, None) for key in sorted(self.given_up)]
        self.given_up = frozenset()
        for offset, version in changes:
            payload = json.dumps({"offset": offset, "version": version}).encode()
            records.append(self._record(offset, Entry(Kind.MODEL, offset, version, payload)))
            self.model_version = version
        # So that an audit by another release, or with other lists, can begin where these begin to decide.
        before = self.in_force
        anew = any(before and before.release != chosen.release for _, chosen in in_force)
        others = any(before and before.listed not in (None, chosen.listed) for _, chosen in in_force)
        told = dict(in_force)
        if anew and before is not None and self.unnoted is not None:
            told.setdefault(self.unnoted, before)
            self.unnoted = None
        if in_force:
            self.in_force_at, self.in_force = in_force[-1]
        for index, segment in ledger.closed_segments():
            records.append(self._record(index, Entry(Kind.SEGMENT, index, ledger.next_offset, segment)))
        due = (
            anew
            or others
            or self.first_segment is None
            or self.deltas >= SNAPSHOT_EVERY
            or self.delta_bytes > DELTA_BYTES * self.snapshot_bytes
        )
        delta = Entry(Kind.DELTA, self.sequence, ledger.next_offset, ledger.delta())
        records.append(self._record(self.sequence % RING, delta))
        seconds = 0.0
        if due:
            began = time.monotonic()
            snapshot = Entry(Kind.SNAPSHOT, self.sequence, ledger.next_offset, ledger.snapshot())
            seconds = time.monotonic() - began
            records.append(self._record(self.slot, snapshot))
            records += self._retain(snapshot, ledger, settings, now_ms, anew or others)
            self.slot = (self.slot + 1) % 2
            self.first_segment = ledger.seen_pairs.first_segment
            self.deltas = self.delta_bytes = 0
            self.snapshot_bytes = len(snapshot.payload)
        else:
            self.deltas += 1
            self.delta_bytes += len(delta.payload)
        # Behind the snapshot, from which a restore reads on.
        if due and self.in_force is not None and self.in_force_at is not None:
            told[self.in_force_at] = self.in_force
        for offset, chosen in told.items():
            entry = Entry(Kind.SETTINGS, offset, chosen.parameters.version, chosen.encode(offset))
            records.append(self._record(offset, entry))
        if self.origin != Origin() and (due or self.noted != self.origin):
            entry = Entry(Kind.ORIGIN, self.sequence, ledger.next_offset, self.origin.encode())
            records.append(self._record(0, entry))
            self.noted = self.origin
        self.sequence += 1
        return PendingWrites(records, ledger.seen_pairs.first_segment, seconds)

    def _retain(
        self, snapshot: Entry, ledger: Ledger, settings: LedgerSettings, now_ms: int, always: bool
    ) -> list[tuple[bytes, Entry | None]]:
        """What goes with a snapshot: itself once more if it is to be retained, or is `always`, and what is let go."""
        records: list[tuple[bytes, Entry | None]] = []
        retained, offset = self.retained, snapshot.next_offset
        if retained.due(settings, now_ms) or (always and settings.retained_snapshots):
            retained.add(RetainedSnapshot(offset, ledger.seen_pairs.first_segment, now_ms))
            records.append(self._record(offset, replace(snapshot, kind=Kind.RETAINED_SNAPSHOT)))
        records += [
            (entry_key(self.prefix, Kind.RETAINED_SNAPSHOT, old.next_offset), None)
            for old in retained.drop(settings)
        ]
        # the snapshot before this one is kept too, and needs its segments
        records += [
            (entry_key(self.prefix, Kind.SEGMENT, index), None)
            for index in retained.release_segments(self.first_segment or 0)
        ]
        entry = Entry(Kind.RETAINED_SNAPSHOTS, snapshot.sequence, offset, retained.encode())
        return [*records, self._record(0, entry)]

    def _record(self, number: int, entry: Entry) -> tuple[bytes, Entry]:
        return entry_key(self.prefix, entry.kind, number), entry
