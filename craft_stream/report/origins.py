"""Where pairs come from: hosts and pages, as far as records name them, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from craft_stream.selection.decisions import Reason

# Names that are remembered; of more, those with the fewest pairs are forgotten.
_MOST = 1 << 16
# What makes a pair no good translation.
FAULTS = frozenset(
    {Reason.MISALIGNED, Reason.COPY, Reason.UNFAMILIAR_TEXT, Reason.GARBLED, Reason.OTHER_LANGUAGE}
)


@dataclass(slots=True)
class Origin:
    """A host or page.

    Attributes:
        read: pairs, estimated where not all were looked at.
        accepted, faulty: of these.
    """

    read: float = 0.0
    accepted: float = 0.0
    faulty: float = 0.0


class Origins:
    """Hosts, or pages, with their pairs."""

    def __init__(self) -> None:
        self._known: dict[str, Origin] = {}

    def add(self, name: str, reason: int, weight: float) -> None:
        """Add pairs, `weight` of them, that this one stands for."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= 2 * _MOST:
                kept = sorted(self._known.items(), key=lambda item: -item[1].accepted - item[1].read)[:_MOST]
                self._known = dict(kept)
            found = self._known[name] = Origin()
        found.read += weight
        found.accepted += weight * (reason == Reason.ACCEPTED)
        found.faulty += weight * (reason in FAULTS)

    def __len__(self) -> int:
        return len(self._known)

    def best(self, count: int) -> list[tuple[str, Origin]]:
        """Those that gave most."""
        return self._first((item for item in self._known.items() if item[1].accepted), "accepted", count)

    def worst(self, count: int) -> list[tuple[str, Origin]]:
        """Those with most pairs that are no good translations."""
        return self._first((item for item in self._known.items() if item[1].faulty), "faulty", count)

    @staticmethod
    def _first(items: Iterable[tuple[str, Origin]], by: str, count: int) -> list[tuple[str, Origin]]:
        return sorted(items, key=lambda item: (-getattr(item[1], by), item[0]))[:count]
