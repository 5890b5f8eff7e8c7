"""Where pairs come from: their pages and hosts, as hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Contexts(NamedTuple):
    """Page and host of pairs.

    Attributes:
        page, host: uint64 [n], hashes; equal for pairs of one page, of one host; 0 where the record does not say.
    """

    page: NDArray[np.uint64]
    host: NDArray[np.uint64]

    @classmethod
    def unknown(cls, pairs: int) -> Contexts:
        """Of pairs whose records say nothing of them."""
        return cls(np.zeros(pairs, np.uint64), np.zeros(pairs, np.uint64))

    @classmethod
    def concatenate(cls, parts: Sequence[Contexts]) -> Contexts:
        """Of batches, one after the other."""
        return cls(*(np.concatenate(level) for level in zip(*parts, strict=True)))

    def slice(self, start: int, stop: int) -> Contexts:
        """Of pairs [start, stop)."""
        return Contexts(self.page[start:stop], self.host[start:stop])

    def take(self, indices: NDArray[np.int64]) -> Contexts:
        """Of the pairs at `indices`, in that order, copied."""
        return Contexts(self.page[indices], self.host[indices])
