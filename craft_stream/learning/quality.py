"""Fitting P(clean): a logistic regression of reservoir pairs against corruptions of them, solved anew for each Model.

Newton's method (iteratively reweighted least squares) with a ridge of 1 on all weights but the intercept; both classes
weigh the same, so P(clean) = 1/2 is the point of no evidence. Solved from features as the frozen lexicon and regressions
give them, so the weights always fit the features that the selector will see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.quality import QualityClassifier, design

_RIDGE = 1.0
_STEPS = 12
# Features that hardly vary among clean pairs must not explode the others' scale.
_SMALLEST_DEVIATION = 0.05


def fit_classifier(clean: NDArray[np.float32], corrupted: NDArray[np.float32]) -> QualityClassifier:
    """Fit on features of clean pairs [n, F] and corrupted pairs [m, F]."""
    mean = clean.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.maximum(clean.std(axis=0, dtype=np.float64), _SMALLEST_DEVIATION).astype(np.float32)
    inputs = np.concatenate([design(clean, mean, deviation), design(corrupted, mean, deviation)])
    truth = np.r_[np.ones(len(clean)), np.zeros(len(corrupted))]
    sample = len(inputs) / 2
    importance = np.where(truth > 0, sample / max(len(clean), 1), sample / max(len(corrupted), 1))
    ridge = np.full(inputs.shape[1], _RIDGE)
    ridge[-1] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        curvature = importance * (probability * (1 - probability) + 1e-6)
        gradient = inputs.T @ (importance * (truth - probability)) - ridge * weights
        step = np.linalg.solve((inputs * curvature[:, None]).T @ inputs + np.diag(ridge), gradient)
        weights += step
        if np.abs(step).max() < 1e-4:
            break
    return QualityClassifier(mean, deviation, weights.astype(np.float32))
