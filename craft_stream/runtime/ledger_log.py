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
import logging
import struct
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.runtime.anchors import Anchor, Anchors
from craft_stream.runtime.ports import Message
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import LedgerSettings

EMPTY = -1  # in place of a whole ledger's number: before the first delta
RING = 256
WHOLE_EVERY = (
    RING // 2
)  # deltas since the whole one before the newest are still there when the newest is damaged
# Whole ledgers may take a sixteenth of what deltas take; deltas of 16 whole ledgers are replayed in 0.1 s.
WHOLE_BYTES = 16
MAGIC = b"CRAFTLOG"
FORMAT = 2
_HEADER = struct.Struct("<8sHBQQI")

log = logging.getLogger(__name__)


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
class Written:
    """A whole ledger in the topic.

    Attributes:
        at: its offset there.
        slot: which of the two keys it has.
        first_page: the oldest page of seen pairs that it needs.
        written_ms: when, by the brokers' clock; 0: by this writer.
    """

    at: int
    slot: int
    first_page: int
    written_ms: int = 0


@dataclass(slots=True)
class LedgerWriter:
    """Makes a partition's records for the ledger topic, transaction by transaction.

    Attributes:
        prefix: `group/topic/partition`.
        sequence: number of the next delta; a whole ledger has the number of the delta beside it.
        wholes: the two newest whole ones; newest last.
        pages: where each page of seen keys is in the topic.
        anchors: whole ledgers kept for audits.
        model_version: of the last change written.
        deltas: since the newest whole one.
        whole_seconds: that it took to make it.
    """

    prefix: str
    sequence: int = 0
    wholes: list[Written] = field(default_factory=list)
    pages: dict[int, int] = field(default_factory=dict)
    anchors: Anchors = field(default_factory=Anchors)
    model_version: int = 0
    deltas: int = 0
    whole_seconds: float = 0.0
    _delta_bytes: int = 0
    _whole_bytes: int = 0

    def records(
        self, ledger: Ledger, changes: Iterable[tuple[int, int]], policy: LedgerSettings, now_ms: int
    ) -> list[tuple[bytes, Entry | None]]:
        """What a transaction must write: keys and entries (None: a tombstone).

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
        for index, page in ledger.closed_pages():
            entry = Entry(Kind.PAGE, index, ledger.next_offset, page)
            records.append((self._key("page", index), entry))
        whole = (
            not self.wholes
            or self.deltas >= WHOLE_EVERY
            or self._delta_bytes > WHOLE_BYTES * self._whole_bytes
        )
        entry = Entry(Kind.DELTA, self.sequence, ledger.next_offset, ledger.delta())
        records.append((self._key("delta", self.sequence % RING), entry))
        if whole:
            began = time.monotonic()
            entry = Entry(Kind.WHOLE, self.sequence, ledger.next_offset, ledger.snapshot())
            self.whole_seconds = time.monotonic() - began
            records.append((self._key("whole", self._slot), entry))
            records += self._anchor(entry, ledger, policy, now_ms)
        return records

    def _anchor(
        self, whole: Entry, ledger: Ledger, policy: LedgerSettings, now_ms: int
    ) -> list[tuple[bytes, Entry | None]]:
        """What goes with a whole ledger: itself once more if an anchor is due, and what is let go."""
        records: list[tuple[bytes, Entry | None]] = []
        anchors = self.anchors
        if anchors.due(policy, now_ms):
            anchors.add(Anchor(whole.next_offset, ledger.seen_pairs.first_page, now_ms))
            records.append((self._key("anchor", whole.next_offset), replace(whole, kind=Kind.ANCHOR)))
        records += [(self._key("anchor", old.next_offset), None) for old in anchors.drop(policy)]
        first_page = self.wholes[-1].first_page if self.wholes else 0
        records += [(self._key("page", index), None) for index in anchors.release_pages(first_page)]
        entry = Entry(Kind.ANCHORS, whole.sequence, whole.next_offset, anchors.encode())
        records.append((self._key("anchors", 0), entry))
        return records

    def written(self, ledger: Ledger, entries: Iterable[tuple[Entry, int]]) -> None:
        """Take note of where `records` went, before they are committed; a failure throws this writer away.

        Args:
            ledger: as it was written.
            entries: those with a value, and their offsets in the ledger topic.
        """
        for entry, at in entries:
            if entry.kind is Kind.PAGE:
                self.pages[entry.sequence] = at
            elif entry.kind is Kind.MODEL:
                self.model_version = entry.next_offset
            elif entry.kind is Kind.DELTA:
                self.sequence += 1
                self.deltas += 1
                self._delta_bytes += len(entry.payload)
            elif entry.kind is Kind.WHOLE:
                first_page = ledger.seen_pairs.first_page
                self.wholes = [*self.wholes[-1:], Written(at, self._slot, first_page)]
                self.deltas = self._delta_bytes = 0
                self._whole_bytes = len(entry.payload)
        # Where an anchor's pages are is of no interest: a restore begins at what the two whole ones need.
        oldest = self.wholes[0].first_page if self.wholes else 0
        self.pages = {index: at for index, at in self.pages.items() if index >= oldest}

    @property
    def hint(self) -> str:
        """The note for the committed offset: where in the ledger topic a restore must begin."""
        needed = [whole.at for whole in self.wholes] + list(self.pages.values())
        return json.dumps({"ledger": min(needed, default=0)})

    @property
    def _slot(self) -> int:
        return (self.wholes[-1].slot + 1) % 2 if self.wholes else 0

    def _key(self, kind: str, number: int) -> bytes:
        return f"{self.prefix}/{kind}/{number}".encode()


def read_hint(note: str) -> int:
    """Where to begin in the ledger topic; 0 when the note says nothing that can be understood."""
    try:
        return max(0, int(json.loads(note)["ledger"]))
    except (ValueError, KeyError, TypeError):
        return 0


@dataclass(slots=True)
class LedgerRecords:
    """What a restore has read of one partition of the topic.

    Attributes:
        wholes, deltas, pages: the newest entries of each key, by sequence number or index.
        models: version by the offset from which it was in force, of every change of model.
        anchors: whole ledgers kept for audits, by the offset that they lead to.
        listed: the newest list of anchors.
        damaged: what could not be used, and why.
        size: bytes read.
    """

    prefix: str
    wholes: dict[int, tuple[int, Entry]] = field(default_factory=dict)
    deltas: dict[int, Entry] = field(default_factory=dict)
    pages: dict[int, Entry] = field(default_factory=dict)
    models: dict[int, int] = field(default_factory=dict)
    anchors: dict[int, Entry] = field(default_factory=dict)
    listed: Anchors = field(default_factory=Anchors)
    damaged: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, messages: Iterable[Message]) -> None:
        """Take in records in their order; those of other groups and topics are passed over."""
        start = f"{self.prefix}/".encode()
        for message in messages:
            if not message.key or not message.key.startswith(start):
                continue
            self.size += len(message.value or b"")
            kind, _, number = message.key[len(start) :].decode("utf-8", "replace").partition("/")
            if message.value is None:
                if kind in ("page", "anchor") and number.isdigit():
                    (self.pages if kind == "page" else self.anchors).pop(int(number), None)
                continue
            try:
                entry = Entry.decode(message.value, message.offset, message.timestamp_ms)
                if entry.kind is Kind.ANCHORS:
                    self.listed = Anchors.decode(entry.payload)
            except IntegrityError as error:
                self.damaged.append(f"{kind} {number} at offset {message.offset}: {error}")
                continue
            if entry.kind is Kind.WHOLE:
                self.wholes[entry.sequence] = (int(number) if number.isdigit() else 0, entry)
            elif entry.kind is Kind.DELTA:
                self.deltas[entry.sequence] = entry
            elif entry.kind is Kind.PAGE:
                self.pages[entry.sequence] = entry
            elif entry.kind is Kind.MODEL:
                self.models[entry.sequence] = entry.next_offset
            elif entry.kind is Kind.ANCHOR:
                self.anchors[entry.next_offset] = entry

    def restore(self, parameters: Parameters, upto: int | None = None) -> tuple[Ledger, LedgerWriter] | None:
        """The ledger and its writer from the newest whole that leads to the end, or to offset `upto`.

        Returns:
            None when there is no whole ledger.

        Raises:
            IntegrityError: what is there leads nowhere; names what is damaged.
        """
        best: tuple[Ledger, LedgerWriter] | None = None
        # A young ledger can be made from nothing, while the ring still holds its first delta.
        bases = [*sorted(self.wholes, reverse=True), *([EMPTY] if 0 in self.deltas else [])]
        for sequence in bases:
            try:
                found = self._from(sequence, parameters, upto)
            except IntegrityError as error:
                log.warning("ledger %s: whole %d is of no use: %s", self.prefix, sequence, error)
                self.damaged.append(f"whole {sequence}: {error}")
                continue
            if upto is not None and found[0].next_offset == upto:
                return found
            if best is None or found[0].next_offset > best[0].next_offset:
                best = found
        if best is None and (self.wholes or self.damaged):
            raise IntegrityError(
                f"the ledger {self.prefix} cannot be read: {'; '.join(self.damaged[:5])}; "
                "`craft-stream ledger verify` shows all of it, `craft-stream run --rebuild` makes a new one"
            )
        return best

    def starts(self) -> list[int]:
        """Offsets at which a recomputation may begin with a whole ledger, in order."""
        return sorted({*self.anchors, *(entry.next_offset for _, entry in self.wholes.values())})

    def start(self, parameters: Parameters, offset: int) -> Ledger:
        """The whole ledger at one of the `starts`.

        Raises:
            IntegrityError: it is damaged, of other parameters, or a page that it needs is gone.
        """
        wholes = {entry.next_offset: entry for _, entry in self.wholes.values()}
        whole = (wholes | self.anchors)[offset]
        return Ledger.restore(parameters, whole.payload, {n: page.payload for n, page in self.pages.items()})

    def _from(self, sequence: int, parameters: Parameters, upto: int | None) -> tuple[Ledger, LedgerWriter]:
        pages = {index: entry.payload for index, entry in self.pages.items()}
        whole = b"" if sequence == EMPTY else self.wholes[sequence][1].payload
        ledger = Ledger.restore(parameters, whole, pages) if whole else Ledger(parameters)
        number, size = sequence, 0
        while (delta := self.deltas.get(number + 1)) and (upto is None or delta.next_offset <= upto):
            ledger.apply(delta.payload, pages)
            number += 1
            size += len(delta.payload)
        kept = [n for n in sorted(self.wholes) if n <= sequence][-2:]
        writer = LedgerWriter(
            self.prefix,
            sequence=number + 1,
            wholes=[self._written(n) for n in kept],
            pages={index: entry.at for index, entry in self.pages.items()},
            anchors=self.listed,
            model_version=ledger.model_version,
            deltas=number - sequence,
        )
        writer._delta_bytes, writer._whole_bytes = size, len(whole)
        return ledger, writer

    def _written(self, sequence: int) -> Written:
        slot, entry = self.wholes[sequence]
        return Written(entry.at, slot, Ledger.first_page(entry.payload), entry.written_ms)
