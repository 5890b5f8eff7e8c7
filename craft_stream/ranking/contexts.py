"""What the page and the host of a pair tell: the mean domain score of the other pairs that stand there.

A text alone often cannot tell its domain ("Remove this bookmark"): of finance's misses in the order of a crawl 36 of 60
held no word of finance, their pages were full of them. With x the scores clipped to [-1.5, 6] and m their mean, a pair of a
context of n is told

    sum over the others of (x - m) / (n - 1 + k),   k = max(4, within / between)

the best linear guess of the context's mean from the others, by the variances within and between contexts of a one-way
analysis of variance. Where contexts tell nothing, such as the neighbours of a shuffled stream, `between` is 0 and so is this.

Where a record names no URL, its neighbours stand for its page (the aligned 16 records it is among) and its host (1,024).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.contexts import HOST_RECORDS, PAGE_RECORDS, SHRINKAGE, clipped
from craft_stream.text.contexts import Contexts
from craft_stream.text.hashing import mix

# Contexts are told apart by their hash among so many places: of 400,000 pages one in ten shares its place with another, whose
# pairs then count for it too.
PLACES = 1 << 22


def places_of(
    contexts: Contexts, positions: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Places of page and host, uint32 [n] each; where a record does not say, its neighbours are its context.

    Args:
        contexts: of pairs.
        positions: int64 [n], of the pairs in the stream.
    """
    return (
        _places(contexts.page, positions, PAGE_RECORDS),
        _places(contexts.host, positions, HOST_RECORDS),
    )


def _places(hashes: NDArray[np.uint64], positions: NDArray[np.int64], records: int) -> NDArray[np.uint32]:
    out = np.empty(len(hashes), np.uint32)
    _fill_places(hashes, positions, records, out)
    return out


@numba.njit(cache=True, nogil=True)
def _fill_places(
    hashes: NDArray[np.uint64], positions: NDArray[np.int64], records: int, out: NDArray[np.uint32]
) -> None:
    for i in range(len(hashes)):
        own = hashes[i] if hashes[i] else np.uint64(positions[i] // records + 1)
        out[i] = mix(own) & np.uint64(PLACES - 1)


class ContextMeans:
    """Sums of scores by context: 50 MB, however many there are."""

    def __init__(self) -> None:
        self._sums = np.zeros(PLACES, np.float64)
        self._counts = np.zeros(PLACES, np.uint32)
        self._squares = 0.0
        self._mean, self._shrinkage = 0.0, np.inf

    def add(self, places: NDArray[np.uint32], scores: NDArray[np.float32]) -> None:
        """Add pairs, in the order of the stream.

        Args:
            places: uint32 [n], of `places_of`.
            scores: float32 [n].
        """
        self._squares += _add(places, scores, self._sums, self._counts)

    def seal(self) -> None:
        """All pairs were added: the variances follow."""
        held = self._counts > 0
        sums, counts = self._sums[held], self._counts[held].astype(np.float64)
        pairs, contexts = counts.sum(), len(counts)
        if not contexts < pairs or contexts < 2:
            return
        self._mean = float(sums.sum() / pairs)
        explained = float((sums**2 / counts).sum())
        within = (self._squares - explained) / (pairs - contexts)
        between = (explained - pairs * self._mean**2) / (contexts - 1) - within
        between /= (pairs - (counts**2).sum() / pairs) / (contexts - 1)
        self._shrinkage = max(within / between, SHRINKAGE) if between > 0 else np.inf

    def others(self, places: NDArray[np.uint32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the other pairs of its context tell of each pair, float32 [n]; all were added, and it was sealed."""
        out = np.zeros(len(places), np.float32)
        if np.isfinite(self._shrinkage):
            _others(places, scores, self._sums, self._counts, self._mean, self._shrinkage, out)
        return out


@numba.njit(cache=True, nogil=True)
def _add(
    places: NDArray[np.uint32],
    scores: NDArray[np.float32],
    sums: NDArray[np.float64],
    counts: NDArray[np.uint32],
) -> float:
    squares = 0.0
    for i in range(len(places)):
        x = clipped(scores[i])
        sums[np.int64(places[i])] += x
        counts[np.int64(places[i])] += 1
        squares += x * x
    return squares


@numba.njit(cache=True, nogil=True)
def _others(
    places: NDArray[np.uint32],
    scores: NDArray[np.float32],
    sums: NDArray[np.float64],
    counts: NDArray[np.uint32],
    mean: float,
    shrinkage: float,
    out: NDArray[np.float32],
) -> None:
    for i in range(len(places)):
        at, others = np.int64(places[i]), np.float64(counts[places[i]]) - 1
        out[i] = (sums[at] - clipped(scores[i]) - others * mean) / (others + shrinkage)
