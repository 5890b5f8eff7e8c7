"""The newest pairs that were learned from: what a Model is calibrated on."""

from __future__ import annotations

from collections import deque

import numpy as np

from craft_stream.text.batch import PairBatch


class RecentPairs:
    """The newest `size` pairs of the stream that came by, as texts."""

    def __init__(self, size: int) -> None:
        self._pairs: deque[tuple[str, str]] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, batch: PairBatch) -> None:
        """Append a batch."""
        self._pairs.extend(zip(batch.source.texts(), batch.target.texts(), strict=True))

    def merge(self, other: RecentPairs) -> None:
        """Keep the newest of both, as many of each as there is room for."""
        size = self._pairs.maxlen or 0
        # The newest of either in turn, and what the shorter one leaves room for.
        places = [
            (place, side)
            for side, pairs in enumerate((self._pairs, other._pairs))
            for place in range(len(pairs))
        ]
        newest = sorted(places, key=lambda found: (found[0] - len((self, other)[found[1]]), found[1]))[-size:]
        merged = [(self, other)[side]._pairs[place] for place, side in newest]
        self._pairs = deque(merged, maxlen=size)

    def batch(self) -> PairBatch:
        """All of them, oldest first."""
        return PairBatch.pack(
            [source for source, _ in self._pairs], [target for _, target in self._pairs], np.arange(len(self))
        )
