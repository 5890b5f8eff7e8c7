"""P(clean): the probability that a pair is a translation, from features of the pair.

log P = -log(1 + exp(-w . [q, q^2 / 4, 1])) with q the features standardised by the clean pairs' mean and deviation and
clipped to [-4, 4]; the squares let a feature be wrong at both ends, as lengths are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring import prediction
from craft_stream.scoring.translation import JUDGED_FEATURES, TranslationModel

# `human_judgement`: log-odds that people would call the pair a translation, from the features before it (`scoring.trees`).
FEATURES = (*JUDGED_FEATURES, "human_judgement", *prediction.FEATURES)
# What comes after these where the encoder has one space for both languages (`scoring.likeness`).
LIKENESS = "likeness"
# Of those, how many need no embedding: they come first.
TEXT_FEATURES = len(JUDGED_FEATURES) + 1
_LIMIT = 4.0


@dataclass(frozen=True, slots=True)
class QualityClassifier:
    """The logistic regression on features.

    Attributes:
        mean, deviation: float32 [F], of the clean pairs' features.
        weights: float32 [2 F + 1].
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    weights: NDArray[np.float32]


def feature_names(translation: TranslationModel) -> tuple[str, ...]:
    """Of the features that pairs have with a model, in their order."""
    return FEATURES if translation.likeness is None else (*FEATURES, LIKENESS)


def design(
    features: NDArray[np.float32], mean: NDArray[np.float32], deviation: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The regression's inputs [q, q^2 / 4, 1], float64 [n, 2 F + 1]."""
    q = np.clip((features.astype(np.float64) - mean) / deviation, -_LIMIT, _LIMIT)
    return np.concatenate([q, q * q * 0.25, np.ones((len(q), 1))], axis=1)


@numba.njit(cache=True, nogil=True)
def _log_probability(
    features: NDArray[np.float32],
    mean: NDArray[np.float32],
    deviation: NDArray[np.float32],
    weights: NDArray[np.float32],
    lift: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    count = features.shape[1]
    for n in range(len(features)):
        z = np.float64(weights[2 * count]) + lift[n]
        for j in range(count):
            q = (np.float64(features[n, j]) - mean[j]) / deviation[j]
            q = min(max(q, -_LIMIT), _LIMIT)
            z += weights[j] * q + weights[count + j] * q * q * 0.25
        out[n] = np.float32(-np.log1p(np.exp(-z)) if z > -30 else z)


def log_probability(
    features: NDArray[np.float32], classifier: QualityClassifier, lift: float | NDArray[np.float64] = 0.0
) -> NDArray[np.float32]:
    """Log P(clean), float32 [n], at most 0; `lift` is added to the log-odds, of all or [n]."""
    out = np.empty(len(features), np.float32)
    lifts = np.full(len(features), lift) if isinstance(lift, float) else lift
    _log_probability(features, classifier.mean, classifier.deviation, classifier.weights, lifts, out)
    return out


def contributions(features: NDArray[np.float32], classifier: QualityClassifier) -> NDArray[np.float32]:
    """What each feature adds to the log-odds, float32 [n, F]: w q + v q^2 / 4, 0 for the average clean pair."""
    count = len(classifier.mean)
    inputs = design(features, classifier.mean, classifier.deviation)[:, : 2 * count] * classifier.weights[:-1]
    return np.asarray(inputs[:, :count] + inputs[:, count:], np.float32)


def without_embedding(
    text: NDArray[np.float32], classifier: QualityClassifier, lift: float | NDArray[np.float64] = 0.0
) -> NDArray[np.float32]:
    """Log P(clean) of pairs whose embeddings are not known, float32 [n, 2]: expected, and the greatest possible.

    Args:
        text: `TranslationScorer.text_features`, float32 [n, 33].
        classifier: of all features.
        lift: added to the log-odds.

    Expected: the features of prediction count as those of the average clean pair. Greatest: a feature adds
    w q + v q^2 / 4 with q in [-4, 4], and every feature of prediction takes the q that adds most; so no embedding can make
    the pair likelier.
    """
    known, count = text.shape[1], len(classifier.mean)
    most = _largest_gain(classifier.weights[known:count], classifier.weights[count + known : 2 * count])
    expected = np.concatenate(
        [text, np.broadcast_to(classifier.mean[known:], (len(text), count - known))], axis=1, dtype=np.float32
    )
    out = np.empty((len(text), 2), np.float32)
    out[:, 0] = log_probability(expected, classifier, lift)
    # A little above, so that rounding cannot make a bound less than what it bounds.
    out[:, 1] = log_probability(expected, classifier, most + 1e-3 + lift)
    return out


def _largest_gain(slopes: NDArray[np.float32], curvatures: NDArray[np.float32]) -> float:
    """The sum over features of the largest w q + v q^2 / 4, q in [-4, 4]."""
    w, v = slopes.astype(np.float64), curvatures.astype(np.float64)
    ends = np.abs(w) * _LIMIT + v * _LIMIT**2 / 4
    # A maximum inside needs a falling square: q = -2 w / v, where it is w q / 2.
    peak = np.where(v < 0, -2 * w / np.where(v < 0, v, 1), np.inf)
    inside = np.where(np.abs(peak) <= _LIMIT, w * np.where(np.isfinite(peak), peak, 0) / 2, -np.inf)
    return float(np.maximum(ends, inside).sum())
