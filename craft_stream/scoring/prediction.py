"""The clustered regression: predict the embedding of the target side from the source side, and see how far off it is.

yhat(x, c) = sum of rows of M over the source's stems + Theta_c' [1, x - xbar_c]: a wide sparse regression learned on the
stream, and a correction for cluster c fitted to the target reservoir's residuals (`learning.correction`). With squared
distance, CRAFT's conditional expected distance is |y - E[Y | x, c]|^2 plus a constant, so the residual |y - yhat|^2 is its
criterion. M's rows are frozen as int8 with a scale each: a quarter of the memory, and .001 of the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.tokens import Tokens

ROW_BITS = 16
FEATURES = ("cosine", "residual", "back_cosine", "cluster_residual", "cluster_cosine", "cluster_ratio")


@numba.njit(cache=True, nogil=True)
def _largest(bits: NDArray[np.uint32], steps: NDArray[np.float32], largest: NDArray[np.uint32]) -> None:
    # Bits without the sign are ordered as the absolute values are, and their maximum takes a third of the time.
    for r in range(len(bits)):
        if steps[r] == 0:
            continue
        most = np.uint32(0)
        for d in range(bits.shape[1]):
            most = max(most, bits[r, d] & np.uint32(0x7FFFFFFF))
        largest[r] = most


@numba.njit(cache=True, nogil=True)
def _round(weights: NDArray[np.float32], scales: NDArray[np.float32], rows: NDArray[np.int8]) -> None:
    for r in range(len(weights)):
        scale = scales[r]
        if scale == 0:
            continue
        for d in range(weights.shape[1]):
            rows[r, d] = np.int8(np.rint(weights[r, d] / scale))


@dataclass(frozen=True, slots=True)
class WideRegression:
    """Rows of a wide sparse regression from hashed stems to an embedding.

    Attributes:
        rows: int8 [2^ROW_BITS, D].
        scales: float32 [2^ROW_BITS]; row r is rows[r] * scales[r].
    """

    rows: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def freeze(cls, weights: NDArray[np.float32], steps: NDArray[np.float32]) -> WideRegression:
        """Round float32 weights [2^ROW_BITS, D] to int8, each row to its own scale; a row of no steps is zero."""
        # Rows that nothing was learned of are not looked at: of 3,000 pairs that are most of 33 MB.
        rows, largest = np.zeros(weights.shape, np.int8), np.zeros(len(weights), np.uint32)
        _largest(weights.view(np.uint32), steps, largest)
        scales = largest.view(np.float32) / np.float32(127)
        _round(weights, scales, rows)
        return cls(rows, scales)


@dataclass(frozen=True, slots=True)
class Correction:
    """The reservoir's correction of the wide regression, per cluster.

    Attributes:
        weights: float32 [K, 1 + D, D], Theta_c.
        means: float32 [K, D], mean source embedding xbar_c.
        variances: float32 [K], shrunken mean squared leave-one-out residual.
    """

    weights: NDArray[np.float32]
    means: NDArray[np.float32]
    variances: NDArray[np.float32]


@numba.njit(cache=True, nogil=True)
def _predict(
    stems: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.int8],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    shift = np.uint64(64 - ROW_BITS)
    for n in range(len(rows)):
        prediction = out[n]
        for t in range(offsets[rows[n]], offsets[rows[n] + 1]):
            r = np.int64(stems[t] >> shift)
            scale = scales[r]
            row = weights[r]
            for d in range(len(prediction)):
                prediction[d] += scale * np.float32(row[d])


def predict(tokens: Tokens, rows: NDArray[np.int64], regression: WideRegression) -> NDArray[np.float32]:
    """Predicted embeddings of the other side for texts `rows`, float32 [rows, D]."""
    out = np.zeros((len(rows), regression.rows.shape[1]), np.float32)
    _predict(tokens.stems, tokens.offsets, rows, regression.rows, regression.scales, out)
    return out


@numba.njit(cache=True, nogil=True)
def _correct(
    x: NDArray[np.float32],
    clusters: NDArray[np.int16],
    weights: NDArray[np.float32],
    means: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    dimensions = x.shape[1]
    for n in range(len(x)):
        c = np.int64(clusters[n])
        theta = weights[c]
        correction = out[n]
        for d in range(dimensions):
            correction[d] = theta[0, d]
        for j in range(dimensions):
            z = x[n, j] - means[c, j]
            row = theta[j + 1]
            for d in range(dimensions):
                correction[d] += z * row[d]


def correct(
    x: NDArray[np.float32], clusters: NDArray[np.int16], correction: Correction
) -> NDArray[np.float32]:
    """The correction of each prediction, float32 [n, D], from source embeddings x [n, D] and their clusters [n]."""
    out = np.empty_like(x)
    _correct(x, clusters, correction.weights, correction.means, out)
    return out


@numba.njit(cache=True, nogil=True)
def _agreement(
    y: NDArray[np.float32],
    prediction: NDArray[np.float32],
    cosine: NDArray[np.float32],
    squared: NDArray[np.float32],
) -> None:
    for n in range(len(y)):
        pp = 0.0
        py = 0.0
        yy = 0.0
        for d in range(y.shape[1]):
            p = np.float64(prediction[n, d])
            v = np.float64(y[n, d])
            pp += p * p
            py += p * v
            yy += v * v
        cosine[n] = np.float32(py / np.sqrt(pp * yy + 1e-9))
        squared[n] = np.float32(max(yy - 2 * py + pp, 0.0))


def agreement(
    y: NDArray[np.float32], prediction: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine and squared distance of each row of y [n, D] and of its prediction [n, D], float32 [n] each."""
    cosine, squared = np.empty(len(y), np.float32), np.empty(len(y), np.float32)
    _agreement(y, prediction, cosine, squared)
    return cosine, squared


def prediction_features(
    y: NDArray[np.float32],
    forward: NDArray[np.float32],
    corrections: NDArray[np.float32],
    x: NDArray[np.float32],
    backward: NDArray[np.float32],
    variances: NDArray[np.float32],
) -> NDArray[np.float32]:
    """`FEATURES`, float32 [n, 6].

    Args:
        y, x: embeddings of the target and source sides, [n, D].
        forward, backward: their predictions from the other side by the wide regressions, [n, D].
        corrections: of the forward prediction, [n, D].
        variances: of each pair's cluster, [n].
    """
    out = np.empty((len(y), len(FEATURES)), np.float32)
    out[:, 0], squared = agreement(y, forward)
    out[:, 1] = -squared
    out[:, 2], _ = agreement(x, backward)
    out[:, 4], squared = agreement(y, forward + corrections)
    out[:, 3] = np.log(squared.astype(np.float64) + 1e-3)
    out[:, 5] = np.log(squared.astype(np.float64) / variances + 1e-3)
    return out
