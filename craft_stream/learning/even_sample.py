"""An even sample of a stream of unknown length: the records whose positions have the smallest hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import PairBatch
from craft_stream.text.hashing import GOLDEN


class EvenSample:
    """Keeps the pairs of `size` records, or fewer where the stream holds fewer; between so many and twice as many on the way.

    Args:
        size: records.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._bound = np.uint64(0xFFFFFFFFFFFFFFFF)
        self._batches: list[PairBatch] = []
        self._held = 0

    def wanted(self, start: int, stop: int) -> NDArray[np.int64]:
        """Positions from `start` to `stop` whose records are to be added, ascending, int64."""
        positions = np.arange(start, stop)
        return positions[_hashes(positions) <= self._bound]

    def add(self, batch: PairBatch) -> None:
        """Add the pairs of wanted records."""
        self._batches.append(batch)
        self._held += len(batch)
        if self._held >= 2 * self._size:
            self._shrink()

    def batch(self) -> PairBatch:
        """The sample, in the order of hashes: every part of it is even too."""
        self._shrink()
        return self._batches[0]

    def _shrink(self) -> None:
        together = PairBatch.concatenate(self._batches)
        hashes = _hashes(together.positions)
        order = np.argsort(hashes, kind="stable")[: self._size]
        self._batches, self._held = [together.take(order)], len(order)
        if len(order) == self._size:
            self._bound = hashes[order[-1]]


def _hashes(positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """SplitMix64's finisher over the positions: a product alone takes every eighth of some strides."""
    h = (positions.astype(np.uint64) + np.uint64(1)) * GOLDEN
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ (h >> np.uint64(31)), np.uint64)
