"""Counts of byte 4-grams on each side of the stream, from pairs that look clean."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.surface import Characters
from craft_stream.text.batch import PairBatch
from craft_stream.text.ngrams import CHARACTER_BITS, CHARACTER_BYTES, character_ngram


@numba.njit(cache=True, nogil=True)
def _count(
    buffer: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float32],
    counts: NDArray[np.float32],
) -> None:
    for i in range(len(weights)):
        if weights[i] <= 0:
            continue
        start = offsets[i]
        for p in range(start, min(offsets[i + 1] - 3, start + CHARACTER_BYTES)):
            counts[np.int64(character_ngram(buffer, p))] += np.float32(1)


class CharacterCounts:
    """Counts of 4-grams.

    Attributes:
        source, target: float32 [2^CHARACTER_BITS].
    """

    def __init__(self) -> None:
        self.source = np.zeros(1 << CHARACTER_BITS, np.float32)
        self.target = np.zeros(1 << CHARACTER_BITS, np.float32)

    def add(self, batch: PairBatch, weights: NDArray[np.float32]) -> None:
        """Count the pairs whose weight is above 0."""
        _count(batch.source.buffer, batch.source.offsets, weights, self.source)
        _count(batch.target.buffer, batch.target.offsets, weights, self.target)

    def freeze(self) -> Characters:
        """As log-probabilities."""
        return Characters.from_counts(self.source, self.target)
