"""The domain score: how much likelier the pair's n-grams are under the target than under the stream.

s = n^-0.3 sum_f w_f over the n word n-grams f of both sides. The weights w come from counts (`learning.density`) and are
frozen in the Model, so that a score is one look-up and one addition for each n-gram (.14 us a pair against 2.1 from
live counts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.ngrams import NGrams

LENGTH_POWER = 0.3
# Shares of the target's own pairs above and below `DomainModel.tail`: what is above looks like the target.
TARGET_TAIL = 0.2
TAIL_QUANTILE = 1 - TARGET_TAIL


@dataclass(frozen=True, slots=True)
class DomainModel:
    """What tells the domain.

    Attributes:
        weights: float32 [2^NGRAM_BITS, 2], of the ratio alone and corrected for what has been selected.
        mean, deviation: of the corrected raw score over the stream.
        tail: score by the ratio above which a pair looks like the target.
        tail_share: pi, share of the stream above `tail`, in units of the target's own share above it, 1 - `TAIL_QUANTILE`.
    """

    weights: NDArray[np.float32]
    mean: float
    deviation: float
    tail: float
    tail_share: float

    def score(self, ngrams: NGrams) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Standardised corrected scores and raw scores by the ratio alone, float32 [pairs] each."""
        raw = domain_scores(ngrams, self.weights)
        return (raw[:, 1] - np.float32(self.mean)) / np.float32(self.deviation), raw[:, 0]


@numba.njit(cache=True, nogil=True)
def _domain_scores(
    indices: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for i in range(len(offsets) - 1):
        ratio = 0.0
        corrected = 0.0
        for k in range(offsets[i], offsets[i + 1]):
            f = np.int64(indices[k])
            ratio += weights[f, 0]
            corrected += weights[f, 1]
        scale = max(offsets[i + 1] - offsets[i], 1) ** -LENGTH_POWER
        out[i, 0] = np.float32(ratio * scale)
        out[i, 1] = np.float32(corrected * scale)


def domain_scores(ngrams: NGrams, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raw domain scores, float32 [pairs, 2]: by the ratio alone, and corrected for what has been selected.

    Args:
        ngrams: of the pairs.
        weights: float32 [2^NGRAM_BITS, 2], of the ratio alone and corrected.
    """
    out = np.zeros((len(ngrams), 2), np.float32)
    _domain_scores(ngrams.indices, ngrams.offsets, weights, out)
    return out
