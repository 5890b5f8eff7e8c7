"""A Model at work: scores pairs. Knows no budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.model import Model
from craft_stream.scoring.domain import domain_scores
from craft_stream.scoring.embedding import NO_CLUSTER, Embedder, nearest
from craft_stream.scoring.prediction import agreement, correct, predict, prediction_features
from craft_stream.scoring.quality import log_probability, text_features, without_embedding
from craft_stream.text.batch import PairBatch
from craft_stream.text.languages import LIMIT, named_identifier
from craft_stream.text.ngrams import NGrams, word_ngrams
from craft_stream.text.tokens import Tokens, tokenize


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch, tokenised and scored as far as every pair is.

    Attributes:
        batch: the pairs.
        source, target: their tokens.
        ngrams: their word n-grams.
        domain: float32 [n], standardised domain score z.
        ratio: float32 [n], raw score by the ratio alone.
        cluster: int16 [n], nearest centroid of the source side; with an expensive encoder `NO_CLUSTER` until the pair has
            been embedded.
    """

    batch: PairBatch
    source: Tokens
    target: Tokens
    ngrams: NGrams
    domain: NDArray[np.float32]
    ratio: NDArray[np.float32]
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

    def read(self, batch: PairBatch) -> Reading:
        """Tokenise, score the domain, assign clusters: the part that every pair gets."""
        model = self.model
        source, target = tokenize(batch.source), tokenize(batch.target)
        ngrams = word_ngrams(source, target)
        raw = domain_scores(ngrams, model.domain_weights)
        domain = (raw[:, 1] - np.float32(model.mean)) / np.float32(model.deviation)
        if model.cascade:
            cluster = np.full(len(batch), NO_CLUSTER, np.int16)
        else:
            cluster = self._embedder.nearest(batch.source, source, model.source_weights, model.centroids)
        return Reading(batch, source, target, ngrams, domain, raw[:, 0], cluster)

    def foreign(self, reading: Reading, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs at `rows` have a side in another language than the Model says, bool [rows]."""
        if self._identifier is None:
            return np.zeros(len(rows), np.bool_)
        source, target = self.model.languages.split("-")
        batch = reading.batch
        found = self._identifier.strangeness(batch.target, rows, target) > LIMIT
        rest = np.flatnonzero(~found)
        found[rest] = self._identifier.strangeness(batch.source, rows[rest], source) > LIMIT
        return found

    def text_features(self, reading: Reading, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features that need no embedding, float32 [rows, 24]."""
        batch, model = reading.batch, self.model
        return text_features(batch, reading.source, reading.target, rows, model.lexicon, model.characters)

    def without_embedding(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean), expected and at most, of `text_features` alone, float32 [n, 2]; see `scoring.quality`."""
        return without_embedding(text, self.model.head)

    def features(
        self, reading: Reading, rows: NDArray[np.int64], text: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Every feature of P(clean) for the pairs at `rows`, float32 [rows, F]; see `scoring.quality.FEATURES`.

        Args:
            reading: of the pairs; they are given their clusters.
            rows: int64, which of them.
            text: their `text_features`, if they are known.
        """
        model = self.model
        x, y = self._embed(reading, rows)
        forward = predict(reading.source, rows, model.forward)
        corrections = correct(x, reading.cluster[rows], model.correction)
        backward = predict(reading.target, rows, model.backward)
        variances = model.correction.variances[reading.cluster[rows]]
        if text is None:
            text = self.text_features(reading, rows)
        return np.concatenate(
            [text, prediction_features(y, forward, corrections, x, backward, variances)], axis=1
        )

    def quality(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean) of features [n, F], float32 [n]."""
        return log_probability(features, self.model.head)

    def distance(self, reading: Reading, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """CRAFT's criterion, the squared residual of its clustered regression, negated; float32 [rows]."""
        x, y = self._embed(reading, rows)
        return -agreement(y, correct(x, reading.cluster[rows], self.model.conditional))[1]

    def _embed(
        self, reading: Reading, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Source and target embeddings, float32 [rows, D] each; pairs without a cluster are given theirs."""
        model, batch = self.model, reading.batch
        x = self._embedder.embed(batch.source, reading.source, rows, model.source_weights)
        y = self._embedder.embed(batch.target, reading.target, rows, model.target_weights, "target")
        if model.cascade:
            reading.cluster[rows] = nearest(x, model.centroids)
        return x, y
