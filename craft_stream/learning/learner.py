"""The learner: observes the target and the stream, and publishes Models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from craft_stream.errors import ConfigurationError, TargetError
from craft_stream.learning.calibration import calibrate
from craft_stream.learning.domain import DomainLearner
from craft_stream.learning.even_sample import EvenSample
from craft_stream.learning.examination import Examination, examine, refuse_swapped, stand_ins
from craft_stream.learning.executor import IN_TURN, Executor, both
from craft_stream.learning.quality import QualityModel
from craft_stream.learning.reservoir import Reservoir
from craft_stream.learning.sampling import sampled
from craft_stream.learning.training_set import TrainingSet
from craft_stream.learning.translation import TranslationLearner
from craft_stream.parameters import Parameters
from craft_stream.scoring.domain import DomainModel
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.trees import BoostedTrees
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.ngrams import NGrams
from craft_stream.text.tokenized import TokenizedPairs

# Pairs that the first quality model waits for; until then every pair is learned from alike.
_FIRST_QUALITY_MODEL = 2048
# Pairs learned that make P(clean) fit to examine the target.
_FIRST_EXAMINER = 8192
# Pairs that are learned from together: of a small sample each batch would cost 1 ms however few they are.
_MINIBATCH = 256
# Pairs of the stream in an even sample; half of them teach the discriminant, half calibrate a Model.
_SAMPLE = 32_768
# Clusterings that one learner makes are fewer.
_CLUSTERINGS = 1 << 16


class Learner:
    """Keeps what the target and the stream teach.

    Args:
        parameters: `learning` is used, and of `selection` the method.
        encoder: that turns texts into vectors.
        executor: does one of two jobs that touch nothing of one another; what is learned is the same in any.
        judgement: what people have judged of translations; None: what ships with the package.
        likeness: the same with the likeness of both sides (`scoring.likeness`).

    Attributes:
        pairs_seen: pairs of the stream observed.
        next_version: `pairs_seen` at which a new version is due.
    """

    def __init__(
        self,
        parameters: Parameters,
        encoder: Embedder,
        executor: Executor = IN_TURN,
        judgement: BoostedTrees | None = None,
        likeness: BoostedTrees | None = None,
    ) -> None:
        self.pairs_seen = 0
        self._stood_for = 0  # pairs of the stream that those stand for
        self.next_version = 0
        self._executor = executor
        self._learning = parameters.learning
        self._compares_pairs = parameters.selection.method == "craft"
        self._encoder, self._expensive = encoder.digest, encoder.expensive
        self._reservoir = Reservoir(self._learning.reservoir_size, self._learning.seed)
        self._translation = TranslationLearner(self._learning, encoder, judgement, likeness)
        self._domain = DomainLearner(self._learning)
        self._sample = EvenSample(_SAMPLE, self._learning.half_life)
        self._waiting: list[PairBatch] = []
        self._each = 1.0  # pairs of the stream that one which is learned from stands for
        self._learned = 0
        self._examination: Examination | None = None
        self._next_examination = _FIRST_EXAMINER
        self._training: TrainingSet | None = None
        self._quality: QualityModel | None = None
        self._next_quality_model = _FIRST_QUALITY_MODEL
        self._version = 0

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

    def knows_less(self, header: Mapping[str, Any]) -> bool:
        """Whether a version has learned from more of the stream, and what has been seen here is not enough to begin with.

        `prime_pairs` are, as a new group decides by no more. One of another target, of other parameters or another encoder
        knows nothing that is wanted now.

        Args:
            header: of the version.
        """
        seen = header.get("pairs_seen")  # it may come from a topic that others write to
        if not isinstance(seen, int) or self._stood_for >= min(seen, self._learning.prime_pairs):
            return False
        alike = {f"learning.{name}": value for name, value in asdict(self._learning.lasting).items()} | {
            "target_version": self._reservoir.sample().version,
            "translation.encoder": self._encoder,
        }
        return all(header.get(name) == value for name, value in alike.items())

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

    def check_target(self) -> dict[str, int]:
        """Examine the target as it is now; how many of its pairs are left out, by what was found of them.

        Raises:
            TargetError: it is empty, or nothing can be learned from it; see `examination`.
        """
        return self._examine().left_out

    def forget_target(self) -> None:
        """Begin the reservoir anew; the version in force and what the stream taught stay."""
        self._reservoir = Reservoir(self._learning.reservoir_size, self._learning.seed)

    def observe_accepted(self, batch: PairBatch) -> None:
        """Count pairs that were accepted: the domain score is corrected for what has been selected too much of.

        Apart from `observe`, as pairs that primed the learner are learned from long before they are decided.
        """
        if len(batch):
            self._domain.counts.add_selected(TokenizedPairs.of(batch).ngrams)

    def observe(self, batch: PairBatch, stand_for: int | None = None) -> None:
        """Learn from pairs of the stream, accepted or not; each once.

        Args:
            batch: the pairs.
            stand_for: how many pairs of the stream they are an even sample of; None: of themselves.
        """
        if not len(batch):
            return
        rows, whole = np.arange(len(batch)), stand_for is None
        stand_for = len(batch) if stand_for is None else stand_for
        weight = each = stand_for / len(batch)
        if whole and self.pairs_seen >= self._learning.full_until:
            rows = sampled(batch.positions, self._learning.sample_rate)
            weight = 1 / self._learning.sample_rate
        if weight != self._each:
            # Counted alike, the head of a crawl outweighed all that came after: by id finance had .37, so .40.
            self._learn_waiting()
            self._each = weight
        self._sample.add(batch, each)
        self.pairs_seen += len(batch)
        self._stood_for += stand_for
        if len(rows):
            self._waiting.append(batch if len(rows) == len(batch) else batch.take(rows))
        if sum(map(len, self._waiting)) >= _MINIBATCH:
            self._learn_waiting()

    def publish(self) -> Model:
        """A new version of all that scoring needs.

        Raises:
            TargetError: the target is empty, or nothing can be learned from it.
        """
        self._learn_waiting()
        # One thread: matrices here are small, two threads that wait for one another on a busy machine took 24 s for what
        # one does in 4, and the sums inside BLAS and k-means then have one order.
        with threadpool_limits(1):
            training, examined = self._training_set(), self._examine()
            refuse_swapped(examined.part.batch, self._sample.batch(), examined.sample.side)
            quality, (domain, recent) = both(
                self._executor,
                partial(self._translation.quality_model, training, self._executor),
                partial(self._domain_model, examined),
            )
            quality = quality.in_stream(recent)
            calibration, signals = calibrate(quality, domain, recent)
        self._translation.freeze_weights()
        self._quality = quality
        self._version += 1
        self.next_version = self.pairs_seen + pairs_to_next_version(
            self.pairs_seen, self._learning.publish_pairs
        )
        return Model(
            version=self._version,
            learning=self._learning.lasting,
            target_version=examined.sample.version,
            target_pairs=len(examined.fit),
            target_left_out=examined.left_out,
            target_keys=np.unique(examined.keys),
            pairs_seen=self._stood_for,
            clustering=self._translation.clustering,
            translation=quality.scorer.translation,
            classifier=quality.classifier,
            signals=signals,
            domain=domain,
            calibration=calibration,
        )

    def corrected(self, model: Model, accepted: NGrams) -> Model:
        """Count accepted pairs, and a new version that differs from the last in the correction for what was accepted alone.

        Args:
            model: what `publish` made last, or this.
            accepted: their n-grams.
        """
        self._domain.counts.add_selected(accepted)
        self._version += 1
        return replace(model, version=self._version, domain=self._domain.corrected(model.domain))

    def continue_from(self, version: int) -> None:
        """Number the next version, and the next clustering, after those of `version` and before."""
        self._version = max(self._version, version)
        self._translation.number_clusterings_from(self._version * _CLUSTERINGS)

    def _learn_waiting(self) -> None:
        if not self._waiting:
            return
        self._learn(PairBatch.concatenate(self._waiting))
        self._waiting = []
        if self._learned >= self._next_quality_model and self.target_size:
            # Four times as many pairs change how likely a pair is clean; twice do not.
            self._next_quality_model = 4 * self._learned
            with threadpool_limits(1):
                self._quality = self._translation.quality_model(self._training_set(), self._executor)

    def _learn(self, batch: PairBatch) -> None:
        pairs = TokenizedPairs.of(batch)
        if self._quality is None:
            weights = np.ones(len(pairs), np.float32)
        else:
            weights = self._quality.sample_weights(pairs, self._executor)
        both(
            self._executor,
            partial(self._learn_words, pairs, weights),
            partial(self._translation.learn_vectors, pairs, weights),
        )
        self._learned += len(batch)

    def _learn_words(self, pairs: TokenizedPairs, weights: NDArray[np.float32]) -> None:
        self._domain.counts.add_stream(pairs.ngrams, self._each)
        self._translation.learn_words(pairs, weights)

    def _examine(self) -> Examination:
        sample, before = self._reservoir.sample(), self._examination
        if sample.side and self._compares_pairs:
            raise ConfigurationError(
                'method "craft" compares pairs with the translations of the target, which texts of one side have not: give '
                "pairs, or leave selection.method as it is"
            )
        if not len(sample):
            raise TargetError(
                "the target is empty: publish pairs of the domain that you want (craft-stream target publish FILE), "
                "or name a file that holds some"
            )
        due = self._learned >= self._next_examination
        if sample.side and before is not None and not before.stand_ins:
            due = True  # nothing of the stream was known
        if before is None or before.sample.version != sample.version or due:
            known = None
            if self._learned >= _FIRST_EXAMINER and self._quality and self._training:
                known = self._quality, self._training.corrupted
            if sample.side != self._domain.counts.side:
                self._tell_from(sample.side)
            before = examine(sample, known)
            if sample.side:
                believed = stand_ins(self._sample.batch(), known[0] if known else None)
                before = replace(before, stand_ins=believed)
            self._examination = before
            # As for quality models: four times as many pairs change what is found.
            self._next_examination = 4 * self._learned if known else _FIRST_EXAMINER
        return before

    def _tell_from(self, side: Side | None) -> None:
        pairs = self._sample.batch()
        each = self._stood_for / max(len(pairs), 1)
        self._domain.tell_from(side, TokenizedPairs.of(pairs).ngrams, each)

    def _training_set(self) -> TrainingSet:
        examined, before = self._examine(), self._training
        sample, described = examined.translations, examined.part
        if not sample:
            raise TargetError(
                "a target of texts of one side needs a stream to learn translations from, and this one holds no pair"
            )
        if before is None or (before.sample, before.described) != (sample, described):
            if before is not None and not set(described.pairs) & set(before.described.pairs):
                self._domain.counts.forget_selected()
            self._training = TrainingSet.of(sample, described, self._learning.seed, self._expensive)
        assert self._training is not None  # noqa: S101  # made above
        return self._training

    def _domain_model(self, examined: Examination) -> tuple[DomainModel, TokenizedPairs]:
        """What tells the domain, and pairs of the stream to calibrate with, of which it was not told."""
        pairs = self._sample.batch()
        taught, recent = (TokenizedPairs.of(pairs.take(np.arange(i, len(pairs), 2))) for i in (1, 0))
        return self._domain.model(examined.ngrams, taught.ngrams, recent.ngrams), recent


def pairs_to_next_version(seen: int, usual: int) -> int:
    """Pairs between a version made after `seen` and the next: as many again, later `usual`, at last up to four times it.

    A version costs .4 s, 2 us a pair where one comes each 204,800; what so many pairs change fades as the counts grow.
    """
    return min(max(seen, _FIRST_QUALITY_MODEL), max(usual, min(seen // 8, 4 * usual)))
