"""The newest pairs that were learned from: what a Model is calibrated on."""

from __future__ import annotations

from collections import deque

import numpy as np

from craft_stream.text.batch import PairBatch


class RecentPairs:
    """The newest `size` pairs of the stream that came by, as they came."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._batches: deque[PairBatch] = deque()
        self._held = 0

    def __len__(self) -> int:
        return min(self._held, self._size)

    def add(self, batch: PairBatch) -> None:
        """Append a batch."""
        self._batches.append(batch)
        self._held += len(batch)
        while self._held - len(self._batches[0]) >= self._size:
            self._held -= len(self._batches.popleft())

    def merge(self, other: RecentPairs) -> None:
        """Keep the newest of both, as many of each as there is room for."""
        pairs = [self.batch(), other.batch()]
        # The newest of either in turn, and what the shorter one leaves room for.
        ages = np.concatenate([np.arange(len(batch), 0, -1) for batch in pairs])
        sides = np.repeat([0, 1], [len(batch) for batch in pairs])
        newest = np.lexsort((-sides, ages))[: self._size][::-1]
        self._batches = deque([PairBatch.concatenate(pairs).take(newest)])
        self._held = len(newest)

    def batch(self) -> PairBatch:
        """All of them, oldest first, at positions 0, 1, 2, ..."""
        together = PairBatch.concatenate(list(self._batches))
        return together.slice(len(together) - len(self), len(together))
