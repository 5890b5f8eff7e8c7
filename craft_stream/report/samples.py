"""A few rows of each of many groups, out of a stream of any length."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush, heapreplace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def priorities(positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of rows by their positions, float64 [n] in [0, 1): hashes, so that the rows of the least are an even sample."""
    h = positions.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h ^= h >> np.uint64(33)
        h *= np.uint64(factor)
    h ^= h >> np.uint64(33)
    return (h >> np.uint64(11)).astype(np.float64) / 2.0**53


class Samples(Generic[T]):
    """Those of least priority of each group.

    Args:
        groups: numbers of groups, 0, 1, ...
        size: rows of a group that are kept.
    """

    def __init__(self, groups: int, size: int) -> None:
        self._size = size
        self._most = np.full(groups, np.inf)  # what a row must be below
        self._kept: dict[int, list[tuple[float, int, T]]] = {}

    def offer(
        self,
        group: NDArray[np.int64],
        priority: NDArray[np.float64],
        positions: NDArray[np.int64],
        make: Callable[[int], T],
    ) -> None:
        """Offer rows.

        Args:
            group: int64 [n]; -1: of none.
            priority: float64 [n].
            positions: int64 [n], which tell equal ones apart.
            make: what is to be kept of a row; asked for those alone that are.
        """
        rows = np.flatnonzero((group >= 0) & (priority < self._most[group]))
        rows = rows[np.lexsort((priority[rows], group[rows]))]
        first = np.searchsorted(group[rows], group[rows], side="left")
        for row in rows[np.arange(len(rows)) - first < self._size].tolist():
            kept = self._kept.setdefault(int(group[row]), [])
            item = (-float(priority[row]), -int(positions[row]))
            if len(kept) < self._size:
                heappush(kept, (*item, make(row)))
            elif item > kept[0][:2]:
                heapreplace(kept, (*item, make(row)))
            if len(kept) == self._size:
                self._most[group[row]] = -kept[0][0]

    def of(self, group: int) -> list[T]:
        """What is kept of a group, by priority."""
        return [item for *_, item in sorted(self._kept.get(group, ()), key=lambda kept: (-kept[0], -kept[1]))]
