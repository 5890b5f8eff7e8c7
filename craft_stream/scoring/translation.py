"""What a Model knows of translations, and the features of a pair that follow from it.

The quality classifier is trained on the very features that the selector decides by: both come from `TranslationScorer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring import alignment, lexicon, surface
from craft_stream.scoring.alignment import word_features
from craft_stream.scoring.embedding import NO_CLUSTER, Embedder, nearest
from craft_stream.scoring.lexicon import Lexicon
from craft_stream.scoring.likeness import Likeness
from craft_stream.scoring.parts import in_parts, long_rows, weakest
from craft_stream.scoring.prediction import (
    Correction,
    WideRegression,
    agreement,
    correct,
    predict,
    prediction_features,
)
from craft_stream.scoring.surface import Characters, surface_features
from craft_stream.scoring.trees import BoostedTrees
from craft_stream.text.languages import named_identifier
from craft_stream.text.tokenized import TokenizedPairs

# What the trees look at: features that need no embedding, and so are the same with every encoder.
JUDGED_FEATURES = (*lexicon.FEATURES, *surface.FEATURES, *alignment.FEATURES)


@dataclass(frozen=True, slots=True)
class TranslationModel:
    """What tells whether two texts are translations of one another, but for the classifier.

    Attributes:
        encoder: digest of the encoder.
        cascade: the encoder is expensive: the gate looks at the domain score alone, and only what passes is embedded.
        identifier: what tells languages, with its version; empty: nothing does.
        languages: of source and target, as in "en-fr"; what is neither is rejected.
        source_weights, target_weights: float32 [2^STEM_BITS], stem weights of the hashing encoder.
        centroids: float32 [D, K], unit columns.
        shares: float64 [K], of the target in each cluster.
        lexicon, characters, forward, backward, correction: see their classes.
        conditional: the paper's clustered regression, E[Y | x, c] by the reservoir alone.
        judgement: what people have judged, of `JUDGED_FEATURES`.
        likeness: of a pair's sides; None: the encoder has no space for both languages.
    """

    encoder: str
    cascade: bool
    identifier: str
    languages: str
    source_weights: NDArray[np.float32]
    target_weights: NDArray[np.float32]
    centroids: NDArray[np.float32]
    shares: NDArray[np.float64]
    lexicon: Lexicon
    characters: Characters
    forward: WideRegression
    backward: WideRegression
    correction: Correction
    conditional: Correction
    judgement: BoostedTrees
    likeness: Likeness | None = None


class Embeddings(NamedTuple):
    """Of chosen pairs.

    Attributes:
        source, target: float32 [rows, D], unit vectors.
        cluster: int16 [rows], nearest centroid of the source side.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    cluster: NDArray[np.int16]


class TranslationScorer:
    """Computes what a TranslationModel says of pairs.

    Args:
        translation: the model.
        embedder: the encoder that it was made with.

    Raises:
        IntegrityError: the model tells languages by what is not installed here.
        ConfigurationError: nothing is installed that tells languages, which the model needs.
    """

    def __init__(self, translation: TranslationModel, embedder: Embedder) -> None:
        self.translation = translation
        self._embedder = embedder
        self._identifier = named_identifier(translation.identifier)

    def clusters(self, pairs: TokenizedPairs) -> NDArray[np.int16]:
        """Nearest centroid of every source side, int16 [n]; `NO_CLUSTER` with an expensive encoder."""
        model = self.translation
        if model.cascade:
            return np.full(len(pairs), NO_CLUSTER, np.int16)
        return self._embedder.nearest(pairs.batch.source, pairs.source, model.source_weights, model.centroids)

    def foreign(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs at `rows` have a side in another language than the Model says, bool [rows]."""
        if self._identifier is None:
            return np.zeros(len(rows), np.bool_)
        source, target = self.translation.languages.split("-")
        batch, limit = pairs.batch, self._identifier.limit
        found = self._identifier.strangeness(batch.target, rows, target) > limit
        rest = np.flatnonzero(~found)
        found[rest] = self._identifier.strangeness(batch.source, rows[rest], source) > limit
        return found

    def text_features(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features that need no embedding, `human_judgement` the last, float32 [rows, 33].

        Those of a long pair are means of its weakest parts (`scoring.parts`).
        """
        judged = self.judged_features(pairs, rows)
        found = np.concatenate([judged, self.translation.judgement.score(judged)[:, None]], axis=1)
        long = long_rows(pairs, rows)
        if len(long):
            parts, counts = in_parts(pairs, rows[long])
            shown = self.judged_features(parts, np.arange(len(parts)))
            scores = self.translation.judgement.score(shown)
            for row, weak in zip(long, weakest(scores, counts), strict=True):
                found[row, :-1], found[row, -1] = shown[weak].mean(axis=0), scores[weak].mean()
        return found

    def judged_features(self, pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`JUDGED_FEATURES`: lexicon, surface and alignment of pairs as a whole, float32 [rows, 32]."""
        source, target, batch, model = pairs.source, pairs.target, pairs.batch, self.translation
        scored, linked = word_features(source, target, rows, model.lexicon)
        surfaces = surface_features(batch.source, source, batch.target, target, rows, model.characters)
        return np.concatenate([scored, surfaces, linked], axis=1)

    def embed(
        self, pairs: TokenizedPairs, rows: NDArray[np.int64], clusters: NDArray[np.int16]
    ) -> Embeddings:
        """Embed the pairs at `rows`.

        Args:
            pairs: a batch.
            rows: int64, which of them.
            clusters: int16 [n], of the whole batch as `clusters` gives them.
        """
        model = self.translation
        x, y = self._embedder.embed_pairs(pairs, rows, (model.source_weights, model.target_weights))
        return Embeddings(x, y, nearest(x, model.centroids) if model.cascade else clusters[rows])

    def features(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        embeddings: Embeddings,
        text: NDArray[np.float32] | None = None,
        corrections: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Every feature of P(clean) for the pairs at `rows`, float32 [rows, F]; see `scoring.quality.feature_names`.

        Args:
            pairs: a batch.
            rows: int64, which of them.
            embeddings: of these.
            text: their `text_features`, if they are known.
            corrections: of their predictions, float32 [rows, D], where not the model's own, which these pairs have taught.
        """
        model, (x, y, cluster) = self.translation, embeddings
        forward = predict(pairs.source, rows, model.forward)
        if corrections is None:
            corrections = correct(x, cluster, model.correction)
        backward = predict(pairs.target, rows, model.backward)
        variances = model.correction.variances[cluster]
        if text is None:
            text = self.text_features(pairs, rows)
        found = [text, prediction_features(y, forward, corrections, x, backward, variances)]
        if model.likeness is not None:
            words = np.ascontiguousarray(text[:, : len(JUDGED_FEATURES)])
            # Not `text`'s last: of a long pair that is the mean of what is said of its parts, and trees are not linear.
            without = model.judgement.score(words)
            found.append(model.likeness.gain(words, without, x, y)[:, None])
        return np.concatenate(found, axis=1)

    def distance(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """CRAFT's criterion, the squared residual of its clustered regression, negated; float32 [rows]."""
        x, y, cluster = embeddings
        return -agreement(y, correct(x, cluster, self.translation.conditional))[1]
