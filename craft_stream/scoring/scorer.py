"""A Model at work: scores pairs. Knows no budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.scoring.domain import domain_scores
from craft_stream.scoring.embedding import NO_CLUSTER, Embedder, nearest
from craft_stream.scoring.model import Model
from craft_stream.scoring.prediction import agreement, correct, predict, prediction_features
from craft_stream.scoring.quality import log_probability, text_features, without_embedding
from craft_stream.text.languages import LIMIT, named_identifier
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


class Embeddings(NamedTuple):
    """Of chosen pairs.

    Attributes:
        source, target: float32 [rows, D], unit vectors.
        cluster: int16 [rows], nearest centroid of the source side.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    cluster: NDArray[np.int16]


class Scorer:
    """Scores pairs with one Model.

    Raises:
        IntegrityError: the Model was made with another encoder, or tells languages by what is not installed here.
        ConfigurationError: nothing is installed that tells languages, which the Model needs.
    """

    def __init__(self, model: Model, embedder: Embedder) -> None:
        if model.encoder != embedder.digest:
            raise IntegrityError(
                f"model {model.version} was made with the encoder {model.encoder}, this is {embedder.digest}: "
                "set encoder.kind and its options as they were, or learn a new model"
            )
        self.model = model
        self._embedder = embedder
        self._identifier = named_identifier(model.identifier)

    def score_domain(self, pairs: TokenizedPairs) -> DomainScores:
        """Score the domain, assign clusters: the part that every pair gets."""
        model = self.model
        raw = domain_scores(pairs.ngrams, model.domain_weights)
        domain = (raw[:, 1] - np.float32(model.mean)) / np.float32(model.deviation)
        return DomainScores(domain, raw[:, 0], self.clusters(pairs))

    def clusters(self, pairs: TokenizedPairs) -> NDArray[np.int16]:
        """Nearest centroid of every source side, int16 [n]; `NO_CLUSTER` with an expensive encoder."""
        model = self.model
        if model.cascade:
            return np.full(len(pairs), NO_CLUSTER, np.int16)
        return self._embedder.nearest(pairs.batch.source, pairs.source, model.source_weights, model.centroids)

    def foreign(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs at `rows` have a side in another language than the Model says, bool [rows]."""
        if self._identifier is None:
            return np.zeros(len(rows), np.bool_)
        source, target = self.model.languages.split("-")
        batch = pairs.batch
        found = self._identifier.strangeness(batch.target, rows, target) > LIMIT
        rest = np.flatnonzero(~found)
        found[rest] = self._identifier.strangeness(batch.source, rows[rest], source) > LIMIT
        return found

    def text_features(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features that need no embedding, float32 [rows, 24]."""
        lexicon, characters = self.model.lexicon, self.model.characters
        return text_features(pairs.batch, pairs.source, pairs.target, rows, lexicon, characters)

    def without_embedding(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean), expected and at most, of `text_features` alone, float32 [n, 2]; see `scoring.quality`."""
        return without_embedding(text, self.model.head)

    def embed(
        self, pairs: TokenizedPairs, rows: NDArray[np.int64], clusters: NDArray[np.int16]
    ) -> Embeddings:
        """Embed the pairs at `rows`.

        Args:
            pairs: a batch.
            rows: int64, which of them.
            clusters: int16 [n], of the whole batch as `clusters` gives them.
        """
        model, batch = self.model, pairs.batch
        x = self._embedder.embed(batch.source, pairs.source, rows, model.source_weights)
        y = self._embedder.embed(batch.target, pairs.target, rows, model.target_weights, "target")
        return Embeddings(x, y, nearest(x, model.centroids) if model.cascade else clusters[rows])

    def features(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        embeddings: Embeddings,
        text: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Every feature of P(clean) for the pairs at `rows`, float32 [rows, F]; see `scoring.quality.FEATURES`.

        Args:
            pairs: a batch.
            rows: int64, which of them.
            embeddings: of these.
            text: their `text_features`, if they are known.
        """
        model, (x, y, cluster) = self.model, embeddings
        forward = predict(pairs.source, rows, model.forward)
        corrections = correct(x, cluster, model.correction)
        backward = predict(pairs.target, rows, model.backward)
        variances = model.correction.variances[cluster]
        if text is None:
            text = self.text_features(pairs, rows)
        return np.concatenate(
            [text, prediction_features(y, forward, corrections, x, backward, variances)], axis=1
        )

    def quality(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean) of features [n, F], float32 [n]."""
        return log_probability(features, self.model.head)

    def distance(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """CRAFT's criterion, the squared residual of its clustered regression, negated; float32 [rows]."""
        x, y, cluster = embeddings
        return -agreement(y, correct(x, cluster, self.model.conditional))[1]
