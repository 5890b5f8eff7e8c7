"""One engine: a session primes on the head of a stream, decides it, learns from it and publishes Models on the way.

`craft-stream select`, the Python API, River's estimators and the benchmarks run it. The worker on topics shares its parts:
there the learner serves many partitions, and versions come by a topic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import SerialExecutor
from craft_stream.errors import IntegrityError
from craft_stream.journal import NO_JOURNAL, Journal
from craft_stream.learning.executor import IN_TURN, Executor
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Priming keeps the head of the stream in memory; sentences take ~200 bytes, so this cuts only absurd input.
_PRIMING_BYTES = 1 << 28


class Chunk(Protocol):
    """Consecutive records of a stream, all of one epoch.

    Attributes:
        pairs: those among them that are pairs, at their positions in the stream.
        end: position after the last record.
        size: bytes that it takes, about.
    """

    @property
    def pairs(self) -> TokenizedPairs: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


C = TypeVar("C", bound=Chunk)


@dataclass(frozen=True, slots=True)
class PairChunk:
    """A chunk of pairs and nothing else: at least one, with no gap in their positions."""

    pairs: TokenizedPairs

    @property
    def end(self) -> int:
        """Position after the last pair."""
        return int(self.pairs.batch.positions[-1]) + 1

    @property
    def size(self) -> int:
        """Bytes of the texts."""
        return self.pairs.batch.size


class SelectionSession(Generic[C]):
    """Learner, selector and ledger of one stream.

    Decisions follow from the stream, the target and the parameters: not from the executor, nor from how the stream is cut.
    The pairs of an epoch (1,024 positions) are learned from together; a version waits for all minibatches before it and takes
    force at an epoch's start.

    Args:
        parameters: of both halves.
        encoder: that turns texts into vectors.
        model: a pinned version; None: learn while deciding.
        matches: which pairs of a chunk are on lists and must not be accepted, bool [pairs]; None: none is.
        training: learns, one minibatch after the other.
        helper: another one, which the learner shares its work with; see `Learner`.
        journal: keeps decisions; those that it holds are taken from it, and only learned from.

    Attributes:
        model: the version in force; None before the first.
        versions: how many were published.
        ledger: what was decided.
        end: position after the last record that was taken.
    """

    def __init__(
        self,
        parameters: Parameters,
        encoder: Embedder,
        model: Model | None = None,
        matches: Callable[[C], NDArray[np.bool_] | None] | None = None,
        training: Executor = IN_TURN,
        helper: Executor = IN_TURN,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        self.model = model
        self.versions = 0
        self.end = 0
        self._matches = matches
        self._journal = journal
        self._executor = training
        self._selector = Selector(parameters, encoder)
        self.ledger = Ledger(self._selector.parameters)
        self._learner = Learner(parameters, encoder, helper) if model is None else None
        self._prime_pairs = parameters.learning.prime_pairs
        self._priming = model is None and self._prime_pairs > 0
        self._undecided: deque[tuple[C, bool]] = deque()  # and whether each is to be learned from
        self._undecided_bytes = 0
        self._fresh: list[PairBatch] = []  # of the minibatch under way
        self._accepted: list[PairBatch] = []
        self._training: deque[Future[None]] = deque()  # in hand
        self._sampled = np.zeros(0, np.int64)  # positions of pairs that primed it, in order
        self._trained = 0  # pairs that the learner has seen when it has caught up

    @classmethod
    def threaded(
        cls,
        parameters: Parameters,
        encoder: Embedder,
        model: Model | None = None,
        matches: Callable[[C], NDArray[np.bool_] | None] | None = None,
        journal: Journal = NO_JOURNAL,
    ) -> Self:
        """A session that learns in threads of its own, beside the one that decides; its decisions are the same."""
        training, helper = SerialExecutor("learn"), SerialExecutor("helper")
        return cls(parameters, encoder, model, matches, training, helper, journal)

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None:
        """Add or replace pairs of the target; without effect where a version is pinned."""
        if self._learner is not None:
            self._wait()
            self._learner.observe_target(identifiers, batch)

    def withdraw_target(self, identifiers: Sequence[str]) -> None:
        """Take pairs of the target back; without effect where a version is pinned."""
        if self._learner is not None:
            self._wait()
            self._learner.withdraw_target(identifiers)

    def check_target(self) -> dict[str, int]:
        """How many pairs of the target are left out as far as is known by now, by what was found of them.

        Raises:
            TargetError: it is empty, or nothing can be learned from it.
        """
        self._wait()
        return {} if self._learner is None else self._learner.check_target()

    @property
    def primes(self) -> bool:
        """It has yet to be primed: by `prime`, or else by the head of the stream."""
        return self._priming

    def prime(self, sample: PairBatch, pairs: int) -> None:
        """Learn from an even sample of the stream before it comes.

        Args:
            sample: pairs at their positions in the stream, where they are not learned from again.
            pairs: of the stream.
        """
        assert self._learner is not None  # noqa: S101  # it primes
        self._sampled, self._priming = np.sort(sample.positions), False
        ends = [*range(0, len(sample), EPOCH), len(sample)]
        for start, end in pairwise(ends):
            each = pairs * end // len(sample) - pairs * start // len(sample)
            part = sample.slice(start, end)
            self._trained += len(part)
            self._training.append(self._executor.submit(partial(self._learner.observe, part, each)))

    def decide(self, stream: Iterable[C]) -> Iterator[tuple[C, Decisions]]:
        """Decide every chunk, in order, with decisions aligned to its pairs.

        Raises:
            TargetError: no version is pinned and the target is empty.
        """
        for chunk in stream:
            yield from self.push(chunk)
        yield from self.finish()

    def push(self, chunk: C) -> Iterator[tuple[C, Decisions]]:
        """Take the next chunk and decide what can be decided: nothing while priming lasts, then all that was read for it.

        Priming lasts until `prime_pairs` pairs have been seen and the target is not empty, and ends with an epoch (or where a
        chunk ends at `prime_pairs` itself).

        Raises:
            TargetError: 256 MiB were read and the target is still empty, or nothing can be learned from it.
        """
        if not self.end and self._learner is not None and self._learner.target_size:
            self.check_target()
        self.end = chunk.end
        self._undecided.append((chunk, not self._priming))
        if self._priming:
            self._undecided_bytes += chunk.size
            self._fresh.append(chunk.pairs.batch)
            if self.end % EPOCH == 0 or self.end == self._prime_pairs:
                self._train()
                self._priming = not self._primed
        yield from self._decide()

    def finish(self) -> Iterator[tuple[C, Decisions]]:
        """End the stream: decide what still waits, learn what was decided.

        Raises:
            TargetError: as for `decide`.
        """
        if self._priming:
            self._train()
            self._priming = False
        if self.model is None:
            self.publish()
        yield from self._decide()
        self._train()
        self._wait()

    def publish(self) -> None:
        """Make a version of all that was learned so far; it takes force with the next epoch.

        Raises:
            TargetError: the target is empty.
        """
        if self._learner is not None:
            self._wait()
            self.model = self._learner.publish()
            self.versions += 1

    def enter_epoch(self) -> None:
        """Enter the epoch of the next pair before it comes: asking what would become of it must change nothing."""
        epoch = self.ledger.next_offset // EPOCH
        if not self._priming and epoch != self.ledger.epoch:
            self.ledger.begin_epoch(epoch, self._current())

    def margin(self, source: str, target: str) -> float:
        """By how much a pair would pass if it came now; see `Selector.margin`. Minus infinity before the first version."""
        model = self.ledger.model
        return -np.inf if model is None else self._selector.margin(source, target, self.ledger, model)

    def summary(self) -> dict[str, Any]:
        """What the ledger says, and of the target what the model in force does: `target_pairs`, `target_left_out`."""
        model = self.model
        said = (
            {}
            if model is None
            else {"target_pairs": model.target_pairs, "target_left_out": model.target_left_out}
        )
        return self.ledger.summary() | said

    @property
    def _primed(self) -> bool:
        assert self._learner is not None  # noqa: S101  # else there is no priming
        enough = self._trained >= self._prime_pairs and self._learner.target_size > 0
        return enough or self._undecided_bytes >= _PRIMING_BYTES

    def _decide(self) -> Iterator[tuple[C, Decisions]]:
        while self._undecided and not self._priming:
            chunk, fresh = self._undecided.popleft()
            decisions = self._decisions(chunk)
            if self._learner is not None:
                batch = chunk.pairs.batch
                self._accepted.append(batch.take(np.flatnonzero(decisions.accepted)))
                if fresh:
                    self._fresh.append(self._unsampled(batch))
                if chunk.end % EPOCH == 0:
                    self._train()
            yield chunk, decisions

    def _decisions(self, chunk: C) -> Decisions:
        """What the journal holds of a chunk, else what the selector says."""
        model, start = self._current(), self.ledger.next_offset
        if (block := self._journal.recall("decisions", start)) is not None:
            if block.header["model"] != model.digest:
                raise IntegrityError("what was decided before was decided by another Model: begin anew")
            columns = dict(block.arrays)
            self.ledger.apply(columns.pop("ledger").tobytes())
            if self.ledger.model_version == model.version:
                self.ledger.bind(model)
            return Decisions(positions=chunk.pairs.batch.positions, **columns)
        matches = None if self._matches is None else self._matches(chunk)
        decisions = self._selector.decide(chunk.pairs, self.ledger, model, matches)
        if self.ledger.next_offset < chunk.end:
            self.ledger.skip(chunk.end - 1)
        if self._journal is not NO_JOURNAL:
            columns = {name: getattr(decisions, name) for name in Decisions.__slots__ if name != "positions"}
            columns["ledger"] = np.frombuffer(self.ledger.delta(), np.uint8)
            self._journal.record("decisions", start, columns, {"model": model.digest})
        return decisions

    def _unsampled(self, batch: PairBatch) -> PairBatch:
        """Those that did not prime it; few that did stand among a chunk's."""
        positions = batch.positions
        low, high = (
            np.searchsorted(self._sampled, (positions[0], positions[-1] + 1)) if len(batch) else (0, 0)
        )
        if low == high:
            return batch
        return batch.take(np.flatnonzero(~np.isin(positions, self._sampled[low:high])))

    def _current(self) -> Model:
        """The version to put in force at the next epoch's start: a new one where one is due."""
        if self._learner is not None and self._trained >= self._learner.next_version:
            self.publish()
        assert self.model is not None  # noqa: S101  # pinned, or just published
        return self.model

    def _train(self) -> None:
        """Give the learner what has come since the last minibatch."""
        if self._learner is None or not (self._accepted or self._fresh):
            return
        accepted, fresh = PairBatch.concatenate(self._accepted), PairBatch.concatenate(self._fresh)
        self._accepted, self._fresh = [], []
        self._trained += len(fresh)
        self._training.append(self._executor.submit(partial(_learn, self._learner, accepted, fresh)))
        while self._training and self._training[0].done():
            self._training.popleft().result()

    def _wait(self) -> None:
        """Let all minibatches end: what a version knows must not depend on how fast they are."""
        while self._training:
            self._training.popleft().result()


def _learn(learner: Learner, accepted: PairBatch, fresh: PairBatch) -> None:
    learner.observe_accepted(accepted)
    learner.observe(fresh)
