"""The best candidates, taken in portions, with the domain score corrected between them.

Taken at once a small selection is too much of one kind: 664 pairs of medicine had 8.92 bits a token on unseen medicine,
8.60 in eight portions, each ranked by a domain score that knows what was taken before (`learning.density`, the correction).

In each portion, when so many pairs as A have been taken in all, cluster c has got between (1 - lambda) p_c A and
p_c A / (1 - lambda) of them, p_c its share of the target: first the best of the clusters that are behind, then the best of all
that are not ahead. Before one is taken it must be new: no duplicate or near duplicate of one that was.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import SelectionParameters
from craft_stream.ranking.candidates import Candidates
from craft_stream.selection.decisions import Reason
from craft_stream.selection.generation import Query
from craft_stream.selection.seen import SeenPairs

PORTIONS = 8
# Pairs that are remembered for duplicates at most: 297 bytes each.
_MOST_REMEMBERED = 1 << 22

# Called with rows that were taken (none: as it is by now); the domain scores of all candidates from there on, float32 [n].
Correct = Callable[[NDArray[np.int64]], NDArray[np.float32]]


class Portions:
    """Takes candidates.

    Args:
        selection: parameters that the method knows.
        shares: float64 [K], of the target in each cluster.
        budget: pairs.

    Attributes:
        reasons: uint8 [n], `Reason` of each candidate: accepted, a duplicate, over budget so far.
        scores: float32 [n], by which each was taken, or would be now.
        lowest: score of the last pair that was taken.
    """

    def __init__(self, selection: SelectionParameters, shares: NDArray[np.float64], budget: int) -> None:
        self._selection, self._shares, self._budget = selection, shares, budget
        remembered = min(max(selection.seen_pairs, budget), max(selection.seen_pairs, _MOST_REMEMBERED))
        self._seen = SeenPairs(remembered)
        self._by_cluster = np.zeros(len(shares))
        self._taken = 0
        self.reasons = np.zeros(0, np.uint8)
        self.scores = np.zeros(0, np.float32)
        self.lowest = np.inf

    @property
    def missing(self) -> int:
        """Pairs of the budget that are not taken yet."""
        return self._budget - self._taken

    def take(self, candidates: Candidates, correct: Correct | None) -> None:
        """Take what the budget has left, of the candidates and of those that were added since the last time.

        Args:
            candidates: sealed.
            correct: None: the domain score is not corrected, and all is one portion.
        """
        known = len(self.reasons)
        self._extend(candidates)
        if correct is not None and known:
            self._rescore(candidates, correct(np.zeros(0, np.int64)))
        portions = PORTIONS if correct is not None else 1
        for portion in range(portions):
            goal = self._budget * (portion + 1) // portions
            if goal <= self._taken:
                continue
            rows = self._take(candidates, goal, *self._bounds(goal))
            if correct is not None and portion < portions - 1 and len(rows):
                self._rescore(candidates, correct(rows))

    def fill(self, candidates: Candidates) -> None:
        """Take what the budget has left, whatever its cluster, of all candidates, those that were added since among them."""
        self._extend(candidates)
        clusters = len(self._shares)
        self._take(candidates, self._budget, np.zeros(clusters), np.full(clusters, np.inf))

    def _extend(self, candidates: Candidates) -> None:
        new = len(candidates) - len(self.reasons)
        self.reasons = np.concatenate([self.reasons, np.full(new, Reason.OVER_BUDGET, np.uint8)])
        self.scores = np.concatenate([self.scores, candidates.scores[len(self.scores) :]])

    def _rescore(self, candidates: Candidates, domain: NDArray[np.float32]) -> None:
        weight, open_ = np.float32(self._selection.domain_weight), self.reasons == Reason.OVER_BUDGET
        self.scores[open_] = (candidates.scores + weight * (domain - candidates.domain))[open_]

    def _take(
        self, candidates: Candidates, goal: int, lower: NDArray[np.float64], upper: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Take up to `goal` pairs in all, within bounds of clusters; the rows that were taken now."""
        order = np.flatnonzero(self.reasons == Reason.OVER_BUDGET)
        order = order[np.argsort(-self.scores[order], kind="stable")]
        cluster = candidates.cluster[order]
        open_ = np.ones(len(order), np.bool_)
        taken: list[NDArray[np.int64]] = []
        while self._taken < goal:
            picked = np.empty(goal - self._taken, np.int64)
            count = _pick(cluster, open_, self._by_cluster.copy(), lower, upper, picked)
            if not count:
                break
            places = picked[:count]
            rows = order[places]
            found = self._seen.admit_words(
                candidates.words(rows),
                Query(
                    np.arange(count),
                    np.full(count, count),
                    self._selection.duplicates,
                    self._selection.near_duplicate,
                    True,
                ),
            )
            open_[places], self.reasons[rows] = False, found
            accepted = rows[found == Reason.ACCEPTED]
            self._by_cluster += np.bincount(candidates.cluster[accepted], minlength=len(self._shares))
            self._taken += len(accepted)
            self.lowest = min([self.lowest, *self.scores[accepted].tolist()])
            taken.append(accepted)
        return np.concatenate(taken) if taken else np.zeros(0, np.int64)

    def _bounds(self, goal: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pairs that each cluster should have by then, and those that it may have."""
        firm = 1 - self._selection.relaxation
        if not firm:
            return np.zeros(len(self._shares)), np.full(len(self._shares), np.inf)
        return np.ceil(firm * self._shares * goal), np.ceil(self._shares * goal / firm)


@numba.njit(cache=True, nogil=True)
def _pick(
    cluster: NDArray[np.int16],
    open_: NDArray[np.bool_],
    held: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    out: NDArray[np.int64],
) -> int:
    """Places of the first that are open, of clusters behind `lower`, then of those not ahead of `upper`; how many."""
    count = 0
    chosen = np.zeros(len(open_), np.bool_)
    for bound in (lower, upper):
        for i in range(len(cluster)):
            if count == len(out):
                return count
            if open_[i] and not chosen[i] and held[cluster[i]] < bound[cluster[i]]:
                chosen[i] = True
                held[cluster[i]] += 1
                out[count] = i
                count += 1
    return count
