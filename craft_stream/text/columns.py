"""Named numbers that come with pairs: what others have said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Columns:
    """Numbers for each of a batch of pairs.

    Attributes:
        names: of the columns.
        values: float32 [pairs, columns]; NaN where nothing is known.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    @classmethod
    def none(cls, pairs: int) -> Columns:
        """No columns, of so many pairs."""
        return cls((), np.zeros((pairs, 0), np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """The columns of batches, one after the other; what one does not have is NaN there."""
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        return cls(
            names, np.concatenate([np.zeros((0, len(names)), np.float32), *(p.named(names) for p in parts)])
        )

    def named(self, names: Sequence[str]) -> NDArray[np.float32]:
        """The columns of these names, in this order, float32 [pairs, names]; NaN where there is none of a name."""
        if tuple(names) == self.names:
            return self.values
        found = np.full((len(self.values), len(names)), np.nan, np.float32)
        for place, name in enumerate(names):
            if name in self.names:
                found[:, place] = self.values[:, self.names.index(name)]
        return found

    def unknown(self) -> dict[str, int]:
        """By name, of how many pairs it is not known."""
        return dict(zip(self.names, np.isnan(self.values).sum(axis=0).tolist(), strict=True))

    def slice(self, start: int, stop: int) -> Columns:
        """Of pairs [start, stop)."""
        return Columns(self.names, self.values[start:stop])

    def take(self, indices: NDArray[np.int64]) -> Columns:
        """Of the pairs at `indices`, in that order, copied."""
        return Columns(self.names, self.values[indices])
