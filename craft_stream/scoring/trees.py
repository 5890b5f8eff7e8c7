"""Boosted trees: a sum of small decision trees, as plain arrays that a kernel walks.

Those that ship with the package hold what people have judged: log-odds that a pair is a translation, learned offline
(`bench.human_judgement`) from crawled pairs of many languages that people have labelled, and from noise that was made. Every
tree has the same depth, its nodes numbered as in a heap: the children of node k are 2 k + 1 and 2 k + 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numba
import numpy as np
from numpy.typing import NDArray

# Rows that go down a tree together: none waits for another's comparison.
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """T trees of depth d.

    Attributes:
        features: int16 [T, 2^d - 1], the feature that each inner node looks at.
        thresholds: float32 [T, 2^d - 1]; a value above goes to the second child, any other, NaN too, to the first.
        leaves: float32 [T, 2^d], what each leaf adds.
    """

    features: NDArray[np.int16]
    thresholds: NDArray[np.float32]
    leaves: NDArray[np.float32]

    def score(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum of one leaf of every tree, float32 [n], of features [n, F]."""
        out = np.empty(len(values), np.float32)
        _score(values, self.features, self.thresholds, self.leaves, out)
        return out


@numba.njit(cache=True, nogil=True)
def _score(
    values: NDArray[np.float32],
    features: NDArray[np.int16],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    inner, depth = features.shape[1], 0
    while 1 << depth <= inner:
        depth += 1
    node, total = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.float64)
    for start in range(0, len(values), _TOGETHER):
        rows = min(_TOGETHER, len(values) - start)
        total[:] = 0
        for t in range(len(features)):
            node[:] = 0
            for _ in range(depth):
                for r in range(rows):
                    k = node[r]
                    node[r] = 2 * k + 1 + (values[start + r, features[t, k]] > thresholds[t, k])
            for r in range(rows):
                total[r] += leaves[t, node[r] - inner]
        for r in range(rows):
            out[start + r] = np.float32(total[r])


def human_judgement() -> BoostedTrees:
    """The trees that ship with the package, of `scoring.translation.JUDGED_FEATURES`."""
    return _shipped("human_judgement.npz")


def human_judgement_of_likeness() -> BoostedTrees:
    """Those of the same features and the likeness of both sides (`scoring.likeness`)."""
    return _shipped("human_judgement_of_likeness.npz")


@lru_cache(2)
def _shipped(name: str) -> BoostedTrees:
    with files(__package__).joinpath(name).open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return BoostedTrees(arrays["features"], arrays["thresholds"], arrays["leaves"])
