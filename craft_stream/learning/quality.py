"""Fitting P(clean), and what it makes of pairs of the stream: how much the learner believes them.

The fit is a logistic regression of reservoir pairs against corruptions of them, solved anew for each Model. It starts from
people's judgement: without evidence P(clean) is what the trees say (`scoring.trees`); the corruptions adapt it to the
language and the domain at hand.

Newton's method (iteratively reweighted least squares) with a ridge on the distance from there, of all weights but the
intercept; both classes weigh the same, so P(clean) = 1/2 is the point of no evidence. Solved from features as the frozen
lexicon and regressions give them, so the weights always fit the features that the selector will see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from craft_stream.learning.executor import Executor, both
from craft_stream.learning.logistic import solve_logistic
from craft_stream.scoring.quality import (
    FEATURES,
    TEXT_FEATURES,
    QualityClassifier,
    design,
    log_probability,
    without_embedding,
)
from craft_stream.scoring.translation import TranslationScorer
from craft_stream.text.tokenized import TokenizedPairs

# With less, P(clean) forgets what people say (AUC .85 on their pairs at 1,000, .81 at 100), with more, what the corruptions do.
_RIDGE = 1000.0
_JUDGEMENT = FEATURES.index("human_judgement")
# Log-odds that count as one deviation of it, around none: clipped at four of these, which nothing reaches.
_JUDGEMENT_DEVIATION = 2.0
# Features that hardly vary among clean pairs must not explode the others' scale.
_SMALLEST_DEVIATION = 0.05
# Pairs less likely clean than this teach nothing.
_SMALLEST_WEIGHT = 0.25
# Pairs of the stream that tell its share of clean ones: to .01.
_SHARE_PAIRS = 4096
_SHARE_ROUNDS = 50


def fit_classifier(clean: NDArray[np.float32], corrupted: NDArray[np.float32]) -> QualityClassifier:
    """Fit on features of clean pairs [n, F] and corrupted pairs [m, F], starting from what people's labels say among them."""
    mean = clean.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.maximum(clean.std(axis=0, dtype=np.float64), _SMALLEST_DEVIATION).astype(np.float32)
    # What people's labels say begins with the weight 1: human_judgement, and likeness behind all others where there is one.
    given = [_JUDGEMENT, *range(len(FEATURES), clean.shape[1])]
    mean[given], deviation[given] = 0, _JUDGEMENT_DEVIATION
    inputs = np.concatenate([design(clean, mean, deviation), design(corrupted, mean, deviation)])
    truth = np.r_[np.ones(len(clean)), np.zeros(len(corrupted))]
    sample = len(inputs) / 2
    importance = np.where(truth > 0, sample / max(len(clean), 1), sample / max(len(corrupted), 1))
    ridge, prior = np.full(inputs.shape[1], _RIDGE), np.zeros(inputs.shape[1])
    ridge[-1] = 1e-6
    prior[given] = _JUDGEMENT_DEVIATION
    weights = solve_logistic(inputs, truth, importance, ridge, prior)
    return QualityClassifier(mean, deviation, weights.astype(np.float32))


def clean_share(probability: NDArray[np.float64]) -> float:
    """Share of clean pairs in a stream, from P(clean) of a sample by a classifier that takes both classes for equally many.

    The fixed point of pi = mean(pi p / (pi p + (1 - pi)(1 - p))), by expectation maximisation (Saerens, Latinne and
    Decaestecker 2002); at 60 and 90 % noise it says .62 and .91. One half of no pairs.

    Args:
        probability: float64 [n].
    """
    share = 0.5
    for _ in range(_SHARE_ROUNDS if len(probability) else 0):
        clean, other = share * probability, (1 - share) * (1 - probability)
        share = float((clean / np.maximum(clean + other, 1e-12)).mean())
    return min(max(share, 1e-3), 1 - 1e-3)


@dataclass(frozen=True, slots=True)
class QualityModel:
    """What tells how likely a pair is a translation; it knows no domain.

    Attributes:
        scorer: of the features.
        classifier: of those.
    """

    scorer: TranslationScorer
    classifier: QualityClassifier

    def of_features(
        self, features: NDArray[np.float32], lift: float | NDArray[np.float64] = 0.0
    ) -> NDArray[np.float32]:
        """Log P(clean) of features [n, F], float32 [n]; `lift` is added to the log-odds."""
        return log_probability(features, self.classifier, lift)

    def in_stream(self, pairs: TokenizedPairs) -> QualityModel:
        """The same for a stream of which most is noise: its log-odds less by those of that share; for others as it is.

        With P(clean) of equally many of both, .21 of what was accepted at 90 % noise was noise, so .05. Where most is clean
        it would be laxer, and near misses are let through.

        Args:
            pairs: an even sample.
        """
        sample = pairs.slice(0, min(len(pairs), _SHARE_PAIRS))
        share = clean_share(np.exp(self._log_clean(sample).astype(np.float64)))
        weights = self.classifier.weights.copy()
        weights[-1] += min(np.log(share / (1 - share)), 0.0)
        return replace(self, classifier=replace(self.classifier, weights=weights))

    def sample_weights(self, pairs: TokenizedPairs, executor: Executor) -> NDArray[np.float32]:
        """P(clean) of every pair, 0 where it is too small to learn from, float32 [n]; an expensive encoder is not asked."""
        half = len(pairs) // 2
        parts = both(
            executor,
            partial(self._log_clean, pairs.slice(0, half)),
            partial(self._log_clean, pairs.slice(half, len(pairs))),
        )
        probability = np.exp(np.concatenate(parts))
        return np.where(probability > _SMALLEST_WEIGHT, probability, np.float32(0))

    def _log_clean(self, pairs: TokenizedPairs) -> NDArray[np.float32]:
        scorer, rows = self.scorer, np.arange(len(pairs))
        if scorer.translation.cascade:
            return without_embedding(scorer.text_features(pairs, rows), self.classifier)[:, 0]
        return self.of_features(self.features(pairs))

    def features(self, pairs: TokenizedPairs) -> NDArray[np.float32]:
        """Features of every pair, float32 [n, F]; an expensive encoder is not asked, what it would tell is at its mean."""
        scorer, rows = self.scorer, np.arange(len(pairs))
        if scorer.translation.cascade:
            unknown = np.tile(self.classifier.mean[TEXT_FEATURES:], (len(pairs), 1))
            return np.concatenate([scorer.text_features(pairs, rows), unknown], axis=1)
        return scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)))
