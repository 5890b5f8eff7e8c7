"""Two passes, and what lies between: learn from an even sample, score every pair, judge the candidates, take the best."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import SerialExecutor, mapped
from craft_stream.errors import IntegrityError
from craft_stream.journal import NO_JOURNAL, Block, Journal
from craft_stream.learning.even_sample import EvenSample
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.ranking.candidates import Candidates
from craft_stream.ranking.columns import NO_PAIR, Columns, Judged, Scored, spread
from craft_stream.ranking.contexts import places_of
from craft_stream.ranking.portions import Portions
from craft_stream.ranking.rereading import Rereading, Run
from craft_stream.scoring.embedding import NO_CLUSTER, Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.generation import Query
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.rule import judge, measure
from craft_stream.session import Chunk
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Pairs that are learned from together.
_MINIBATCH = 1024
# Candidates of a small budget beside `gate` times as many as are to be accepted: the correction brings up pairs that stood far
# down (664 pairs of medicine: 8.66 bits out of 3 times as many, 8.58 out of 8 times).
_MORE_CANDIDATES = 8192

S = TypeVar("S")
R = TypeVar("R", Scored, Judged)
C = TypeVar("C", bound=Chunk)


# Called on the way with what is done, how many records of it, and of how many (None: not known yet).
Watch = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Options(Generic[C]):
    """What else a ranking is told.

    Attributes:
        matches: which pairs of a chunk are on lists and must not be accepted, bool [pairs]; None: none is.
        budget: pairs to accept of a stream of so many, exactly where it holds enough; None: the rate's share.
        jobs: threads that score.
        journal: keeps the sample, scores and judgements; what it holds is taken from it.
    """

    matches: Callable[[C], NDArray[np.bool_] | None] | None = None
    budget: Callable[[int], int] | None = None
    jobs: int = 1
    journal: Journal = NO_JOURNAL


class Ranking(Generic[C]):
    """Selects from a stream that can be read again. Decisions depend on neither the number of threads nor the cuts.

    Args:
        parameters: of both halves; `prime_pairs` is the size of the even sample.
        encoder: that turns texts into vectors.
        model: a pinned version; None: one is learned.
        options: what else there is to be told.

    Attributes:
        model: the version that decides: that all were scored by before any was taken; None before it is known.
        ledger: what was decided, as far as the last pass has come.
    """

    def __init__(
        self,
        parameters: Parameters,
        encoder: Embedder,
        model: Model | None = None,
        options: Options[C] | None = None,
    ) -> None:
        self.model = model
        self.ledger = Ledger(parameters)
        self._parameters, self._encoder = parameters, encoder
        self._digest = int(parameters.digest, 16)
        self._options: Options[C] = options or Options()
        self._jobs = 1 if encoder.expensive else self._options.jobs  # such an encoder has threads of its own
        self._threshold = np.inf
        self._learner = Learner(parameters, encoder, SerialExecutor("helper")) if model is None else None

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None:
        """Add or replace pairs of the target; without effect where a version is pinned."""
        if self._learner is not None:
            self._learner.observe_target(identifiers, batch)

    def check_target(self) -> dict[str, int]:
        """How many pairs of the target are left out as far as is known by now, by what was found of them.

        Raises:
            TargetError: it is empty, or nothing can be learned from it.
        """
        return {} if self._learner is None else self._learner.check_target()

    def decide(
        self, stream: Callable[[], Iterable[Run[C]]], watch: Watch = lambda *_: None
    ) -> Iterator[tuple[C, Decisions]]:
        """Decide every chunk, in order, with decisions aligned to its pairs.

        Args:
            stream: begins to read the stream; called four times, and more often where candidates turn out to be too few.
            watch: is told how far it has come.

        Raises:
            TargetError: no version is pinned and the target is empty, or nothing can be learned from it.
            DataError: the stream is not as long as it was when it was read before.
        """
        again = Rereading(stream)
        self._prepare(again, watch)
        columns = self._score(again, watch)
        self._select(columns, again, watch)
        yield from self._decisions(columns, again, watch)

    def score(
        self, stream: Callable[[], Iterable[Run[C]]], watch: Watch = lambda *_: None
    ) -> Iterator[tuple[C, Decisions]]:
        """Score every pair, in order, whatever becomes of the others: what `decide` compares before anything is taken.

        Args:
            stream: begins to read the stream; called once where `page_weight` and `host_weight` are 0, else twice, and once
                more to learn.
            watch: is told how far it has come.

        Returns:
            Chunks with what is said of their pairs: scores of all of them, with quality and context; the `reason` that speaks
            against a pair whatever its score, or accepted where none does. Duplicates are told when pairs are taken.

        Raises:
            TargetError, DataError: as in `decide`.
        """
        again = Rereading(stream)
        self._prepare(again, watch)
        told = self.ledger.selection.page_weight or self.ledger.selection.host_weight
        columns = self._score(again, watch) if told else None
        for chunk, found in mapped(partial(self._judged_whole, columns), again.runs(), self._jobs):
            watch("scored", chunk.end, again.records)
            yield chunk, found

    def _prepare(self, stream: Rereading[C], watch: Watch) -> None:
        """Put a version in force: the pinned one, or one that is learned."""
        if self._learner is not None:
            self._learner.check_target()
            self.model = self._learn(self._learner, stream, watch)
        assert self.model is not None  # noqa: S101  # pinned, or just learned
        self._bind(self.model)

    def _learn(self, learner: Learner, stream: Rereading[C], watch: Watch) -> Model:
        batch = self._sample(stream, watch)
        for start in range(0, len(batch), _MINIBATCH):
            learner.observe(batch.slice(start, min(start + _MINIBATCH, len(batch))))
        return learner.publish()

    def _sample(self, stream: Rereading[C], watch: Watch) -> PairBatch:
        journal = self._options.journal
        if (block := journal.recall("sample", 0)) is not None:
            stream.records = block.header["records"]
            return PairBatch.of(block.arrays, block.header["signals"])
        sample = EvenSample(max(self._parameters.learning.prime_pairs, EPOCH))
        for run in stream.runs():
            sample.read(run)
            watch("sampled", run.start + len(run), None)
        batch = sample.batch()
        header = {"records": stream.records, "signals": batch.columns.names}
        journal.record("sample", 0, batch.arrays, header)
        return batch

    def _bind(self, model: Model) -> None:
        """A ledger that has `model` in force and holds no pair back."""
        self.ledger.begin_epoch(0, model)
        self.ledger.duals[:] = 0
        self.ledger.gate = self.ledger.threshold = -np.inf
        self._scorer = Scorer(model, self._encoder)
        self._balanced = model  # as portions are taken

    def _score(self, stream: Rereading[C], watch: Watch) -> Columns:
        columns = Columns()
        runs = ((run, run.start) for run in stream.runs())
        for scored in self._remembered("scores", runs, self._scored):
            columns.add(scored)
            watch("scored", columns.records, stream.records)
        columns.seal(self.ledger.selection.page_weight, self.ledger.selection.host_weight)
        return columns

    def _remembered(
        self,
        stage: str,
        items: Iterable[tuple[S, int]],
        function: Callable[[S, Block | None], R],
    ) -> Iterator[R]:
        """What a function makes of items, each with its position, and of what the journal holds of them; in their order."""
        journal = self._options.journal
        known = ((item, start, journal.recall(stage, start)) for item, start in items)

        def make(one: tuple[S, int, Block | None]) -> tuple[int | None, R]:
            item, start, block = one
            return (start if block is None else None), function(item, block)

        for start, made in mapped(make, known, self._jobs):
            if start is not None:
                journal.record(stage, start, made.arrays)
            yield made

    def _scored(self, run: Run[C], block: Block | None) -> Scored:
        if block is not None:
            _check_length(block, len(run))
            return Scored(**block.arrays)
        chunk, records = run.read(), len(run)
        pairs, options = chunk.pairs, self._options
        found = measure(pairs, self._scorer, self.ledger)
        listed = None if options.matches is None else options.matches(chunk)
        page, host = places_of(pairs.batch.contexts, pairs.batch.positions)
        reason = np.full(len(pairs), Reason.OFF_DOMAIN, np.uint8)
        if listed is not None:
            reason[listed] = Reason.LISTED
        rows, tail = pairs.batch.positions - run.start, self._scorer.model.domain.tail
        return Scored(
            spread(reason, rows, records, NO_PAIR),
            spread(found.gate_scores, rows, records, np.float32(np.nan)),
            spread(found.domain.domain, rows, records, np.float32(np.nan)),
            spread(found.cluster, rows, records, np.int16(NO_CLUSTER)),
            spread(page, rows, records, np.uint32(0)),
            spread(host, rows, records, np.uint32(0)),
            np.array([(found.domain.ratio >= tail).sum()]),
        )

    def _select(self, columns: Columns, stream: Rereading[C], watch: Watch) -> None:
        """Judge candidates and take the best of them, more and more until the budget is met or none is left."""
        model, selection = self.ledger.model, self.ledger.selection
        assert model is not None  # noqa: S101  # bound
        told = self._options.budget
        budget = (
            round(selection.rate * columns.pairs) if told is None else min(told(columns.pairs), columns.pairs)
        )
        candidates, portions = Candidates(), Portions(selection, model.shares, budget)
        positions = np.zeros(0, np.int64)
        asked = selection.gate * budget + _MORE_CANDIDATES
        while portions.missing > 0 and len(best := columns.best(asked)):
            self._judge(columns, best, self.ledger, candidates, stream, watch)
            positions = candidates.positions
            portions.take(candidates, self._correct(candidates))
            asked *= 2
        portions.fill(candidates)
        if portions.missing > 0 and len(held := columns.of(Reason.IN_TARGET)):
            # What the target holds is not bought again while there is anything else.
            lenient = copy.copy(self.ledger)
            lenient.selection = replace(selection, duplicates=False)
            self._judge(columns, held, lenient, candidates, stream, watch)
            positions = candidates.positions
            portions.fill(candidates)
        columns.reason[positions] = portions.reasons
        columns.score[positions] = portions.scores
        columns.dual[positions] = portions.scores - candidates.scores
        self.ledger.threshold = self._threshold = float(portions.lowest)
        self.ledger.unspendable = float(portions.missing)

    def _judge(
        self,
        columns: Columns,
        best: NDArray[np.int64],
        ledger: Ledger,
        candidates: Candidates,
        stream: Rereading[C],
        watch: Watch,
    ) -> None:
        done = 0
        runs = ((wanted, int(wanted[1][0])) for wanted in stream.runs_at(best))
        for found in self._remembered("judgements", runs, partial(self._judged, ledger)):
            at = found.pairs.batch.positions
            done += len(at)
            columns.reason[at], columns.quality[at], columns.cluster[at] = (
                found.reason,
                found.quality,
                found.cluster,
            )
            columns.score[at] = found.scores + columns.context[at]
            rows = np.flatnonzero(found.reason == Reason.ACCEPTED)
            candidates.add(
                found.pairs, rows, columns.score[at[rows]], found.domain[rows], found.cluster[rows]
            )
            watch("judged", done, len(best))
        candidates.seal()

    def _judged(
        self, ledger: Ledger, wanted: tuple[Run[C], NDArray[np.int64]], block: Block | None
    ) -> Judged:
        run, positions = wanted
        pairs = TokenizedPairs.of(run.batch_at(positions))
        if block is not None:
            _check_length(block, len(pairs))
            return Judged(pairs, **block.arrays)
        found = judge(pairs, np.zeros(len(pairs), np.bool_), self._scorer, ledger, _admit_all)
        return Judged(pairs, found.reason, found.scores, found.domain.domain, found.quality, found.cluster)

    def _judged_whole(self, columns: Columns | None, run: Run[C]) -> tuple[C, Decisions]:
        """A run whose pairs are all held against the bars and scored whole, with what `columns` know of their contexts."""
        chunk = run.read()
        pairs, matches, model = chunk.pairs, self._options.matches, self._scorer.model
        at, n = pairs.batch.positions, len(pairs)
        listed = None if matches is None else matches(chunk)
        blocked = np.zeros(n, np.bool_) if listed is None else listed
        found = judge(pairs, blocked, self._scorer, self.ledger, _admit_all)
        if len(unasked := np.flatnonzero(np.isnan(found.quality))):
            found.set_quality(unasked)
        context = np.zeros(n, np.float32) if columns is None else columns.context[at]
        decisions = Decisions.of(
            at,
            reason=found.reason,
            score=found.scores + context,
            threshold=-np.inf,
            cluster=found.cluster,
            domain=found.domain.domain,
            quality=found.quality,
            context=context,
            model_version=model.version,
            parameters=self._digest,
        )
        return chunk, decisions

    def _correct(self, candidates: Candidates) -> Callable[[NDArray[np.int64]], NDArray[np.float32]] | None:
        if (
            self._learner is None
            or not self.ledger.selection.domain_weight
            or not self._parameters.learning.balance
        ):
            return None
        return partial(self._corrected, self._learner, candidates)

    def _corrected(
        self, learner: Learner, candidates: Candidates, taken: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if len(taken):
            self._balanced = learner.corrected(self._balanced, candidates.ngrams(taken))
        return candidates.domain_scores(self._balanced.domain)

    def _decisions(
        self, columns: Columns, stream: Rereading[C], watch: Watch
    ) -> Iterator[tuple[C, Decisions]]:
        version = 0 if self.ledger.model is None else self.ledger.model.version
        like_target = columns.like_target
        for run in stream.runs():
            rows = np.flatnonzero(columns.reason[run.start : run.start + len(run)] != NO_PAIR)
            chunk, at = run.known(rows), run.start + rows
            decisions = Decisions.of(
                at,
                reason=columns.reason[at],
                score=columns.score[at],
                threshold=self._threshold,
                cluster=columns.cluster[at],
                domain=columns.domain[at],
                quality=columns.quality[at],
                dual=columns.dual[at],
                context=columns.context[at],
                model_version=version,
                parameters=self._digest,
            )
            if len(at):
                self.ledger.record(decisions, columns.gate[at], like_target)
                like_target = 0
            if self.ledger.next_offset < chunk.end:
                self.ledger.skip(chunk.end - 1)
            watch("written", chunk.end, columns.records)
            yield chunk, decisions


def _admit_all(pairs: TokenizedPairs, query: Query) -> NDArray[np.uint8]:
    """Duplicates are told when the best are taken."""
    return np.full(len(query.rows), Reason.ACCEPTED, np.uint8)


def _check_length(block: Block, wanted: int) -> None:
    """What a journal holds of a run is of as many records."""
    if (found := len(block.arrays["reason"])) != wanted:
        raise IntegrityError(
            f"the state holds {found:,} records where {wanted:,} are read: another release made it; begin anew without --resume"
        )
