"""Decides batches of partitions: the first half of a transaction.

Runs a transaction ahead of the `Committer`, in a thread of its own: while one is written and committed, the next is
decided on the ledgers that it will leave behind. Reading, which asks no ledger, goes on in another thread beside deciding.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import prefetch
from craft_stream.errors import CraftError, DataError
from craft_stream.events import Observer, Stage
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import TransactionError
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.embedding import EmbeddingError
from craft_stream.scoring.model import Model
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch
from craft_stream.text.hashing import GOLDEN, finish
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.ledger_writer import PendingWrites
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.topics.settings_in_force import SettingsInForce
from craft_stream.writing.dead_letters import DeadLetter, refused

Batch = tuple[PartitionLedger, Sequence[Message]]  # messages of a partition, in the order of its log

# Messages that are read at a time, and parts that may be read before they are decided.
_PART = 2048
_AHEAD = 4

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """Messages that were read and decided together.

    Attributes:
        chunk: the messages and their pairs.
        decisions: on the pairs.
        kept: bool [pairs], rejected ones whose decisions are written down.
    """

    chunk: Chunk
    decisions: Decisions
    kept: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one partition in a transaction: all that is to be written, and told when it is committed.

    Attributes:
        ledger: as it was decided on; by the time that this is committed it may be ahead.
        parts: its messages, in the order of the log.
        decisions: on the pairs of all parts.
        dead: messages that hold no pair, or one that cannot be decided.
        changes: (offset, version) wherever another Model came into force.
        pending: what is to be written to the ledger topic.
        next_offset: of the input, after it.
        summary: `Ledger.summary()` after it.
    """

    ledger: PartitionLedger
    parts: Sequence[Part]
    decisions: Decisions
    dead: Sequence[DeadLetter]
    changes: list[tuple[int, int]]
    pending: PendingWrites
    next_offset: int
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decided:
    """A transaction that is to be committed.

    Attributes:
        outcomes: by partition.
        records: messages, dead letters included.
        seconds: that deciding took.
    """

    outcomes: Mapping[int, Outcome]
    records: int
    seconds: float

    @property
    def dead(self) -> int:
        """Messages that could not be decided."""
        return sum(len(outcome.dead) for outcome in self.outcomes.values())


class Decider:
    """Turns messages into decisions, and ledgers into what they are after them.

    Attributes:
        careful: by partition, the last offset of the batch that the engine failed on: up to there pairs are tried one
            by one. A batch behind it may be decided before that one is read again, so none that succeeds ends it.
    """

    def __init__(
        self, settings: Settings, selector: Selector, observer: Observer, listed: Blocklist | None = None
    ) -> None:
        self.careful: dict[int, int] = {}
        self._settings, self._selector, self._observer, self._listed = settings, selector, observer, listed

    def warm_up(self, model: Model) -> None:
        """Decide a pair that counts for nothing: compiled kernels are loaded before a partition waits for them (0.3 s)."""
        fields = self._settings.record
        record = json.dumps({fields.source_field: "a", fields.target_field: "b"}).encode()
        try:
            pairs = Chunk.read(
                [Message(record, 0)], fields
            ).pairs  # with the signals that a record's pair has
            self._selector.decide(pairs, Ledger(self._selector.parameters), model)
        except Exception as error:  # it will fail again on a record, where a policy says what to do
            log.warning("the selector fails on a made-up pair: %s: %s", type(error).__name__, error)

    def decide(
        self, batches: Mapping[int, Batch], model: Model, parameters: Parameters | None = None
    ) -> Decided:
        """Decide messages of several partitions, whose ledgers change by that.

        Args:
            batches: by partition.
            model: to be put in force at the next epoch's start.
            parameters: likewise; a ledger under a later version of them keeps that. None: all keep theirs.

        Raises:
            TransactionError: nothing of it counts; restore these partitions.
            DataError: a record met the policy "fail".
        """
        began = time.monotonic()
        outcomes = {
            number: self._decide(number, ledger, messages, model, parameters)
            for number, (ledger, messages) in batches.items()
        }
        records = sum(len(messages) for _, messages in batches.values())
        return Decided(outcomes, records, time.monotonic() - began)

    def explain(self, source: str, target: str, ledger: Ledger, model: Model) -> dict[str, Any]:
        """What would become of a pair if it came now, see `Selector.explain`; for the thread that decides on this ledger."""
        pairs = TokenizedPairs.of(PairBatch.pack([source], [target]))
        blocked = self._listed is not None and bool(self._listed.matches(pairs, lambda: [("", ())])[0])
        return self._selector.explain(source, target, ledger, model, blocked=blocked)

    def _decide(
        self,
        number: int,
        restored: PartitionLedger,
        messages: Sequence[Message],
        model: Model,
        parameters: Parameters | None,
    ) -> Outcome:
        ledger = restored.ledger
        before = ledger.parameters
        if parameters is not None and parameters.version < before.version:
            parameters = None  # another worker knew of newer ones before this one did
        careful = messages[0].offset <= self.careful.get(number, -1)
        share = self._settings.decisions.rejected_sample
        parts: list[Part] = []
        dead: list[DeadLetter] = []
        try:
            read = self._sift(messages, ledger.copy(), model, parameters) if careful else self._read(messages)
            with closing(read):
                for chunk, failed in read:
                    began = time.monotonic()
                    listed = (
                        None if self._listed is None else self._listed.matches(chunk.pairs, chunk.origins)
                    )
                    decisions = self._selector.decide(chunk.pairs, ledger, model, listed, parameters)
                    if ledger.next_offset < chunk.end:
                        ledger.skip(chunk.end - 1)
                    kept = ~decisions.accepted & sampled(decisions.positions, number, share)
                    parts.append(Part(chunk, decisions, kept))
                    dead += [*refused(chunk), *failed]
                    self._observer.stage(Stage.DECIDE, time.monotonic() - began, len(chunk.pairs))
        except CraftError:
            raise
        except Exception as error:
            stage = failed_stage(error)
            if self._settings.errors.policies.of(stage) == "fail":
                raise DataError(
                    f"{messages[0].topic}/{number}, offsets {messages[0].offset} to {messages[-1].offset}: the "
                    f"selector failed ({type(error).__name__}: {error}); errors.policies.{stage} says to stop"
                ) from error
            self.careful[number] = messages[-1].offset
            raise TransactionError(f"the selector failed: {type(error).__name__}: {error}") from error
        decisions = Decisions.concatenate([part.decisions for part in parts])
        changes = model_changes(decisions, restored.writer.model_version)
        pending = restored.writer.write(
            ledger,
            changes,
            self._settings.ledger,
            int(1000 * time.time()),
            settings_changes(
                decisions,
                before,
                ledger.parameters,
                restored.writer.in_force,
                self._selector.parameters.listed,
            ),
        )
        return Outcome(
            restored, parts, decisions, dead, changes, pending, ledger.next_offset, ledger.summary()
        )

    def _read(self, messages: Sequence[Message]) -> Generator[tuple[Chunk, Sequence[DeadLetter]]]:
        """Read messages; of many, parts ahead of what is being decided."""
        parts = [messages[at : at + _PART] for at in range(0, len(messages), _PART)]
        read = map(self._read_part, parts)
        yield from prefetch(read, lambda _: 1, _AHEAD) if len(parts) > 1 else read

    def _read_part(self, messages: Sequence[Message]) -> tuple[Chunk, Sequence[DeadLetter]]:
        began = time.monotonic()
        chunk = Chunk.read(messages, self._settings.record)
        if chunk.refused and self._settings.errors.policies.decode == "fail":
            row, (_, text) = chunk.refused[0]
            raise DataError(f"{messages[row].location}: {text}; errors.policies.decode says to stop")
        self._observer.stage(Stage.DECODE, time.monotonic() - began, len(messages))
        for signal, pairs in chunk.unknown_signals.items():
            self._observer.signal_unknown(signal, pairs)
        return chunk, ()

    def _sift(
        self, messages: Sequence[Message], ledger: Ledger, model: Model, parameters: Parameters | None
    ) -> Generator[tuple[Chunk, Sequence[DeadLetter]]]:
        """The same with those pairs taken out that the engine fails on, one by one on a ledger that counts for nothing."""
        chunk, _ = self._read_part(messages)
        failed: dict[int, DeadLetter] = {}
        for pair in range(len(chunk.pairs)):
            try:
                self._selector.decide(chunk.pairs.slice(pair, pair + 1), ledger, model, parameters=parameters)
            except Exception as error:  # whatever it is, this record causes it
                failed[pair] = DeadLetter(
                    chunk.message(pair), failed_stage(error), type(error).__name__, str(error)
                )
        yield chunk.without(failed), list(failed.values())


def failed_stage(error: Exception) -> Stage:
    """Where a pair failed on which the selector raised `error`."""
    return Stage.EMBED if isinstance(error, EmbeddingError) else Stage.DECIDE


def model_changes(decisions: Decisions, before: int) -> list[tuple[int, int]]:
    """(offset, version) wherever another Model came into force; `before` was in force before the first."""
    versions = np.concatenate([[before], decisions.model_version])
    rows = np.flatnonzero(np.diff(versions))
    return [(int(decisions.positions[row]), int(decisions.model_version[row])) for row in rows]


def settings_changes(
    decisions: Decisions, before: Parameters, after: Parameters, known: SettingsInForce | None, listed: str
) -> list[tuple[int, SettingsInForce]]:
    """(offset, settings) wherever other settings or lists were in force than those `known`, or this release is another.

    Args:
        decisions: of a transaction, in which settings change once at most.
        before, after: in force before and after it.
        known: what the ledger topic says of decisions before.
        listed: digest of the lists.
    """
    if not len(decisions):
        return []
    versions = np.stack([decisions.settings_version.astype(np.uint64), decisions.parameters])
    others = np.flatnonzero((versions != versions[:, -1:]).any(axis=0))
    row = int(others[-1]) + 1 if len(others) else 0
    found = []
    for at, parameters in ((0, before), (row, after)) if row else ((0, after),):
        chosen = SettingsInForce(parameters, listed=listed)
        if chosen != known:
            found.append((int(decisions.positions[at]), chosen))
            known = chosen
    return found


def sampled(positions: NDArray[np.int64], partition: int, share: float) -> NDArray[np.bool_]:
    """A share of the offsets, bool [n], by SplitMix64 of partition and offset: the same whenever asked."""
    if share >= 1:
        return np.ones(len(positions), np.bool_)
    z = finish(positions.astype(np.uint64) + (np.uint64(partition + 1) << np.uint64(48)) + GOLDEN)
    return np.asarray((z >> np.uint64(11)) < np.uint64(share * (1 << 53)), np.bool_)
