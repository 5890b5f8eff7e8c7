"""The learner: observes the target and the stream, and publishes Models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from craft_stream.errors import TargetError
from craft_stream.learning.centroids import Centroids
from craft_stream.learning.characters import CharacterCounts
from craft_stream.learning.correction import CorrectionFit, fit_correction
from craft_stream.learning.corruption import corrupt
from craft_stream.learning.density import TAIL_QUANTILE, NGramCounts
from craft_stream.learning.discriminant import learn_discriminant
from craft_stream.learning.executor import IN_TURN, Executor, both
from craft_stream.learning.lexicon import learn_lexicon
from craft_stream.learning.quality import fit_classifier
from craft_stream.learning.regression import OnlineRegression
from craft_stream.learning.reservoir import Reservoir, Sample
from craft_stream.learning.stream import RecentPairs
from craft_stream.parameters import Parameters, digest
from craft_stream.scoring.domain import domain_scores
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Calibration, Model
from craft_stream.scoring.prediction import WideRegression, predict, prediction_features
from craft_stream.scoring.quality import QualityClassifier, text_features
from craft_stream.scoring.scorer import Scorer
from craft_stream.scoring.surface import Characters
from craft_stream.scoring.translation import Lexicon
from craft_stream.text.bags import STEM_BITS, count_stems, inverse_frequency
from craft_stream.text.batch import PairBatch
from craft_stream.text.hashing import GOLDEN
from craft_stream.text.languages import load_identifier
from craft_stream.text.ngrams import NGRAM_BITS, NGrams
from craft_stream.text.tokenized import TokenizedPairs

# Pairs that the first judgement of the stream waits for; until then every pair is learned from alike.
_FIRST_JUDGEMENT = 2048
# Pairs that are learned from together: of a small sample each batch would cost 1 ms however few they are.
_LESSON = 256
# Pairs less likely clean than this teach nothing.
_SMALLEST_WEIGHT = 0.25
_CALIBRATION_PAIRS = 16_384
# Target pairs that the discriminant has its full weight from: with 500 it takes more than it gives.
_FULL_DISCRIMINANT = 2000
# Reservoir pairs that P(clean) is fitted on, and those of them that are corrupted, each in nine ways: more cost time and
# change no figure. An expensive encoder is spared most.
_HEAD_PAIRS = (1500, 750)
_EXPENSIVE_HEAD_PAIRS = (300, 300)
# Steps that domain weights are rounded to.
_WEIGHT_STEPS = np.float32(512)
# Of the pairs that calibrate a Model: how many of those nearest to the domain, and one of how many others.
_CALIBRATED = (2048, 4)
_CALIBRATED_EXPENSIVE = (512, 16)


@dataclass(frozen=True, slots=True)
class _Target:
    """The sample in force, what of it P(clean) is fitted on, and corruptions of a part of that."""

    sample: Sample
    clean: TokenizedPairs
    chosen: NDArray[np.int64]
    corrupted: TokenizedPairs
    parents: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Domain:
    """What of a Model tells the domain; see there."""

    weights: NDArray[np.float32]
    mean: float
    deviation: float
    tail: float
    tail_share: float


class Learner:
    """Keeps what the target and the stream teach.

    Args:
        parameters: `learning` is used.
        encoder: that turns texts into vectors.
        executor: does one of two jobs that touch nothing of one another; what is learned is the same in any.

    Attributes:
        pairs_seen: pairs of the stream observed.
        next_version: `pairs_seen` at which a new version is due.
    """

    def __init__(self, parameters: Parameters, encoder: Embedder, executor: Executor = IN_TURN) -> None:
        self.pairs_seen = 0
        self._executor = executor
        self._parameters = parameters
        self._encoder = encoder
        learning = parameters.learning
        self._identifier = load_identifier(learning.identifier)
        if self._identifier and learning.languages:
            self._identifier.check(learning.languages)
        self._reservoir = Reservoir(learning.reservoir_size, learning.seed)
        self._centroids = Centroids(encoder.dimensions, learning.clusters, learning.seed)
        self._counts = NGramCounts()
        self._lexicon = Lexicon.empty()
        self._forward = OnlineRegression(encoder.dimensions)
        self._backward = OnlineRegression(encoder.dimensions)
        self._characters = CharacterCounts()
        self._recent = RecentPairs(2 * _CALIBRATION_PAIRS)
        self._stems = (np.zeros(1 << STEM_BITS, np.float32), np.zeros(1 << STEM_BITS, np.float32))
        self._learned = 0
        self._waiting: list[PairBatch] = []
        self._weights = (np.ones(1 << STEM_BITS, np.float32), np.ones(1 << STEM_BITS, np.float32))
        self._target: _Target | None = None
        self._judge: Scorer | None = None
        self._next_judgement = _FIRST_JUDGEMENT
        self._version = 0
        self.next_version = 0

    @property
    def target_size(self) -> int:
        """Pairs in the reservoir."""
        return len(self._reservoir)

    @property
    def target_incomplete(self) -> bool:
        """So much was withdrawn that pairs are missing which the reservoir let go: show it the whole target again."""
        return self._reservoir.incomplete

    @property
    def due(self) -> bool:
        """A new version should be published: the pairs seen have doubled, or so many have come as `publish_pairs` says."""
        return self.pairs_seen >= self.next_version

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None:
        """Add or replace target pairs; the order in which they come has no influence."""
        for identifier, source, target in zip(
            identifiers, batch.source.texts(), batch.target.texts(), strict=True
        ):
            self._reservoir.insert(identifier, source, target)

    def withdraw_target(self, identifiers: Sequence[str]) -> None:
        """Take target pairs back."""
        for identifier in identifiers:
            self._reservoir.delete(identifier)

    def forget_target(self) -> None:
        """Begin the reservoir anew; the version in force and what the stream taught stay."""
        self._reservoir = Reservoir(self._parameters.learning.reservoir_size, self._parameters.learning.seed)

    def observe_accepted(self, batch: PairBatch) -> None:
        """Count pairs that were accepted: the domain score is corrected for what has been selected too much of.

        Apart from `observe`, as pairs that primed the learner are learned from long before they are decided.
        """
        if len(batch):
            self._counts.add_selected(TokenizedPairs.of(batch).ngrams)

    def observe(self, batch: PairBatch) -> None:
        """Learn from pairs of the stream, accepted or not; each once."""
        rows = self._sampled(batch.positions)
        self.pairs_seen += len(batch)
        if len(rows):
            self._waiting.append(batch if len(rows) == len(batch) else batch.take(rows))
        if sum(map(len, self._waiting)) >= _LESSON:
            self._catch_up()

    def _catch_up(self) -> None:
        """Learn from what waits."""
        if not self._waiting:
            return
        positions = np.concatenate([batch.positions for batch in self._waiting])
        self._learn(replace(PairBatch.concatenate(self._waiting), positions=positions))
        self._waiting = []
        if self._learned >= self._next_judgement and self.target_size:
            # Four times as many pairs change what a pair is worth; twice do not.
            self._next_judgement = 4 * self._learned
            with threadpool_limits(1):
                self._judge = Scorer(self._judgement(self._current_target()), self._encoder)

    def publish(self) -> Model:
        """A new version of all that scoring needs.

        Raises:
            TargetError: the target is empty.
        """
        self._catch_up()
        # One thread: matrices here are small, two threads that wait for one another on a busy machine took 24 s for what
        # one does in 4, and the sums inside BLAS and k-means then have one order.
        with threadpool_limits(1):
            target = self._current_target()
            judgement, (domain, recent) = both(
                self._executor, partial(self._judgement, target), partial(self._domain, target.clean.ngrams)
            )
            model = replace(
                judgement.renumbered(self._version + 1),
                mean=domain.mean,
                deviation=domain.deviation,
                tail=domain.tail,
                tail_share=domain.tail_share,
                domain_weights=domain.weights,
            )
            model = _calibrated(model, self._encoder, recent)
        self._version += 1
        self.next_version = self.pairs_seen + self._pause()
        self._judge = Scorer(model, self._encoder)
        return model

    def _pause(self) -> int:
        # A version costs .4 s, 2 us a pair where one comes each 204,800; what so many pairs change fades as the counts grow.
        usual = self._parameters.learning.publish_pairs
        return min(max(self.pairs_seen, _FIRST_JUDGEMENT), max(usual, min(self.pairs_seen // 8, 4 * usual)))

    def continue_from(self, version: int) -> None:
        """Number the next version after `version`."""
        self._version = max(self._version, version)

    def _sampled(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        learning = self._parameters.learning
        if self.pairs_seen < learning.full_until:
            return np.arange(len(positions))
        return _share(positions, learning.sample_rate)

    def _learn(self, batch: PairBatch) -> None:
        texts = TokenizedPairs.of(batch)
        worth = self._worth(texts)
        both(
            self._executor,
            partial(self._learn_words, texts, worth),
            partial(self._learn_vectors, texts, worth),
        )
        self._recent.add(batch)
        self._learned += len(batch)

    def _learn_words(self, texts: TokenizedPairs, worth: NDArray[np.float32]) -> None:
        self._counts.add_stream(texts.ngrams)
        learn_lexicon(self._lexicon, texts.source, texts.target, worth)

    def _learn_vectors(self, texts: TokenizedPairs, worth: NDArray[np.float32]) -> None:
        if self._encoder.expensive:
            rows = _share(texts.batch.positions, self._parameters.learning.embedded_rate)
            rows = rows[worth[rows] > 0]
            self._learn_prediction(TokenizedPairs.of(texts.batch.take(rows)), worth[rows])
        else:
            self._learn_prediction(texts, worth)
        self._characters.add(texts.batch, worth)
        count_stems(texts.source.stems, texts.source.offsets, self._stems[0])
        count_stems(texts.target.stems, texts.target.offsets, self._stems[1])

    def _learn_prediction(self, texts: TokenizedPairs, worth: NDArray[np.float32]) -> None:
        rows = np.arange(len(worth))
        x = self._encoder.embed(texts.batch.source, texts.source, rows, self._weights[0])
        y = self._encoder.embed(texts.batch.target, texts.target, rows, self._weights[1], "target")
        self._forward.learn(texts.source, y, worth)
        self._backward.learn(texts.target, x, worth)

    def _worth(self, texts: TokenizedPairs) -> NDArray[np.float32]:
        if self._judge is None:
            return np.ones(len(texts), np.float32)
        judge, half = self._judge, len(texts) // 2
        halves = texts.slice(0, half), texts.slice(half, len(texts))
        quality = np.concatenate(
            both(self._executor, *(partial(self._quality, judge, part) for part in halves))
        )
        probability = np.exp(quality)
        return np.where(probability > _SMALLEST_WEIGHT, probability, np.float32(0))

    def _quality(self, judge: Scorer, texts: TokenizedPairs) -> NDArray[np.float32]:
        rows = np.arange(len(texts))
        if self._encoder.expensive:
            return judge.without_embedding(judge.text_features(texts, rows))[:, 0]
        return judge.quality(judge.features(texts, rows, judge.embed(texts, rows, judge.clusters(texts))))

    def _current_target(self) -> _Target:
        sample = self._reservoir.sample()
        if not len(sample):
            raise TargetError(
                "the target is empty: publish pairs of the domain that you want (craft-stream target publish FILE), "
                "or name a file that holds some"
            )
        if self._target is None or self._target.sample.version != sample.version:
            if self._target is not None and not set(sample.pairs) & set(self._target.sample.pairs):
                self._counts.forget_selected()
            rng = np.random.default_rng(self._parameters.learning.seed)
            clean, spoilt = _EXPENSIVE_HEAD_PAIRS if self._encoder.expensive else _HEAD_PAIRS
            order = rng.permutation(len(sample))
            chosen, parents = np.sort(order[:clean]), np.sort(order[:spoilt])
            pairs = [sample.pairs[i] for i in parents]
            made = corrupt([pair.source for pair in pairs], [pair.target for pair in pairs], rng)
            corrupted = TokenizedPairs.of(PairBatch.pack(made.sources, made.targets))
            self._target = _Target(
                sample,
                TokenizedPairs.of(sample.batch),
                chosen,
                corrupted,
                parents[np.array(made.parents, np.int64)],
            )
        return self._target

    def _judgement(self, target: _Target) -> Model:
        """A Model that tells translations, and knows no domain yet: all that judging what to learn from needs."""
        learning = self._parameters.learning
        if self._version == 0:
            # Frozen with the first version: embeddings, and the clusters made of them, keep their meaning.
            self._weights = (
                inverse_frequency(self._stems[0], self._learned),
                inverse_frequency(self._stems[1], self._learned),
            )
        rows = np.arange(len(target.sample))
        clean = target.clean
        x = self._encoder.embed(clean.batch.source, clean.source, rows, self._weights[0])
        y = self._encoder.embed(clean.batch.target, clean.target, rows, self._weights[1], "target")
        self._centroids.update(
            {pair.identifier: row for pair, row in zip(target.sample.pairs, x, strict=True)}
        )
        centroids = self._centroids.columns.copy()
        clusters = self._encoder.nearest(clean.batch.source, clean.source, self._weights[0], centroids)
        forward, backward = (
            WideRegression.freeze(self._forward.rows),
            WideRegression.freeze(self._backward.rows),
        )
        count = centroids.shape[1]
        # The intercept's ridge is a fifth of the slopes': the ratio at which both were measured.
        ridge = learning.correction_ridge
        predicted = predict(clean.source, rows, forward)
        fit = fit_correction(x, y, predicted, clusters, count, intercept=ridge / 5, slope=ridge)
        alone = fit_correction(x, y, np.zeros_like(y), clusters, count, intercept=1e-3, slope=3.0)
        characters = self._characters.freeze()
        lexicon = self._lexicon.copy()
        return Model(
            version=1,
            learning_digest=digest(learning),
            encoder=self._encoder.digest,
            cascade=self._encoder.expensive,
            identifier=self._identifier.name if self._identifier else "",
            languages=self._languages(clean),
            target_version=target.sample.version,
            target_pairs=len(target.sample),
            pairs_seen=self.pairs_seen,
            clustering=self._centroids.clustering,
            mean=0.0,
            deviation=1.0,
            tail=0.0,
            tail_share=0.0,
            domain_weights=_NO_DOMAIN,
            source_weights=self._weights[0],
            target_weights=self._weights[1],
            centroids=centroids,
            shares=np.bincount(clusters, minlength=centroids.shape[1]) / len(clusters),
            lexicon=lexicon,
            characters=characters,
            forward=forward,
            backward=backward,
            correction=fit.rounded,
            conditional=alone.rounded,
            head=self._fit_head(target, fit, x, clusters, lexicon, characters, forward, backward, centroids),
            calibration=_EMPTY_CALIBRATION,
        )

    def _domain(self, target: NGrams) -> tuple[_Domain, TokenizedPairs]:
        """What tells the domain, and pairs that came by lately, of which it was not told."""
        self._counts.set_target(target)
        # Half of the recent pairs teach the discriminant, the other half calibrates: what it was taught scores too low.
        recent_pairs = self._recent.batch()
        taught, recent = (
            TokenizedPairs.of(recent_pairs.take(np.arange(i, len(recent_pairs), 2))) for i in (1, 0)
        )
        weights = self._domain_weights(target, taught.ngrams, recent.ngrams)
        raw = domain_scores(recent.ngrams, weights)
        tail = float(np.quantile(self._counts.block_scores(target), TAIL_QUANTILE))
        above = ((raw[:, 0] >= tail).sum() + 0.5) / (len(raw) + 1.0)
        domain = _Domain(
            weights=weights,
            mean=float(raw[:, 1].mean()) if len(raw) else 0.0,
            deviation=float(max(raw[:, 1].std(), 1e-3)) if len(raw) else 1.0,
            tail=tail,
            tail_share=float(above / (1 - TAIL_QUANTILE)),
        )
        return domain, recent

    def _domain_weights(self, target: NGrams, taught: NGrams, recent: NGrams) -> NDArray[np.float32]:
        learning = self._parameters.learning
        weights = self._counts.weights(learning.balance)
        if learning.discriminant and len(taught):
            discriminant = learn_discriminant(target, taught, learning.seed)
            spread = domain_scores(recent, np.stack([weights[:, 0], discriminant], axis=1)).std(0)
            strength = learning.discriminant * min(1, len(target) / _FULL_DISCRIMINANT)
            weights[:, 1] += strength * spread[0] / max(spread[1], 1e-6) * discriminant
        # Of weights between -2 and 9; unrounded, a Model is 26 MB to publish after three million pairs, and grows.
        return np.asarray(np.round(weights * _WEIGHT_STEPS) / _WEIGHT_STEPS, np.float32)

    def _languages(self, target: TokenizedPairs) -> str:
        if self._identifier is None:
            return ""
        asked = self._parameters.learning.languages
        sides = (target.batch.source, target.batch.target)
        return asked or "-".join(self._identifier.majority(side) for side in sides)

    def _fit_head(
        self,
        target: _Target,
        fit: CorrectionFit,
        x: NDArray[np.float32],
        clusters: NDArray[np.int16],
        lexicon: Lexicon,
        characters: Characters,
        forward: WideRegression,
        backward: WideRegression,
        centroids: NDArray[np.float32],
    ) -> QualityClassifier:
        def features(
            texts: TokenizedPairs, rows: NDArray[np.int64], parents: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            sources = self._encoder.embed(texts.batch.source, texts.source, rows, self._weights[0])
            targets = self._encoder.embed(texts.batch.target, texts.target, rows, self._weights[1], "target")
            assigned = self._encoder.nearest(texts.batch.source, texts.source, self._weights[0], centroids)[
                rows
            ]
            return np.concatenate(
                [
                    text_features(texts.batch, texts.source, texts.target, rows, lexicon, characters),
                    prediction_features(
                        targets,
                        predict(texts.source, rows, forward),
                        fit.without(sources, assigned, parents),
                        sources,
                        predict(texts.target, rows, backward),
                        fit.correction.variances[assigned],
                    ),
                ],
                axis=1,
            )

        clean, corrupted = both(
            self._executor,
            partial(features, target.clean, target.chosen, target.chosen),
            partial(features, target.corrupted, np.arange(len(target.parents)), target.parents),
        )
        return fit_classifier(clean, corrupted)


_NOTHING = np.zeros(0, np.float32)
_NO_DOMAIN = np.zeros((1 << NGRAM_BITS, 2), np.float32)
_EMPTY_CALIBRATION = Calibration(_NOTHING, _NOTHING, np.zeros(0, np.int16), _NOTHING, _NOTHING)


def _share(positions: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Rows of a share of the positions, by their hash: the same ones whenever asked, a smaller share within a larger."""
    hashed = (positions.astype(np.uint64) + np.uint64(1)) * GOLDEN
    return np.flatnonzero((hashed >> np.uint64(32)) < np.uint64(int(share * (1 << 32))))


def _calibrated(model: Model, encoder: Embedder, recent: TokenizedPairs) -> Model:
    """The model with its own scores of recent pairs."""
    scorer = Scorer(model, encoder)
    scores, n = scorer.score_domain(recent), len(recent)
    cluster = scores.cluster.copy()
    top, every = _CALIBRATED_EXPENSIVE if encoder.expensive else _CALIBRATED
    others = np.sort(np.argsort(-scores.domain, kind="stable")[top:])
    chosen = others[::every]
    weight = np.ones(n, np.float32)
    weight[others] = 0
    weight[chosen] = len(others) / max(len(chosen), 1)
    rows = np.flatnonzero(weight)
    quality, distance = np.full(n, np.nan, np.float32), np.zeros(n, np.float32)
    if len(rows):
        embeddings = scorer.embed(recent, rows, cluster)
        cluster[rows] = embeddings.cluster
        quality[rows] = scorer.quality(scorer.features(recent, rows, embeddings))
        quality[rows[scorer.foreign(recent, rows)]] = np.nan
        distance[rows] = scorer.distance(embeddings)
    return replace(model, calibration=Calibration(scores.domain, quality, cluster, distance, weight))
