"""Anchors: whole ledgers of long ago, from which an audit can begin where the log no longer reaches the group's start.

The two newest whole ledgers are overwritten every few minutes, and the log's retention deletes what came before them:
without anchors nothing could be recomputed after a week. An anchor is a whole ledger under a key of its own that is
kept for `ledger.anchors` others, and with it the pages of seen pairs that it needs. A worker knows of its anchors from
one small record, written beside every whole ledger.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from craft_stream.errors import IntegrityError
from craft_stream.settings import LedgerSettings


@dataclass(frozen=True, slots=True)
class RetainedSnapshot:
    """One of them.

    Attributes:
        next_offset: of the input, where an audit begins; also its key.
        first_page: the oldest page of seen pairs that it needs.
        written_ms: by the worker's clock.
    """

    next_offset: int
    first_page: int
    written_ms: int


@dataclass(slots=True)
class RetainedSnapshots:
    """Those of a partition.

    Attributes:
        kept: the newest last.
        pages_from: pages before this one are gone from the topic.
    """

    kept: list[RetainedSnapshot] = field(default_factory=list)
    pages_from: int = 0

    def due(self, policy: LedgerSettings, now_ms: int) -> bool:
        """Whether the next whole ledger should become one."""
        if not policy.anchors:
            return False
        return not self.kept or now_ms - self.kept[-1].written_ms >= policy.anchor_hours * 3_600_000

    def add(self, anchor: RetainedSnapshot) -> None:
        """Keep one more."""
        self.kept.append(anchor)

    def drop(self, policy: LedgerSettings) -> list[RetainedSnapshot]:
        """Give up the oldest beyond the number that is kept."""
        many = max(0, len(self.kept) - policy.anchors)
        dropped, self.kept = self.kept[:many], self.kept[many:]
        return dropped

    def release_pages(self, first_page: int) -> range:
        """Pages that nothing needs any more; a whole ledger still needs those from `first_page` on."""
        needed = min([first_page, *(anchor.first_page for anchor in self.kept)])
        released = range(self.pages_from, needed)
        self.pages_from = max(self.pages_from, needed)
        return released

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {"kept": [asdict(anchor) for anchor in self.kept], "pages_from": self.pages_from}
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> RetainedSnapshots:
        """From `encode`.

        Raises:
            IntegrityError: it is something else.
        """
        try:
            values = json.loads(data)
            return cls([RetainedSnapshot(**anchor) for anchor in values["kept"]], int(values["pages_from"]))
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"the list of anchors cannot be read: {error}") from error
