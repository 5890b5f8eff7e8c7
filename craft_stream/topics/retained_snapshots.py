"""Snapshots of long ago, from which an audit can begin where the log no longer reaches the group's start.

The two newest snapshots are overwritten every few minutes, and the log's retention deletes what came before them: without
others nothing could be recomputed after a week. A retained snapshot has a key of its own and is kept for
`ledger.retained_snapshots` others, and with it the segments of seen pairs that it needs. A worker knows of them from one
small record, written beside every snapshot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from craft_stream.errors import IntegrityError
from craft_stream.schema import Number, Schema, check, read_json
from craft_stream.settings import LedgerSettings

HOUR_MS = 3_600_000
_SNAPSHOT: Schema = {"next_offset": Number(), "first_page": Number(), "written_ms": Number()}


@dataclass(frozen=True, slots=True)
class RetainedSnapshot:
    """One of them.

    Attributes:
        next_offset: of the input, where an audit begins; also its key.
        first_segment: the oldest segment of seen pairs that it needs.
        written_ms: by the worker's clock.
    """

    next_offset: int
    first_segment: int
    written_ms: int


@dataclass(slots=True)
class RetainedSnapshots:
    """Those of a partition.

    Attributes:
        kept: the newest last.
        segments_from: segments before this one are gone from the topic.
    """

    kept: list[RetainedSnapshot] = field(default_factory=list)
    segments_from: int = 0

    def due(self, settings: LedgerSettings, now_ms: int) -> bool:
        """Whether the next snapshot should become one."""
        if not settings.retained_snapshots:
            return False
        return (
            not self.kept or now_ms - self.kept[-1].written_ms >= settings.retained_snapshot_hours * HOUR_MS
        )

    def add(self, snapshot: RetainedSnapshot) -> None:
        """Keep one more."""
        self.kept.append(snapshot)

    def drop(self, settings: LedgerSettings) -> list[RetainedSnapshot]:
        """Give up the oldest beyond the number that is kept."""
        many = max(0, len(self.kept) - settings.retained_snapshots)
        dropped, self.kept = self.kept[:many], self.kept[many:]
        return dropped

    def release_segments(self, first_segment: int) -> range:
        """Segments that nothing needs any more; another snapshot still needs those from `first_segment` on."""
        needed = min([first_segment, *(snapshot.first_segment for snapshot in self.kept)])
        released = range(self.segments_from, needed)
        self.segments_from = max(self.segments_from, needed)
        return released

    def encode(self) -> bytes:
        """As JSON, whose names are those of version 0.1.0."""
        kept = [
            {"next_offset": one.next_offset, "first_page": one.first_segment, "written_ms": one.written_ms}
            for one in self.kept
        ]
        return json.dumps({"kept": kept, "pages_from": self.segments_from}).encode()

    @classmethod
    def decode(cls, data: bytes) -> RetainedSnapshots:
        """From `encode`.

        Raises:
            IntegrityError: it is something else.
        """
        what = "the list of retained snapshots"
        values = read_json(what, data)
        check(what, values, {"pages_from": Number()})
        kept = values.get("kept")
        if not isinstance(kept, list) or not all(isinstance(one, dict) for one in kept):
            raise IntegrityError(f"{what} cannot be read: it is no list")
        for one in kept:
            check(what, one, _SNAPSHOT)
        return cls(
            [RetainedSnapshot(one["next_offset"], one["first_page"], one["written_ms"]) for one in kept],
            values["pages_from"],
        )
