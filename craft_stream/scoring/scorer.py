"""A Model at work: scores pairs. Knows no budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import log_probability, without_embedding
from craft_stream.scoring.translation import TranslationScorer
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
        super().__init__(model.translation, embedder)
        self.model = model

    def score_domain(self, pairs: TokenizedPairs) -> DomainScores:
        """Score the domain, assign clusters: the part that every pair gets."""
        domain, ratio = self.model.domain.score(pairs.ngrams)
        return DomainScores(domain, ratio, self.clusters(pairs))

    def without_embedding(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean), expected and at most, of `text_features` alone, float32 [n, 2]; see `scoring.quality`."""
        return without_embedding(text, self.model.classifier)

    def quality(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log P(clean) of features [n, F], float32 [n]."""
        return log_probability(features, self.model.classifier)
