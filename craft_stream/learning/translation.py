"""What the stream teaches of translations: lexicon, characters, regressions, and the weights and clusters of embeddings."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from craft_stream.learning.centroids import Centroids
from craft_stream.learning.characters import CharacterCounts
from craft_stream.learning.correction import CorrectionFit, fit_correction
from craft_stream.learning.executor import Executor, both
from craft_stream.learning.lexicon import learn_lexicon
from craft_stream.learning.likeness import measure_likeness
from craft_stream.learning.quality import QualityModel, fit_classifier
from craft_stream.learning.regression import OnlineRegression
from craft_stream.learning.reservoir import Sample
from craft_stream.learning.sampling import sampled
from craft_stream.learning.training_set import TrainingSet
from craft_stream.parameters import LearningParameters
from craft_stream.scoring.embedding import Embedder, nearest
from craft_stream.scoring.lexicon import Lexicon
from craft_stream.scoring.prediction import WideRegression, predict
from craft_stream.scoring.translation import TranslationModel, TranslationScorer
from craft_stream.scoring.trees import BoostedTrees, human_judgement, human_judgement_of_likeness
from craft_stream.text.bags import STEM_BITS, count_stems, inverse_frequency
from craft_stream.text.languages import load_identifier
from craft_stream.text.tokenized import TokenizedPairs


class TranslationLearner:
    """Keeps what tells translations, and makes a QualityModel of it.

    Args:
        learning: its parameters.
        encoder: that turns texts into vectors.
        judgement: what people have judged; None: what ships with the package.
        likeness: the same with the likeness of both sides.
    """

    def __init__(
        self,
        learning: LearningParameters,
        encoder: Embedder,
        judgement: BoostedTrees | None = None,
        likeness: BoostedTrees | None = None,
    ) -> None:
        self._learning = learning
        self._judgement = human_judgement() if judgement is None else judgement
        self._of_likeness = human_judgement_of_likeness() if likeness is None else likeness
        self._encoder = encoder
        self._identifier = load_identifier(learning.identifier)
        languages = learning.languages
        self._told = self._identifier.pair(languages) if self._identifier and languages else ""
        self._centroids = Centroids(encoder.dimensions, learning.clusters, learning.seed)
        self._lexicon = Lexicon.empty()
        self._characters = CharacterCounts()
        self._forward = OnlineRegression(encoder.dimensions)
        self._backward = OnlineRegression(encoder.dimensions)
        self._stems = (np.zeros(1 << STEM_BITS, np.float32), np.zeros(1 << STEM_BITS, np.float32))
        self._weights = (np.ones(1 << STEM_BITS, np.float32), np.ones(1 << STEM_BITS, np.float32))
        self._pairs = 0
        self._frozen = False

    @property
    def clustering(self) -> int:
        """Number of the clustering; cluster indices mean the same while it stays."""
        return self._centroids.clustering

    def number_clusterings_from(self, clustering: int) -> None:
        """Number the next clustering after this one."""
        self._centroids.clustering = clustering

    def freeze_weights(self) -> None:
        """Keep the stem weights as they are: embeddings, and the clusters made of them, keep their meaning."""
        self._frozen = True

    def learn_words(self, pairs: TokenizedPairs, weights: NDArray[np.float32]) -> None:
        """Learn the lexicon; weights float32 [pairs]. Touches nothing that `learn_vectors` does."""
        learn_lexicon(self._lexicon, pairs.source, pairs.target, weights)

    def learn_vectors(self, pairs: TokenizedPairs, weights: NDArray[np.float32]) -> None:
        """Learn the regressions, characters and stems; weights float32 [pairs]."""
        if self._encoder.expensive:
            rows = sampled(pairs.batch.positions, self._learning.embedded_rate)
            rows = rows[weights[rows] > 0]
            self._learn_regressions(TokenizedPairs.of(pairs.batch.take(rows)), weights[rows])
        else:
            self._learn_regressions(pairs, weights)
        self._characters.add(pairs.batch, weights)
        count_stems(pairs.source.stems, pairs.source.offsets, self._stems[0])
        count_stems(pairs.target.stems, pairs.target.offsets, self._stems[1])
        self._pairs += len(pairs)

    def _learn_regressions(self, pairs: TokenizedPairs, weights: NDArray[np.float32]) -> None:
        x, y = self._embed(pairs)
        self._forward.learn(pairs.source, y, weights)
        self._backward.learn(pairs.target, x, weights)

    def quality_model(self, training: TrainingSet, executor: Executor) -> QualityModel:
        """What tells translations by now, with a classifier fitted to the training set."""
        if not self._frozen:
            self._weights = (
                inverse_frequency(self._stems[0], self._pairs),
                inverse_frequency(self._stems[1], self._pairs),
            )
        translation, fit = self._translation_model(training)
        scorer = TranslationScorer(translation, self._encoder)

        def features(
            pairs: TokenizedPairs, rows: NDArray[np.int64], parents: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            embeddings = scorer.embed(pairs, rows, scorer.clusters(pairs))
            corrections = fit.without(embeddings.source, embeddings.cluster, parents)
            return scorer.features(pairs, rows, embeddings, corrections=corrections)

        def corrupted(start: int, stop: int) -> NDArray[np.float32]:
            pairs = training.corrupted.slice(start, stop)
            return features(pairs, np.arange(stop - start), training.parents[start:stop])

        def with_clean(stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return features(training.target, training.clean, training.clean), corrupted(0, stop)

        # several are made of each clean pair: so that both have as much to do
        cut, count = max(len(training.corrupted) - len(training.clean), 0) // 2, len(training.corrupted)
        (clean, head), tail = both(executor, partial(with_clean, cut), partial(corrupted, cut, count))
        return QualityModel(scorer, fit_classifier(clean, np.concatenate([head, tail])))

    def _translation_model(self, training: TrainingSet) -> tuple[TranslationModel, CorrectionFit]:
        target, count = training.target, len(training.target)
        x, y = self._embed(target)
        forward, backward = (
            WideRegression.freeze(each.rows, each.steps) for each in (self._forward, self._backward)
        )
        own = training.described is training.sample
        described = x if own else self._described(training.described, backward)
        self._centroids.update(
            {pair.identifier: row for pair, row in zip(training.described.pairs, described, strict=True)}
        )
        centroids = self._centroids.columns.copy()
        clusters = self._encoder.nearest(target.batch.source, target.source, self._weights[0], centroids)
        members = clusters if own else nearest(described, centroids)
        # The intercept's ridge is a fifth of the slopes': the ratio at which both were measured.
        ridge, most = self._learning.correction_ridge, centroids.shape[1]
        predicted = predict(target.source, np.arange(count), forward)
        fit = fit_correction(x, y, predicted, clusters, most, intercept=ridge / 5, slope=ridge)
        alone = fit_correction(x, y, np.zeros_like(y), clusters, most, intercept=1e-3, slope=3.0)
        model = TranslationModel(
            encoder=self._encoder.digest,
            cascade=self._encoder.expensive,
            identifier=self._identifier.name if self._identifier else "",
            languages=self._languages(target),
            source_weights=self._weights[0],
            target_weights=self._weights[1],
            centroids=centroids,
            shares=np.bincount(members, minlength=most) / len(members),
            lexicon=self._lexicon.copy(),
            characters=self._characters.freeze(),
            forward=forward,
            backward=backward,
            correction=fit.rounded,
            conditional=alone.rounded,
            judgement=self._judgement,
            likeness=measure_likeness(x, y, self._of_likeness) if self._encoder.expensive else None,
        )
        return model, fit

    def _described(self, texts: Sample, backward: WideRegression) -> NDArray[np.float32]:
        """Source embeddings of a target of one side, float32 [texts, D]: predicted where it is the other."""
        pairs = TokenizedPairs.of(texts.batch)
        if texts.side == "source":
            rows = np.arange(len(pairs))
            return self._encoder.embed(pairs.batch.source, pairs.source, rows, self._weights[0])
        x = predict(pairs.target, np.arange(len(pairs)), backward)
        return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6), np.float32)

    def _embed(self, pairs: TokenizedPairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._encoder.embed_pairs(pairs, np.arange(len(pairs)), self._weights)

    def _languages(self, target: TokenizedPairs) -> str:
        if self._identifier is None:
            return ""
        sides = (target.batch.source, target.batch.target)
        return self._told or "-".join(self._identifier.majority(side) for side in sides)
