"""Decides batches of partitions: the first half of a transaction.

Runs a transaction ahead of the `Committer`, in a thread of its own: while one is written and committed, the next is
decided on the ledgers that it will leave behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import CraftError, DataError
from craft_stream.model import Model
from craft_stream.runtime.decoding import Decoded, decode_messages, mask
from craft_stream.runtime.ledger_log import Due
from craft_stream.runtime.observer import Observer, Stage
from craft_stream.runtime.partition import Partition
from craft_stream.runtime.policy import DeadLetter
from craft_stream.runtime.ports import Message
from craft_stream.runtime.transport import TransactionError
from craft_stream.scoring.embedding import EmbeddingError
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.listed import Listed
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch

Batch = tuple[Partition, Sequence[Message]]  # messages of a partition, in the order of its log

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one partition in a transaction: all that is to be written, and told when it is committed.

    Attributes:
        partition: as it was decided on; by the time that this is committed its ledger may be ahead.
        decoded: its messages and pairs.
        decisions: on the pairs.
        dead: what could not be decided.
        kept: bool [pairs], rejected ones whose decisions are written down.
        changes: (offset, version) wherever another Model came into force.
        due: to the ledger topic.
        next_offset: of the input, after it.
        summary: `Ledger.summary()` after it.
    """

    partition: Partition
    decoded: Decoded
    decisions: Decisions
    dead: list[DeadLetter]
    kept: NDArray[np.bool_]
    changes: list[tuple[int, int]]
    due: Due
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
        self, settings: Settings, selector: Selector, observer: Observer, listed: Listed | None = None
    ) -> None:
        self.careful: dict[int, int] = {}
        self._settings, self._selector, self._observer, self._listed = settings, selector, observer, listed

    def warm_up(self, model: Model) -> None:
        """Decide a pair that counts for nothing: compiled kernels are loaded before a partition waits for them (0.3 s)."""
        alone = PairBatch.pack(["a"], ["b"], [0])
        try:
            self._selector.decide(alone, Ledger(self._selector.parameters), model)
        except Exception as error:  # it will fail again on a record, where a policy says what to do
            log.warning("the selector fails on a made-up pair: %s: %s", type(error).__name__, error)

    def decide(self, batches: Mapping[int, Batch], model: Model) -> Decided:
        """Decide messages of several partitions, whose ledgers change by that.

        Raises:
            TransactionError: nothing of it counts; restore these partitions.
            DataError: a record met the policy "fail".
        """
        began = time.monotonic()
        outcomes = {
            number: self._decide(number, partition, messages, model)
            for number, (partition, messages) in batches.items()
        }
        records = sum(len(messages) for _, messages in batches.values())
        return Decided(outcomes, records, time.monotonic() - began)

    def _decide(
        self, number: int, partition: Partition, messages: Sequence[Message], model: Model
    ) -> Outcome:
        policies = self._settings.errors.policies
        ledger = partition.ledger
        began = time.monotonic()
        decoded = decode_messages(messages, self._settings.record, policies.decode)
        dead = list(decoded.dead)
        if messages[0].offset <= self.careful.get(number, -1):
            decoded, failed = self._sift(decoded, ledger.twin(), model)
            dead += failed
        middle = time.monotonic()
        self._observer.stage(Stage.DECODE, middle - began, len(messages))
        batch = decoded.batch
        try:
            listed = None if self._listed is None else mask(self._listed, batch, lambda: decoded.pairs)
            decisions = self._selector.decide(batch, ledger, model, listed)
        except CraftError:
            raise
        except Exception as error:
            stage = failed_stage(error)
            if policies.of(stage) == "fail":
                raise DataError(
                    f"{messages[0].topic}/{number}, offsets {messages[0].offset} to {messages[-1].offset}: the "
                    f"selector failed ({type(error).__name__}: {error}); errors.policies.{stage} says to stop"
                ) from error
            self.careful[number] = messages[-1].offset
            raise TransactionError(f"the selector failed: {type(error).__name__}: {error}") from error
        if decoded.last_offset >= ledger.next_offset:
            ledger.skip(decoded.last_offset)
        self._observer.stage(Stage.DECIDE, time.monotonic() - middle, len(batch))
        rejected = ~decisions.accepted
        kept = rejected & sampled(batch.positions, number, self._settings.decisions.rejected_sample)
        changes = model_changes(decisions, partition.writer.model_version)
        due = partition.writer.due(ledger, changes, self._settings.ledger, int(1000 * time.time()))
        return Outcome(
            partition,
            decoded,
            decisions,
            dead,
            kept,
            changes,
            due,
            ledger.next_offset,
            ledger.summary(),
        )

    def _sift(self, decoded: Decoded, ledger: Ledger, model: Model) -> tuple[Decoded, list[DeadLetter]]:
        """Try pair by pair on a ledger that counts for nothing, and take out those that the engine fails on."""
        rows, failed = [], []
        for row, message in enumerate(decoded.messages):
            try:
                self._selector.decide(decoded.batch.slice(row, row + 1), ledger, model)
            except Exception as error:  # whatever it is, this record causes it
                failed.append(DeadLetter(message, failed_stage(error), type(error).__name__, str(error)))
                continue
            rows.append(row)
        return decoded.take(rows), failed


def failed_stage(error: Exception) -> Stage:
    """Where a pair failed on which the selector raised `error`."""
    return Stage.EMBED if isinstance(error, EmbeddingError) else Stage.DECIDE


def model_changes(decisions: Decisions, before: int) -> list[tuple[int, int]]:
    """(offset, version) wherever another Model came into force; `before` was in force before the first."""
    versions = np.concatenate([[before], decisions.model_version])
    rows = np.flatnonzero(np.diff(versions))
    return [(int(decisions.positions[row]), int(decisions.model_version[row])) for row in rows]


def sampled(positions: NDArray[np.int64], partition: int, share: float) -> NDArray[np.bool_]:
    """A share of the offsets, bool [n], by SplitMix64 of partition and offset: the same whenever asked."""
    if share >= 1:
        return np.ones(len(positions), np.bool_)
    with np.errstate(over="ignore"):
        z = positions.astype(np.uint64) + (np.uint64(partition + 1) << np.uint64(48))
        z = (z + np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) < np.uint64(share * (1 << 53)), np.bool_)
