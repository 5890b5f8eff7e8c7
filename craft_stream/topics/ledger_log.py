"""The ledger topic: what a partition has done, written in every transaction and read when it is restored.

The ledger of input partition i is in partition i of a compacted topic. Keys form rings, so that compaction
bounds it however long the stream is (`P` is `group/topic/partition`):

    P/whole/{0, 1}      the two newest whole ledgers
    P/delta/{0..R-1}    what changed, one in every transaction, also in those that write a whole one
    P/page/{index}      seen keys that will not change any more; a tombstone when nobody needs them
    P/model/{offset}    the Model version in force from that offset on; kept, so that a log can be audited
    P/anchor/{offset}   a whole ledger that audits begin from; a tombstone when there are enough newer ones
    P/anchors/0         which anchors there are; written with every whole ledger

Every value names its kind, its place in the sequence of wholes and deltas and the offset that it leads to,
and carries a checksum: a value that does not fit is found out, whatever its key says. With the offset a
worker commits the place in this topic from which a restore must read (`hint`), so a restore reads megabytes
however long the topic is.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from craft_stream.errors import IntegrityError
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import LedgerSettings
from craft_stream.topics.retained import RetainedSnapshot, RetainedSnapshots

RING = 256
WHOLE_EVERY = (
    RING // 2
)  # deltas since the whole one before the newest are still there when the newest is damaged
# Whole ledgers may take a sixteenth of what deltas take; deltas of 16 whole ledgers are replayed in 0.1 s.
WHOLE_BYTES = 16
MAGIC = b"CRAFTLOG"
FORMAT = 2
_HEADER = struct.Struct("<8sHBQQI")


class Kind(IntEnum):
    """What a record of the topic is."""

    WHOLE = 0
    DELTA = 1
    PAGE = 2
    MODEL = 3
    ANCHOR = 4
    ANCHORS = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the topic, checked.

    Attributes:
        kind: what it is.
        sequence: number of a delta, or of the delta that a whole one, an anchor or the list of anchors goes with; a
            page's index; the offset of a change of model.
        next_offset: offset of the input that it leads to; of a change of model the version.
        payload: what the engine made.
        at: its own offset in the ledger topic.
        written_ms: when, by the brokers' clock.
    """

    kind: Kind
    sequence: int
    next_offset: int
    payload: bytes
    at: int = -1
    written_ms: int = 0

    def encode(self) -> bytes:
        """As bytes."""
        size = len(self.payload)
        head = _HEADER.pack(MAGIC, FORMAT, self.kind, self.sequence, self.next_offset, size)
        return head + self.payload + zlib.crc32(head + self.payload).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes, at: int, written_ms: int = 0) -> Entry:
        """From bytes.

        Raises:
            IntegrityError: damaged, or of another format.
        """
        if len(data) < _HEADER.size + 4 or data[:8] != MAGIC:
            raise IntegrityError("no record of a ledger")
        _, version, kind, sequence, next_offset, size = _HEADER.unpack_from(data)
        if version != FORMAT:
            raise IntegrityError(
                f"this record is of format {version} of the ledger topic, this version of craft_stream reads {FORMAT}"
            )
        if len(data) != _HEADER.size + size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(
            data[-4:], "little"
        ):
            raise IntegrityError("the checksum does not fit")
        if kind not in set(Kind):
            raise IntegrityError(f"a record of the unknown kind {kind}")
        return cls(Kind(kind), sequence, next_offset, data[_HEADER.size : -4], at, written_ms)


@dataclass(frozen=True, slots=True)
class PendingWrites:
    """What a transaction must write to the ledger topic.

    Attributes:
        records: keys and entries (None: a tombstone).
        first_page: the oldest page of seen pairs that the ledger needs as it is then.
        whole_seconds: that it took to make a whole ledger, if one is among them.
    """

    records: list[tuple[bytes, Entry | None]]
    first_page: int
    whole_seconds: float = 0.0


@dataclass(slots=True)
class LedgerWriter:
    """Makes a partition's records for the ledger topic, transaction by transaction.

    It is ahead of what is committed: a transaction that fails throws it away.

    Attributes:
        prefix: `group/topic/partition`.
        sequence: number of the next delta; a whole ledger has the number of the delta beside it.
        slot: which of the two keys the next whole ledger has.
        first_page: the oldest page of seen pairs that the newest whole ledger needs; None before the first.
        anchors: whole ledgers kept for audits.
        model_version: of the last change written.
        deltas: since the newest whole one.
    """

    prefix: str
    sequence: int = 0
    slot: int = 0
    first_page: int | None = None
    anchors: RetainedSnapshots = field(default_factory=RetainedSnapshots)
    model_version: int = 0
    deltas: int = 0
    _delta_bytes: int = 0
    _whole_bytes: int = 0

    def due(
        self, ledger: Ledger, changes: Iterable[tuple[int, int]], policy: LedgerSettings, now_ms: int
    ) -> PendingWrites:
        """What the next transaction must write.

        Args:
            ledger: after the transaction's decisions.
            changes: (offset, Model version in force from there) of these decisions.
            policy: which anchors to keep.
            now_ms: the time.
        """
        records: list[tuple[bytes, Entry | None]] = []
        for offset, version in changes:
            payload = json.dumps({"offset": offset, "version": version}).encode()
            records.append((self._key("model", offset), Entry(Kind.MODEL, offset, version, payload)))
            self.model_version = version
        for index, page in ledger.closed_pages():
            entry = Entry(Kind.PAGE, index, ledger.next_offset, page)
            records.append((self._key("page", index), entry))
        whole = (
            self.first_page is None
            or self.deltas >= WHOLE_EVERY
            or self._delta_bytes > WHOLE_BYTES * self._whole_bytes
        )
        entry = Entry(Kind.DELTA, self.sequence, ledger.next_offset, ledger.delta())
        records.append((self._key("delta", self.sequence % RING), entry))
        seconds = 0.0
        if whole:
            began = time.monotonic()
            snapshot = Entry(Kind.WHOLE, self.sequence, ledger.next_offset, ledger.snapshot())
            seconds = time.monotonic() - began
            records.append((self._key("whole", self.slot), snapshot))
            records += self._anchor(snapshot, ledger, policy, now_ms)
            self.slot = (self.slot + 1) % 2
            self.first_page = ledger.seen_pairs.first_page
            self.deltas = self._delta_bytes = 0
            self._whole_bytes = len(snapshot.payload)
        else:
            self.deltas += 1
            self._delta_bytes += len(entry.payload)
        self.sequence += 1
        return PendingWrites(records, ledger.seen_pairs.first_page, seconds)

    def _anchor(
        self, whole: Entry, ledger: Ledger, policy: LedgerSettings, now_ms: int
    ) -> list[tuple[bytes, Entry | None]]:
        """What goes with a whole ledger: itself once more if an anchor is due, and what is let go."""
        records: list[tuple[bytes, Entry | None]] = []
        anchors = self.anchors
        if anchors.due(policy, now_ms):
            anchors.add(RetainedSnapshot(whole.next_offset, ledger.seen_pairs.first_page, now_ms))
            records.append((self._key("anchor", whole.next_offset), replace(whole, kind=Kind.ANCHOR)))
        records += [(self._key("anchor", old.next_offset), None) for old in anchors.drop(policy)]
        # the whole ledger before this one is kept too, and needs its pages
        records += [(self._key("page", index), None) for index in anchors.release_pages(self.first_page or 0)]
        entry = Entry(Kind.ANCHORS, whole.sequence, whole.next_offset, anchors.encode())
        records.append((self._key("anchors", 0), entry))
        return records

    def _key(self, kind: str, number: int) -> bytes:
        return f"{self.prefix}/{kind}/{number}".encode()


@dataclass(frozen=True, slots=True)
class SnapshotReference:
    """A whole ledger in the topic.

    Attributes:
        at: its offset there.
        first_page: the oldest page of seen pairs that it needs.
        written_ms: when, by the brokers' clock; 0: by this worker.
    """

    at: int
    first_page: int
    written_ms: int = 0


@dataclass(slots=True)
class LedgerIndex:
    """Where in the topic the records are that a restore needs.

    Attributes:
        wholes: the two newest whole ledgers; newest last.
        pages: the offset of each page of seen keys that they need.
    """

    wholes: list[SnapshotReference] = field(default_factory=list)
    pages: dict[int, int] = field(default_factory=dict)

    def note(self, entries: Iterable[tuple[Entry, int]], first_page: int) -> None:
        """Take note of where what was due went, before it is committed.

        Args:
            entries: those with a value, and their offsets in the ledger topic.
            first_page: of the ledger that they lead to.
        """
        for entry, at in entries:
            if entry.kind is Kind.PAGE:
                self.pages[entry.sequence] = at
            elif entry.kind is Kind.WHOLE:
                self.wholes = [*self.wholes[-1:], SnapshotReference(at, first_page)]
        # Where an anchor's pages are is of no interest: a restore begins at what the two whole ones need.
        oldest = self.wholes[0].first_page if self.wholes else 0
        self.pages = {index: at for index, at in self.pages.items() if index >= oldest}

    @property
    def hint(self) -> str:
        """The note for the committed offset: where in the ledger topic a restore must begin."""
        needed = [whole.at for whole in self.wholes] + list(self.pages.values())
        return json.dumps({"ledger": min(needed, default=0)})


def read_restore_offset(note: str) -> int:
    """Where to begin in the ledger topic; 0 when the note says nothing that can be understood."""
    try:
        return max(0, int(json.loads(note)["ledger"]))
    except (ValueError, KeyError, TypeError):
        return 0
