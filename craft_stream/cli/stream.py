"""One pass over a stream: prime on its head, then decide, and publish a version where one is due.

Blocks are learned from in a thread beside, in their order; a version waits for all before it, so decisions are those of one
thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import SerialExecutor
from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.learning.learner import Learner
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import RecordSettings, Settings
from craft_stream.text.batch import PairBatch

# Blocks of one epoch: a version published after a block is in force from the next one on.
BLOCK = 1024
# Priming keeps the head of the stream in memory; sentences take ~200 bytes, so this cuts only absurd input.
_PRIMING_BYTES = 1 << 28


def blocks(messages: Iterable[Sequence[Message]], fields: RecordSettings) -> Iterator[Chunk]:
    """Read runs of at most `BLOCK` messages; positions count all messages, whatever file they come from."""
    start = 0
    for run in messages:
        yield Chunk.read(run, fields, start)
        start += len(run)


def load_model(path: Path) -> Model:
    """A version that was kept in a file.

    Raises:
        DataError: the file cannot be read.
        IntegrityError: it holds no Model, a damaged one, or one of a newer format.
    """
    try:
        return Model.decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the model {path}: {error.strerror}") from None


class Pass:
    """Learner and selector over one stream.

    Args:
        settings: its parameters and encoder are used.
        model: a pinned version; None: learn while deciding.
        listed: what must not be accepted.

    Attributes:
        model: the version in force.
        ledger: what was decided.
    """

    def __init__(
        self, settings: Settings, model: Model | None = None, listed: Blocklist | None = None
    ) -> None:
        parameters = settings.parameters()
        encoder = load_encoder(settings.encoder.kind, **settings.encoder.options)
        self.model = model
        self._listed = listed
        self._learning = parameters.learning
        self._selector = Selector(parameters, encoder)
        self.ledger = Ledger(self._selector.parameters)
        self._learner = Learner(parameters, encoder, SerialExecutor("beside")) if model is None else None
        self._observed = 0  # pairs that the learner has been given, or will have been by the next version

    def observe_target(self, block: Chunk) -> None:
        """Add pairs of the target; without effect where a version is pinned."""
        if self._learner is not None:
            self._learner.observe_target(block.identifiers(), block.pairs.batch)

    def decide(self, stream: Iterable[Chunk]) -> Iterator[tuple[Chunk, Decisions]]:
        """Decide every block, in order, with decisions aligned to its `pairs`.

        Raises:
            TargetError: nothing was pinned and the target is empty.
        """
        stream = iter(stream)
        head = self._prime(stream)
        primed = len(head)
        executor = SerialExecutor("learn")
        lessons: list[Future[None]] = []
        for number, block in enumerate(chain(_drain(head), stream)):
            if self._learner is not None and self._observed >= self._learner.next_version:
                _join(lessons)
                self._publish(self._learner)
            assert self.model is not None  # noqa: S101  # primed, or pinned
            listed = None if self._listed is None else self._listed.matches(block.pairs.batch, block.origins)
            decisions = self._selector.decide(block.pairs, self.ledger, self.model, listed)
            if self.ledger.next_offset < block.end:
                self.ledger.skip(block.end - 1)
            yield block, decisions
            if self._learner is not None:
                fresh = number >= primed
                self._observed += len(block.pairs) if fresh else 0
                lesson = partial(self._learn, self._learner, block.pairs.batch, decisions.accepted, fresh)
                lessons.append(executor.submit(lesson))
        _join(lessons)

    @staticmethod
    def _learn(learner: Learner, batch: PairBatch, accepted: NDArray[np.bool_], fresh: bool) -> None:
        """Learn from a block; what primed the learner, and so is not fresh, only for what was accepted of it."""
        learner.observe_accepted(batch.take(np.flatnonzero(accepted)))
        if fresh:
            learner.observe(batch)

    def _prime(self, stream: Iterator[Chunk]) -> list[Chunk]:
        """Read ahead and learn from what will be decided afterwards."""
        head: list[Chunk] = []
        if self._learner is None:
            return head
        size = 0
        while self._learner.pairs_seen < self._learning.prime_pairs and size < _PRIMING_BYTES:
            block = next(stream, None)
            if block is None:
                break
            self._learner.observe(block.pairs.batch)
            head.append(block)
            size += block.size
        self._observed = self._learner.pairs_seen
        self._publish(self._learner)
        return head

    def _publish(self, learner: Learner) -> None:
        self.model = learner.publish()


def _join(lessons: list[Future[None]]) -> None:
    """Wait for all of them; raises what one of them raised."""
    for lesson in lessons:
        lesson.result()
    lessons.clear()


def _drain(head: list[Chunk]) -> Iterator[Chunk]:
    """The blocks of the head, each forgotten as it is handed on."""
    head.reverse()
    while head:
        yield head.pop()
