"""What a partition's records on the ledger topic are worth: reading them, and a ledger from what is sound."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.selection.ledger import Ledger
from craft_stream.topics.ledger_log import Entry, Kind, LedgerIndex, LedgerWriter, SnapshotReference
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.topics.retained import RetainedSnapshots

EMPTY = -1  # in place of a whole ledger's number: before the first delta

log = logging.getLogger(__name__)


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
    listed: RetainedSnapshots = field(default_factory=RetainedSnapshots)
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
                    self.listed = RetainedSnapshots.decode(entry.payload)
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

    def restore(self, parameters: Parameters, upto: int | None = None) -> PartitionLedger | None:
        """The partition as the newest whole ledger that leads to the end, or to offset `upto`, has it.

        Returns:
            None when there is no whole ledger.

        Raises:
            IntegrityError: what is there leads nowhere; names what is damaged.
        """
        best: PartitionLedger | None = None
        # A young ledger can be made from nothing, while the ring still holds its first delta.
        bases = [*sorted(self.wholes, reverse=True), *([EMPTY] if 0 in self.deltas else [])]
        for sequence in bases:
            try:
                found = self._from(sequence, parameters, upto)
            except IntegrityError as error:
                log.warning("ledger %s: whole %d is of no use: %s", self.prefix, sequence, error)
                self.damaged.append(f"whole {sequence}: {error}")
                continue
            if upto is not None and found.ledger.next_offset == upto:
                return found
            if best is None or found.ledger.next_offset > best.ledger.next_offset:
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

    def _from(self, sequence: int, parameters: Parameters, upto: int | None) -> PartitionLedger:
        pages = {index: entry.payload for index, entry in self.pages.items()}
        whole = b"" if sequence == EMPTY else self.wholes[sequence][1].payload
        ledger = Ledger.restore(parameters, whole, pages) if whole else Ledger(parameters)
        number, size = sequence, 0
        while (delta := self.deltas.get(number + 1)) and (upto is None or delta.next_offset <= upto):
            ledger.apply(delta.payload, pages)
            number += 1
            size += len(delta.payload)
        kept = [self.wholes[n] for n in sorted(self.wholes) if n <= sequence][-2:]
        wholes = [SnapshotReference(e.at, Ledger.first_page(e.payload), e.written_ms) for _, e in kept]
        writer = LedgerWriter(
            self.prefix,
            sequence=number + 1,
            slot=(kept[-1][0] + 1) % 2 if kept else 0,
            first_page=wholes[-1].first_page if wholes else None,
            anchors=self.listed,
            model_version=ledger.model_version,
            deltas=number - sequence,
        )
        writer._delta_bytes, writer._whole_bytes = size, len(whole)
        places = LedgerIndex(wholes, {index: entry.at for index, entry in self.pages.items()})
        return PartitionLedger(ledger, writer, places)
