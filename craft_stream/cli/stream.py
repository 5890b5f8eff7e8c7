"""One pass over a stream: prime on its head, then decide, and publish a version where one is due.

Blocks are learned from in a thread beside, in their order; a version waits for all before it, so decisions are those of one
thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import SerialExecutor
from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.learning.learner import Learner
from craft_stream.ports.messages import Message, size
from craft_stream.reading.decoding import mask, pair, read_pairs
from craft_stream.reading.records import Pair, Refusal
from craft_stream.scoring.model import Model
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import RecordSettings, Settings
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Blocks of one epoch: a version published after a block is in force from the next one on.
BLOCK = 1024
# A message beside its value: an empty line takes memory too.
_MESSAGE_BYTES = 200
# Priming keeps the head of the stream in memory; sentences take ~200 bytes, so this cuts only absurd input.
_PRIMING_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive messages, decoded and read.

    Attributes:
        messages: as they came.
        rows: int64 [pairs], index in `messages` of each pair.
        refused: (index in `messages`, why) of what could not be decoded.
        texts: the pairs, at their positions in the stream.
        end: position in the stream after the last message.
        fields: where the sides and the id stand.
    """

    messages: Sequence[Message]
    rows: NDArray[np.int64]
    refused: list[tuple[int, Refusal]]
    texts: TokenizedPairs
    end: int
    fields: RecordSettings

    @classmethod
    def decode(cls, messages: Sequence[Message], start: int, fields: RecordSettings) -> Block:
        """Decode messages, the first of which stands at `start` in the stream."""
        end = start + len(messages)
        batch, rows, refused = read_pairs(messages, np.arange(start, end), fields)
        return cls(messages, rows, refused, TokenizedPairs.of(batch), end, fields)

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _MESSAGE_BYTES * len(self.messages) + size(self.messages)

    @property
    def pairs(self) -> list[Pair]:
        """The pairs with their ids, decoded one by one."""
        return [pair(self.messages[row], self.fields) for row in self.rows.tolist()]


def blocks(messages: Iterable[Sequence[Message]], fields: RecordSettings) -> Iterator[Block]:
    """Decode runs of at most `BLOCK` messages; positions count all messages, whatever file they come from."""
    start = 0
    for run in messages:
        yield Block.decode(run, start, fields)
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

    def observe_target(self, block: Block) -> None:
        """Add pairs of the target; without effect where a version is pinned."""
        if self._learner is not None:
            self._learner.observe_target([pair.id for pair in block.pairs], block.texts.batch)

    def decide(self, stream: Iterable[Block]) -> Iterator[tuple[Block, Decisions]]:
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
            listed = None if self._listed is None else self._mask(self._listed, block)
            decisions = self._selector.decide(block.texts, self.ledger, self.model, listed)
            if self.ledger.next_offset < block.end:
                self.ledger.skip(block.end - 1)
            yield block, decisions
            if self._learner is not None:
                fresh = number >= primed
                self._observed += len(block.texts) if fresh else 0
                lesson = partial(self._learn, self._learner, block.texts.batch, decisions.accepted, fresh)
                lessons.append(executor.submit(lesson))
        _join(lessons)

    @staticmethod
    def _learn(learner: Learner, batch: PairBatch, accepted: NDArray[np.bool_], fresh: bool) -> None:
        """Learn from a block; what primed the learner, and so is not fresh, only for what was accepted of it."""
        learner.observe_accepted(batch.take(np.flatnonzero(accepted)))
        if fresh:
            learner.observe(batch)

    @staticmethod
    def _mask(listed: Blocklist, block: Block) -> NDArray[np.bool_]:
        return mask(listed, block.texts.batch, lambda: block.pairs)

    def _prime(self, stream: Iterator[Block]) -> list[Block]:
        """Read ahead and learn from what will be decided afterwards."""
        head: list[Block] = []
        if self._learner is None:
            return head
        size = 0
        while self._learner.pairs_seen < self._learning.prime_pairs and size < _PRIMING_BYTES:
            block = next(stream, None)
            if block is None:
                break
            self._learner.observe(block.texts.batch)
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


def _drain(head: list[Block]) -> Iterator[Block]:
    """The blocks of the head, each forgotten as it is handed on."""
    head.reverse()
    while head:
        yield head.pop()
