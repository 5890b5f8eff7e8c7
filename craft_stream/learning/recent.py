"""The newest pairs that were learned from: what a Model is calibrated on."""

from __future__ import annotations

from collections import deque

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

    def batch(self) -> PairBatch:
        """All of them, oldest first."""
        together = PairBatch.concatenate(list(self._batches))
        return together.slice(len(together) - len(self), len(together))
