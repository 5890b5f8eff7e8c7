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

    def batch(self) -> PairBatch:
        """All of them, oldest first."""
        return PairBatch.pack(
            [source for source, _ in self._pairs], [target for _, target in self._pairs], np.arange(len(self))
        )
