"""What a worker did lately: pairs, throughput, and what each version decided. Bounded, and not locked: its owner is."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from craft_stream.reading.chunk import Chunk
from craft_stream.report.pairs import Example
from craft_stream.report.rows import Rows
from craft_stream.selection.decisions import Decisions, Reason

# Pairs of either outcome that are kept. Where so many came since the page was drawn last (every 2 s), the next wait: on a fast
# stream making them costs 0.2 % of the time then, and on a slow one none is left out.
PAIRS: Final = 12
_TURN_SECONDS: Final = 2.0
# The line of the throughput, and over how much of it "now" is.
SPAN_SECONDS: Final = 300
NOW_SECONDS: Final = 10
_VERSIONS: Final = 8  # that are compared


class Recent:
    """The last pairs, a count a second, and decisions by the versions that made them."""

    def __init__(self) -> None:
        self._pairs: dict[bool, deque[tuple[float, Example]]] = {
            accepted: deque(maxlen=PAIRS) for accepted in (True, False)
        }
        self._seconds: deque[tuple[int, int]] = deque(maxlen=SPAN_SECONDS)
        self._versions: dict[tuple[int, int], NDArray[np.int64]] = {}

    def decided(self, decisions: Decisions, now: float) -> None:
        """Count decisions."""
        if not len(decisions):
            return
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = second, self._seconds[-1][1] + len(decisions)
        else:
            self._seconds.append((second, len(decisions)))
        models, settings = decisions.model_version, decisions.settings_version
        changed = np.flatnonzero((models[1:] != models[:-1]) | (settings[1:] != settings[:-1])) + 1
        for start, stop in pairwise([0, *changed.tolist(), len(decisions)]):
            version = int(models[start]), int(settings[start])
            counts = self._versions.pop(version, np.zeros(len(Reason), np.int64))
            self._versions[version] = counts + np.bincount(
                decisions.reason[start:stop], minlength=len(Reason)
            )
        while len(self._versions) > _VERSIONS:
            del self._versions[next(iter(self._versions))]

    def pairs(self, chunk: Chunk, decisions: Decisions, now: float) -> None:
        """Keep the newest accepted pairs, and the newest rejected ones of each reason."""
        rows: Rows | None = None
        for accepted, kept in self._pairs.items():
            if len(kept) == PAIRS and now - kept[0][0] < _TURN_SECONDS:
                continue
            own = np.flatnonzero(decisions.accepted == accepted)[::-1]
            if not accepted:
                own = own[np.unique(decisions.reason[own], return_index=True)[1]]
            for row in sorted(own[:PAIRS].tolist()):
                rows = rows or Rows.of(chunk, decisions)
                kept.append((now, Example.of(rows, row, chunk.fields)))

    def last(self, accepted: bool) -> list[Example]:
        """Pairs, the newest first."""
        return [example for _, example in reversed(self._pairs[accepted])]

    def throughput(self, now: float) -> NDArray[np.float64]:
        """Pairs decided in each of the last whole seconds, float64 [SPAN_SECONDS]."""
        counts, first = np.zeros(SPAN_SECONDS), int(now) - SPAN_SECONDS
        for second, count in self._seconds:
            if first <= second < first + SPAN_SECONDS:
                counts[second - first] = count
        return counts

    def versions(self) -> list[dict[str, Any]]:
        """What each version of model and settings decided, the one used last first, beside the one used before it."""
        found: list[dict[str, Any]] = []
        before: NDArray[np.float64] | None = None
        for (model, settings), counts in self._versions.items():
            shares = counts / counts.sum()
            moved = [] if before is None else np.argsort(-np.abs(shares - before), kind="stable")[:3].tolist()
            found.append(
                {
                    "model": model,
                    "settings": settings,
                    "pairs": int(counts.sum()),
                    "accepted": float(shares[Reason.ACCEPTED]),
                    "moved": [
                        {"reason": Reason(at).label, "from": float(before[at]), "to": float(shares[at])}
                        for at in moved
                        if before is not None and shares[at] != before[at]
                    ],
                }
            )
            before = shares
        return found[::-1]
