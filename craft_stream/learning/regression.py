"""The wide sparse regression, learned online: from the stems of one side to the embedding of the other.

yhat = sum of rows M_r over the side's stems r. One step of normalised least mean squares (Widrow and Hoff 1960; Nagumo and
Noda 1967) on each pair: M_r += eta w (y - yhat) s_r / max(sum s, eta sum n s), s_r = 1/sqrt(steps of r + 1), so that a row
learns fast while it is young and a frequent stem does not drown a rare one; w is the pair's P(clean), n how often r stands in
the text. The maximum keeps a step from leading beyond y: of a text that repeats one stem ten times it would, further each time.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.prediction import ROW_BITS
from craft_stream.text.tokens import Tokens

_STEP = 0.2


@numba.njit(cache=True, nogil=True, fastmath=True)
def _learn(
    stems: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    y: NDArray[np.float32],
    weights: NDArray[np.float32],
    rows: NDArray[np.float32],
    steps: NDArray[np.float32],
    often: NDArray[np.int32],
    limit: int,
) -> None:
    shift = np.uint64(64 - ROW_BITS)
    dimensions = rows.shape[1]
    prediction = np.empty(dimensions, np.float32)
    for k in range(len(weights)):
        if weights[k] <= 0:
            continue
        a = offsets[k]
        b = min(offsets[k + 1], a + limit)
        prediction[:] = 0
        total = 0.0
        for t in range(a, b):
            r = np.int64(stems[t] >> shift)
            often[r] += 1
            total += 1.0 / np.sqrt(steps[r] + 1.0)
            for d in range(dimensions):
                prediction[d] += rows[r, d]
        repeated = 0.0
        for t in range(a, b):
            r = np.int64(stems[t] >> shift)
            repeated += often[r] / np.sqrt(steps[r] + 1.0)
        total = max(total, _STEP * repeated)
        for d in range(dimensions):
            prediction[d] = y[k, d] - prediction[d]
        for t in range(a, b):
            r = np.int64(stems[t] >> shift)
            step = np.float32(weights[k] * _STEP / (np.sqrt(steps[r] + 1.0) * total))
            steps[r] += 1
            often[r] = 0
            for d in range(dimensions):
                rows[r, d] += step * prediction[d]


class OnlineRegression:
    """Rows that learn.

    Attributes:
        rows: float32 [2^ROW_BITS, D].
        steps: float32 [2^ROW_BITS], updates of each row.
    """

    # A longer text says no more about its embedding, and each of its stems moves less.
    TOKENS = 200

    def __init__(self, dimensions: int) -> None:
        self.rows = np.zeros((1 << ROW_BITS, dimensions), np.float32)
        self.steps = np.zeros(1 << ROW_BITS, np.float32)

    def learn(self, tokens: Tokens, y: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """One step on each text: y float32 [texts, D], embedding of its other side; weights float32 [texts]."""
        often = np.zeros(len(self.steps), np.int32)
        _learn(tokens.stems, tokens.offsets, y, weights, self.rows, self.steps, often, self.TOKENS)
