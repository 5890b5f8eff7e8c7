"""What the stream, the target and what was accepted teach of the domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from craft_stream.learning.density import NGramCounts
from craft_stream.learning.discriminant import learn_discriminant
from craft_stream.parameters import LearningParameters
from craft_stream.scoring.domain import TAIL_QUANTILE, DomainModel, domain_scores
from craft_stream.text.batch import Side
from craft_stream.text.ngrams import NGrams

# Target pairs that the discriminant has its full weight from: with 500 it takes more than it gives.
_FULL_DISCRIMINANT = 2000
# Steps that domain weights are rounded to.
_WEIGHT_STEPS = np.float32(512)


class DomainLearner:
    """Counts n-grams, and makes a DomainModel of them.

    Args:
        learning: its parameters.

    Attributes:
        counts: of n-grams, of both sides until `tell_from` says otherwise.
    """

    def __init__(self, learning: LearningParameters) -> None:
        self._learning = learning
        self._discriminant: NDArray[np.float32] | None = None  # as it is added to the weights
        self.counts = NGramCounts()

    def tell_from(self, side: Side | None, stream: NGrams, each: float) -> None:
        """Tell the domain from one side, from both by None, where it was told otherwise; what was counted is counted anew.

        Args:
            side: which.
            stream: n-grams of an even sample of what was counted of the stream.
            each: pairs that one of these stands for.
        """
        self.counts = NGramCounts(side)
        self.counts.add_stream(stream, each)

    def model(self, target: NGrams, taught: NGrams, recent: NGrams) -> DomainModel:
        """What tells the domain.

        Args:
            target: n-grams of the target's pairs, in the order in which documents stay together.
            taught: of recent pairs that teach the discriminant.
            recent: of recent pairs that it is not taught, as what it was taught scores too low: they say how the stream scores.
        """
        self.counts.set_target(target)
        weights = self._weights(target, taught, recent)
        raw = domain_scores(recent, weights)
        longer = len(recent.indices) / max(len(recent.of_side(self.counts.side).indices), 1)
        tail = float(np.quantile(self.counts.block_scores(target, longer or 1.0), TAIL_QUANTILE))
        above = ((raw[:, 0] >= tail).sum() + 0.5) / (len(raw) + 1.0)
        return DomainModel(
            weights=weights,
            mean=float(raw[:, 1].mean()) if len(raw) else 0.0,
            deviation=float(max(raw[:, 1].std(), 1e-3)) if len(raw) else 1.0,
            tail=tail,
            tail_share=float(above / (1 - TAIL_QUANTILE)),
        )

    def corrected(self, domain: DomainModel) -> DomainModel:
        """The same with its weights corrected for what was counted as selected since, on the same scale.

        Args:
            domain: what `model` made last, or this; of the stream nothing was counted since.
        """
        # Of a small target and budget these are 1 % of all, and 1.5 ms for 6.
        changed = self.counts.correctable
        corrected = self.counts.weights(self._learning.balance, changed)
        if self._discriminant is not None:
            corrected[:, 1] += self._discriminant[changed]
        weights = domain.weights.copy()
        weights[changed] = _rounded(corrected)
        return replace(domain, weights=weights)

    def _weights(self, target: NGrams, taught: NGrams, recent: NGrams) -> NDArray[np.float32]:
        learning = self._learning
        weights = self.counts.weights(learning.balance)
        self._discriminant = None
        if learning.discriminant and len(taught):
            discriminant = learn_discriminant(target, taught.of_side(self.counts.side), learning.seed)
            spread = domain_scores(recent, np.stack([weights[:, 0], discriminant], axis=1)).std(0)
            strength = learning.discriminant * min(1, len(target) / _FULL_DISCRIMINANT)
            self._discriminant = strength * spread[0] / max(spread[1], 1e-6) * discriminant
            weights[:, 1] += self._discriminant
        return _rounded(weights)


def _rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same array: weights between -2 and 9. Unrounded, a Model is 26 MB to publish after three million pairs, and grows."""
    # In place: three arrays of 8 MB more took three times as long.
    weights *= _WEIGHT_STEPS
    np.rint(weights, out=weights)
    weights /= _WEIGHT_STEPS
    return weights
