"""Learning what signals say, without any label: from pairs that everything else is sure of.

A signal that comes with a record is known neither of the target's pairs nor of corruptions, so the quality classifier cannot
be shown it. It is shown the stream instead: pairs that the classifier, which has not seen the signal, holds for clean or not.
Each counts for either class by its probability p and 1 - p, both classes weigh alike, and a logistic regression of the class on
[1, q, q^2 / 4] of the signals that are known (see `scoring.signals`) is then an estimate of log p(s | clean) / p(s | other).
Two views of a pair that err apart teach one another so (co-training: Blum and Mitchell 1998).

A signal that tells the classes apart no better than chance would is left at zero: twice the gain in log-likelihood must pass
`_GAIN`, which chance does once in ten thousand versions (chi squared, two degrees of freedom).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.learning.logistic import solve_logistic
from craft_stream.scoring.signals import LIMIT, SignalModel
from craft_stream.text.columns import Columns

_RIDGE = 1.0
_GAIN = 18.4
# Pairs of either class that a signal must be known of.
_LEAST_PAIRS = 50.0


def fit_signals(
    signals: Columns, probability: NDArray[np.float32], weight: NDArray[np.float32]
) -> SignalModel:
    """Weigh signals by what the classifier holds for clean.

    Args:
        signals: of pairs of the stream.
        probability: float32 [n], P(clean) without them.
        weight: float32 [n], the pairs that each stands for.
    """
    values, count = signals.values.astype(np.float64), len(signals.names)
    mean, deviation = np.zeros(count, np.float32), np.ones(count, np.float32)
    weights = np.zeros((count, 3), np.float32)
    known = ~np.isnan(values)
    for j in range(count):
        rows = known[:, j]
        if rows.any():
            mean[j] = np.average(values[rows, j], weights=weight[rows])
            deviation[j] = np.sqrt(np.average((values[rows, j] - mean[j]) ** 2, weights=weight[rows])) or 1
    q = np.clip((np.where(known, values, mean) - mean) / deviation, -LIMIT, LIMIT)
    inputs = np.stack([known, known * q, known * q * q * 0.25], axis=2)
    telling = [j for j in range(count) if _fit(inputs[:, [j]], probability, weight)[1] > _GAIN]
    if telling:
        weights[telling] = _fit(inputs[:, telling], probability, weight)[0]
    return SignalModel(signals.names, mean, deviation, weights)


def _fit(
    inputs: NDArray[np.float64], probability: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """Weights of signals by their inputs [n, S, 3], [S, 3]; and twice the gain in log-likelihood over none."""
    rows = np.flatnonzero(inputs[:, :, 0].any(axis=1))
    count = inputs.shape[1]
    inputs = inputs[rows].reshape(len(rows), 3 * count)
    own, clean = weight[rows].astype(np.float64), probability[rows].astype(np.float64)
    masses = np.array([own @ (1 - clean), own @ clean])
    # Pairs that stand for many others count once: so many independent ones would say as much.
    size = own.sum() ** 2 / max(own @ own, 1e-9)
    if not len(rows) or (masses * size / own.sum()).min() < _LEAST_PAIRS:
        return np.zeros((count, 3)), 0.0
    shares = np.stack([own * (1 - clean), own * clean]) * (size / 2 / masses)[:, None]
    importance = shares.sum(axis=0)
    ridge = np.tile([1e-6, _RIDGE, _RIDGE], count)
    found = solve_logistic(inputs, shares[1] / np.maximum(importance, 1e-12), importance, ridge)
    odds = inputs @ found
    likelihood = -shares[0] @ np.logaddexp(0, odds) - shares[1] @ np.logaddexp(0, -odds)
    return found.reshape(-1, 3), float(2 * (likelihood + size * np.log(2)))
