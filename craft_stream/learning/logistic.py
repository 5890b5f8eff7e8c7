"""Logistic regression by Newton's method (iteratively reweighted least squares), with a ridge and halved steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = 12
_SMALLEST_STEP = 1e-4


def solve_logistic(
    inputs: NDArray[np.float64],
    truth: NDArray[np.float64],
    importance: NDArray[np.float64],
    ridge: NDArray[np.float64],
    prior: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Weights, float64 [F], that maximise the likelihood of `truth` less ridge (w - prior)^2 / 2.

    Args:
        inputs: [n, F].
        truth: [n], probability of the class, 0 to 1.
        importance: [n], of each row.
        ridge: [F].
        prior: [F], the weights that the ridge draws to; a number: of each.
    """
    weights = np.zeros(inputs.shape[1]) + prior

    def loss(at: NDArray[np.float64]) -> float:
        odds = inputs @ at
        return float(importance @ (np.logaddexp(0, odds) - truth * odds) + ridge @ (at - prior) ** 2 / 2)

    before = loss(weights)
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        curvature = importance * (probability * (1 - probability) + 1e-6)
        gradient = inputs.T @ (importance * (truth - probability)) - ridge * (weights - prior)
        step = np.linalg.solve((inputs * curvature[:, None]).T @ inputs + np.diag(ridge), gradient)
        # Where the classes are apart the curvature vanishes, and a whole step would go beyond all bounds.
        while (after := loss(weights + step)) > before and np.abs(step).max() > _SMALLEST_STEP:
            step /= 2
        weights += step
        if np.abs(step).max() < _SMALLEST_STEP:
            break
        before = after
    return weights
