"""An even sample of a stream of unknown length: the pairs whose positions have the smallest hashes.

With a half-life older pairs fade: of pairs so much older, half as many are held. That is a sample without replacement of
weights w = 2^(half-lives since the start), by the largest of the keys ln w - ln(-ln u), u uniform (Gumbel's trick; Efraimidis
and Spirakis 2006).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import PairBatch
from craft_stream.text.hashing import GOLDEN, finish


class Unread(Protocol):
    """Consecutive records of a stream, not read yet."""

    @property
    def start(self) -> int: ...  # noqa: D102  # position of the first record
    def __len__(self) -> int: ...  # records
    def batch_at(self, positions: NDArray[np.int64]) -> PairBatch: ...  # noqa: D102  # of some records, those that are pairs


class EvenSample:
    """Keeps `size` pairs, or fewer where the stream holds fewer; between so many and twice as many on the way.

    Args:
        size: pairs.
        half_life: pairs of the stream after which half as many are held; infinity: nothing fades.
    """

    def __init__(self, size: int, half_life: float = np.inf) -> None:
        self._size, self._half_life = size, half_life
        self._least = -np.inf
        self._seen = 0
        self._batches: list[PairBatch] = []
        self._keys: list[NDArray[np.float64]] = []
        self._held = 0
        self._ordered = False  # as one batch, in the order of keys: a version asks twice

    def read(self, run: Unread) -> None:
        """Add the next records of a stream, where nothing fades: read are only those that it takes."""
        positions = np.arange(run.start, run.start + len(run))
        wanted = positions[self._keys_of(positions) >= self._least]
        if len(wanted):
            self.add(run.batch_at(wanted))

    def add(self, batch: PairBatch, each: float = 1.0) -> None:
        """Add pairs, all of a stream in its order, or some that stand for so many `each`."""
        keys = self._keys_of(batch.positions) + np.log(each)
        rows = np.flatnonzero(keys >= self._least)
        self._seen += len(batch)
        if len(rows):
            self._batches.append(batch if len(rows) == len(batch) else batch.take(rows))
            self._keys.append(keys[rows])
            self._held += len(rows)
            self._ordered = False
        if self._held >= 2 * self._size:
            self._shrink()

    def batch(self) -> PairBatch:
        """The sample, in the order of its keys: every part of it is even too."""
        if not self._ordered:
            self._shrink()
        return self._batches[0]

    def _keys_of(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        keys = -np.log(-np.log(_uniform(positions)))
        if np.isfinite(self._half_life):
            keys += (self._seen + np.arange(len(positions))) * (np.log(2) / self._half_life)
        return keys

    def _shrink(self) -> None:
        together = PairBatch.concatenate(self._batches)
        keys = np.concatenate([np.zeros(0), *self._keys])
        order = np.argsort(-keys, kind="stable")[: self._size]
        self._batches, self._keys, self._held = [together.take(order)], [keys[order]], len(order)
        self._ordered = True
        if len(order) == self._size:
            self._least = float(keys[order[-1]])


def _uniform(positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Between 0 and 1, by a hash of the positions: a product alone takes every eighth of some strides."""
    h = finish((positions.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    return np.asarray(((h >> np.uint64(11)).astype(np.float64) + 0.5) / (1 << 53), np.float64)
