"""Where in the ledger topic the records of a partition are that a restore needs.

With the offset a worker commits the place in the topic from which a restore must read, so a restore reads megabytes however
long the topic is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from craft_stream.errors import IntegrityError
from craft_stream.schema import Number, check, read_json
from craft_stream.topics.ledger_entries import Entry, Kind


@dataclass(frozen=True, slots=True)
class SnapshotReference:
    """A snapshot in the topic.

    Attributes:
        at: its offset there.
        first_segment: the oldest segment of seen pairs that it needs.
        written_ms: when, by the brokers' clock; 0: by this worker.
    """

    at: int
    first_segment: int
    written_ms: int = 0


@dataclass(slots=True)
class LedgerIndex:
    """What a restore needs, right only as long as every transaction commits.

    Attributes:
        snapshots: the two newest; newest last.
        segments: by index the offset of each segment of seen pairs that they need.
    """

    snapshots: list[SnapshotReference] = field(default_factory=list)
    segments: dict[int, int] = field(default_factory=dict)

    def add(self, written: Iterable[tuple[Entry, int]], first_segment: int) -> None:
        """Take note of where a transaction's records went, before it is committed.

        Args:
            written: entries, and their offsets in the ledger topic.
            first_segment: of the ledger that they lead to.
        """
        for entry, at in written:
            if entry.kind is Kind.SEGMENT:
                self.segments[entry.sequence] = at
            elif entry.kind is Kind.SNAPSHOT:
                self.snapshots = [*self.snapshots[-1:], SnapshotReference(at, first_segment)]
        # Where a retained snapshot's segments are is of no interest: a restore begins at what the two newest need.
        oldest = self.snapshots[0].first_segment if self.snapshots else 0
        self.segments = {index: at for index, at in self.segments.items() if index >= oldest}

    @property
    def restore_offset(self) -> int:
        """Where in the ledger topic a restore must begin."""
        return min([*(snapshot.at for snapshot in self.snapshots), *self.segments.values()], default=0)


def restore_note(offset: int) -> str:
    """The note for a committed offset that says where a restore must begin."""
    return json.dumps({"ledger": offset})


def read_restore_offset(note: str) -> int:
    """What `restore_note` said; 0 when the note says nothing that can be understood."""
    try:
        values = read_json("the note", note)
        check("the note", values, {"ledger": Number()})
    except IntegrityError:
        return 0
    offset: int = values["ledger"]
    return offset
