"""Decides batches of partitions and commits everything that follows from it in one transaction.

Runs in the work lane. What it holds of a partition is right only as long as every transaction commits: after
any failure the partitions of that transaction are dropped here and restored from the ledger topic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import CraftError, DataError
from craft_stream.model import Model
from craft_stream.records import decision_lines
from craft_stream.runtime.decoding import Decoded, decode_messages, location, mask
from craft_stream.runtime.ledger_log import Entry, Kind, LedgerWriter
from craft_stream.runtime.model_log import MANIFESTS, use_key, use_value
from craft_stream.runtime.observer import Observer, Stage, TransactionResult
from craft_stream.runtime.policy import DeadLetter
from craft_stream.runtime.ports import Message
from craft_stream.runtime.transport import (
    Group,
    Output,
    Position,
    Receipt,
    Record,
    TransactionError,
    Transport,
)
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.listed import Listed
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Partition:
    """A restored input partition."""

    ledger: Ledger
    writer: LedgerWriter


@dataclass(slots=True)
class Outcome:
    """Of one partition in a transaction.

    Attributes:
        decoded: its messages.
        batch: the pairs that were decided.
        decisions: on them.
        dead: what could not be decided.
        kept: bool [pairs], rejected ones whose decisions are written down.
        sizes: bytes written to the ledger topic by kind.
    """

    decoded: Decoded
    batch: PairBatch
    decisions: Decisions
    dead: list[DeadLetter]
    kept: NDArray[np.bool_]
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Processed:
    """A transaction that is committed."""

    outcomes: Mapping[int, Outcome]
    records: int
    dead: int


class Processor:
    """Holds the partitions' ledgers and the worker's output.

    Attributes:
        partitions: those that are restored; changed only while no job runs.
        careful: partitions whose last batch the engine failed on: pairs are tried one by one there.
        transaction_since: when the transaction under way began, by the monotonic clock; None without one.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        selector: Selector,
        observer: Observer,
        listed: Listed | None = None,
    ) -> None:
        self.partitions: dict[int, Partition] = {}
        self.careful: set[int] = set()
        self.transaction_since: float | None = None
        self._settings = settings
        self._transport = transport
        self._selector = selector
        self._listed = listed
        self._observer = observer
        self._digest = selector.parameters.digest
        self._output: Output | None = None
        self._widths: dict[str, int] = {}

    def open(self) -> None:
        """Make the output; a predecessor's unfinished transaction ends with that. Before the first poll."""
        kafka = self._settings.kafka
        reader = self._transport.reader()
        try:
            for topic in (kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic):
                self._widths[topic] = len(reader.partitions(topic))
        finally:
            reader.close()
        self._output = self._transport.output("worker")

    def warm_up(self, model: Model) -> None:
        """Decide a pair that counts for nothing: compiled kernels are loaded before a partition waits for them (0.3 s)."""
        alone = PairBatch.pack(["a"], ["b"], [0])
        try:
            self._selector.decide(alone, Ledger(self._selector.parameters), model)
        except Exception as error:  # it will fail again on a record, where a policy says what to do
            log.warning("the selector fails on a made-up pair: %s: %s", type(error).__name__, error)

    def close(self) -> None:
        """Release the output."""
        if self._output is not None:
            self._output.close()
            self._output = None

    def recover(self) -> None:
        """After a failed transaction: start again with a new output, which ends that transaction."""
        self.close()
        self._output = self._transport.output("worker")
        self._observer.recovered()

    def process(self, batches: Mapping[int, Sequence[Message]], model: Model, group: Group) -> Processed:
        """Decide and commit messages of several partitions.

        Raises:
            TransactionError: nothing of it counts; drop these partitions, `recover`, restore.
            DataError: a record met the policy "fail".
        """
        decided = {partition: self._decide(partition, batch, model) for partition, batch in batches.items()}
        records = sum(len(batch) for batch in batches.values())
        began = self.transaction_since = time.monotonic()
        result = TransactionResult.FAILED
        try:
            self._write(decided, group)
            result = TransactionResult.COMMITTED
        except TransactionError as error:
            result = TransactionResult.FENCED if error.fenced else TransactionResult.ABORTED
            raise
        finally:
            self.transaction_since = None
            if result is not TransactionResult.COMMITTED:
                for partition, outcome in decided.items():
                    if "whole" in outcome.sizes:
                        self._observer.snapshot_failed(partition)
            self._observer.transaction(result, time.monotonic() - began, records)
        self.careful.difference_update(batches)
        dead = sum(len(outcome.dead) for outcome in decided.values())
        return Processed(decided, records, dead)

    def _decide(self, partition: int, messages: Sequence[Message], model: Model) -> Outcome:
        policies = self._settings.errors.policies
        ledger = self.partitions[partition].ledger
        began = time.monotonic()
        decoded = decode_messages(messages, self._settings.record, policies.decode)
        dead = list(decoded.dead)
        if partition in self.careful:
            decoded, failed = self._sift(decoded, model)
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
            if policies.decide == "fail":
                raise DataError(
                    f"{messages[0].topic}/{partition}, offsets {messages[0].offset} to {messages[-1].offset}: the "
                    f"selector failed ({type(error).__name__}: {error}); errors.policies.decide says to stop"
                ) from error
            self.careful.add(partition)
            raise TransactionError(f"the selector failed: {type(error).__name__}: {error}") from error
        if decoded.last_offset >= ledger.next_offset:
            ledger.skip(decoded.last_offset)
        self._observer.stage(Stage.DECIDE, time.monotonic() - middle, len(batch))
        rejected = ~decisions.accepted
        kept = rejected & sampled(batch.positions, partition, self._settings.decisions.rejected_sample)
        return Outcome(decoded, batch, decisions, dead, kept)

    def _sift(self, decoded: Decoded, model: Model) -> tuple[Decoded, list[DeadLetter]]:
        """Try each pair alone, on a ledger of its own, and take out those that the engine fails on."""
        rows, failed = [], []
        for row, message in enumerate(decoded.messages):
            try:
                self._selector.decide(
                    decoded.batch.slice(row, row + 1), Ledger(self._selector.parameters), model
                )
            except Exception as error:  # whatever it is, this record causes it
                failed.append(DeadLetter(message, Stage.DECIDE, type(error).__name__, str(error)))
                continue
            rows.append(row)
        return decoded.take(rows), failed

    def _write(self, decided: Mapping[int, Outcome], group: Group) -> None:
        output = self._output
        if output is None:
            raise TransactionError("there is no output")
        began = time.monotonic()
        output.begin()
        for partition, outcome in decided.items():
            self._send(output, partition, outcome)
        if self._settings.kafka.guarantee == "at_least_once":
            output.settle()  # a ledger that is ahead of what it says would lose records
        receipts = {
            partition: self._send_ledger(output, partition, outcome) for partition, outcome in decided.items()
        }
        output.settle()
        middle = time.monotonic()
        self._observer.stage(Stage.PRODUCE, middle - began, sum(len(o.batch) for o in decided.values()))
        offsets = {}
        for partition, written in receipts.items():
            held = self.partitions[partition]
            held.writer.written(held.ledger, [(entry, receipt.offset()) for entry, receipt in written])
            offsets[partition] = Position(held.ledger.next_offset, held.writer.hint)
        output.commit(offsets, group.claim(offsets))
        self._observer.stage(Stage.COMMIT, time.monotonic() - middle, len(offsets))

    def _send(self, output: Output, partition: int, outcome: Outcome) -> None:
        kafka = self._settings.kafka
        decisions, messages = outcome.decisions, outcome.decoded.messages
        written = np.flatnonzero(decisions.accepted | outcome.kept)
        identities = [location(messages[row]) for row in written.tolist()]
        accepted = accepted_records(messages, decisions, written, identities, self._digest)
        output.send_all(kafka.accepted_topic, partition % self._widths[kafka.accepted_topic], accepted)
        names = [outcome.decoded.pair(row).id for row in written.tolist()]
        lines = decision_lines(decisions, written, identities, names, self._digest)
        told = [Record(line, name.encode()) for line, name in zip(lines, identities, strict=True)]
        output.send_all(kafka.decisions_topic, partition % self._widths[kafka.decisions_topic], told)
        self._send_dead(output, partition, outcome.dead)

    def _send_dead(self, output: Output, partition: int, dead: Iterable[DeadLetter]) -> None:
        policies = self._settings.errors.policies
        topic = self._settings.kafka.dead_letter_topic
        records = []
        for letter in dead:
            policy = policies.decode if letter.stage is Stage.DECODE else policies.decide
            if policy == "dead-letter":
                message = letter.message
                # a record without value needs a key
                key = b"" if message.value is None and message.key is None else message.key
                records.append(Record(message.value, key, letter.headers()))
        output.send_all(topic, partition % self._widths[topic], records)

    def _send_ledger(self, output: Output, partition: int, outcome: Outcome) -> list[tuple[Entry, Receipt]]:
        held = self.partitions[partition]
        kafka = self._settings.kafka
        changes = model_changes(outcome.decisions, held.writer.model_version)
        for offset, version in changes:
            output.send(kafka.model_topic, MANIFESTS, use_value(offset), use_key(held.writer.prefix, version))
        written = []
        now_ms = int(1000 * time.time())
        for key, entry in held.writer.records(held.ledger, changes, self._settings.ledger, now_ms):
            value = None if entry is None else entry.encode()
            receipt = output.send(kafka.ledger_topic, partition, value, key)
            if entry is not None and value is not None:
                written.append((entry, receipt))
                kind = entry.kind.name.lower()
                outcome.sizes[kind] = outcome.sizes.get(kind, 0) + len(value)
                if entry.kind is Kind.WHOLE:
                    self._observer.snapshot(partition, held.writer.whole_seconds, len(value))
        return written


def accepted_records(
    messages: Sequence[Message],
    decisions: Decisions,
    rows: NDArray[np.int64],
    identities: Sequence[str],
    parameters: str,
) -> list[Record]:
    """Accepted messages of those at `rows` as they go to the training topic, with what was decided in their headers.

    Args:
        messages: of the decisions.
        decisions: on a batch.
        rows: int64 [n], ascending.
        identities: decision id of each of `rows`.
        parameters: digest of the parameters in force.
    """
    fixed = (
        ("craft-reason", Reason.ACCEPTED.label.encode()),
        ("craft-params", parameters.encode()),
    )
    columns = (decisions.accepted, decisions.score, decisions.cluster, decisions.model_version)
    records = []
    for row, identity, accepted, score, cluster, version in zip(
        rows.tolist(), identities, *(column[rows].tolist() for column in columns), strict=True
    ):
        if not accepted:
            continue
        message = messages[row]
        headers = [item for item in message.headers if not item[0].startswith("craft-")]
        headers += (
            ("craft-decision-id", identity.encode()),
            ("craft-score", repr(score).encode()),
            ("craft-cluster", str(cluster).encode()),
            ("craft-model-version", str(version).encode()),
            *fixed,
        )
        records.append(Record(message.value, message.key, headers))
    return records


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
