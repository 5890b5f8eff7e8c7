"""A Model at work: scores pairs. Knows no budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import (
    TEXT_FEATURES,
    contributions,
    feature_names,
    log_probability,
    without_embedding,
)
from craft_stream.scoring.translation import Embeddings, TranslationScorer
from craft_stream.text.keys import pair_keys
from craft_stream.text.tokenized import TokenizedPairs


@dataclass(frozen=True, slots=True)
class DomainScores:
    """A batch, scored as far as every pair is.

    Attributes:
        domain: float32 [n], standardised domain score z.
        ratio: float32 [n], raw score by the ratio alone.
        cluster: int16 [n], nearest centroid of the source side; `NO_CLUSTER` with an expensive encoder.
    """

    domain: NDArray[np.float32]
    ratio: NDArray[np.float32]
    cluster: NDArray[np.int16]


class Scorer(TranslationScorer):
    """Scores pairs with one Model.

    Attributes:
        model: as given.
        own_features: names of the features that the quality classifier weighs; signals come after them.

    Raises:
        IntegrityError: the Model was made with another encoder, or tells languages by what is not installed here.
        ConfigurationError: nothing is installed that tells languages, which the Model needs.
    """

    def __init__(self, model: Model, embedder: Embedder) -> None:
        if model.translation.encoder != embedder.digest:
            raise IntegrityError(
                f"model {model.version} was made with the encoder {model.translation.encoder}, this is "
                f"{embedder.digest}: set encoder.kind and its options as they were, or learn a new model"
            )
        dimensions, _ = model.translation.centroids.shape
        if (dimensions, model.translation.cascade) != (embedder.dimensions, embedder.expensive):
            raise IntegrityError(
                f"model {model.version} is damaged: it is not as its encoder is, of {embedder.dimensions} dimensions: "
                "learn a new model"
            )
        super().__init__(model.translation, embedder)
        self.model = model
        self.own_features = feature_names(model.translation)

    def score_domain(self, pairs: TokenizedPairs) -> DomainScores:
        """Score the domain, assign clusters: the part that every pair gets."""
        domain, ratio = self.model.domain.score(pairs.ngrams)
        return DomainScores(domain, ratio, self.clusters(pairs))

    def in_target(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs at `rows` the target holds, bool [rows]; of others one in 2^64 / keys."""
        known, keys = self.model.target_keys, pair_keys(pairs, rows)
        if not len(known):
            return np.zeros(len(rows), np.bool_)
        found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
        return found

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns of `features`: `own_features`, then the signals that the Model weighs."""
        return *self.own_features, *self.model.signals.names

    def text_features(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Those that need no embedding, the signals among them, float32 [rows, 33 + S]."""
        return self._with_signals(super().text_features(pairs, rows), pairs, rows)

    def features(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        embeddings: Embeddings,
        text: NDArray[np.float32] | None = None,
        corrections: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """As those of `TranslationScorer`, and the signals, float32 [rows, F + S]."""
        own = super().text_features(pairs, rows) if text is None else text[:, :TEXT_FEATURES]
        return self._with_signals(super().features(pairs, rows, embeddings, own, corrections), pairs, rows)

    def without_embedding(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean), expected and at most, of `text_features` alone, float32 [n, 2]; see `scoring.quality`."""
        own, evidence = self._apart(text, TEXT_FEATURES)
        return without_embedding(own, self.model.classifier, evidence)

    def quality(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean) of features [n, F + S], float32 [n]."""
        own, evidence = self._apart(features, len(self.own_features))
        return log_probability(own, self.model.classifier, evidence)

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each of `own_features` adds to the log-odds of P(clean), float32 [n, F]."""
        return contributions(self._apart(features, len(self.own_features))[0], self.model.classifier)

    def _with_signals(
        self, features: NDArray[np.float32], pairs: TokenizedPairs, rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        wanted, columns = self.model.signals.names, pairs.batch.columns
        if not wanted:
            return features
        if missing := [name for name in wanted if name not in columns.names]:
            raise IntegrityError(
                f"model {self.model.version} weighs the signals {', '.join(missing)}, which these pairs do not have: set "
                "record.signals and record.computed_signals (in Python: signals) as they were, or learn a new model"
            )
        return np.concatenate([features, columns.named(wanted)[rows]], axis=1)

    def _apart(
        self, features: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], float | NDArray[np.float64]]:
        """The classifier's features, and what the signals behind them add to the log-odds."""
        if not self.model.signals.names:
            return features, 0.0
        return features[:, :count], self.model.signals.evidence(features[:, count:])
