"""Writes and commits what was decided: the second half of a transaction.

Runs in a thread of its own. After any failure the partitions of that transaction, and of those decided after it, are
restored from the ledger topic.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from craft_stream.events import Observer, Stage, TransactionResult
from craft_stream.ports.transport import (
    Group,
    Output,
    Position,
    Receipt,
    TransactionError,
    Transport,
)
from craft_stream.settings import Settings
from craft_stream.topics.ledger_log import Entry, Kind
from craft_stream.topics.model_log import MANIFESTS, use_key, use_value
from craft_stream.worker.decider import Decided, Outcome
from craft_stream.writing.accepted import accepted_records
from craft_stream.writing.dead_letters import DeadLetter, dead_letter_records
from craft_stream.writing.decisions import decision_records


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that is committed.

    Attributes:
        decided: what it holds.
        ledger_bytes: written to the ledger topic, by partition and kind.
        seconds: that it took, deciding included.
    """

    decided: Decided
    ledger_bytes: Mapping[int, Mapping[str, int]]
    seconds: float


class Committer:
    """Holds the worker's output.

    Args:
        parameters: digest of those in force.

    Attributes:
        transaction_since: when the transaction under way began, by the monotonic clock; None without one.
    """

    def __init__(self, settings: Settings, transport: Transport, parameters: str, observer: Observer) -> None:
        self.transaction_since: float | None = None
        self._settings, self._transport, self._observer = settings, transport, observer
        self._digest = parameters
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

    def commit(self, decided: Decided, group: Group) -> Committed:
        """Write and commit a transaction.

        Raises:
            TransactionError: nothing of it counts; `recover`, and restore its partitions.
        """
        began = self.transaction_since = time.monotonic()
        result = TransactionResult.FAILED
        sizes: dict[int, dict[str, int]] = {}
        try:
            self._write(decided, group, sizes)
            result = TransactionResult.COMMITTED
        except TransactionError as error:
            result = TransactionResult.FENCED if error.fenced else TransactionResult.ABORTED
            raise
        finally:
            self.transaction_since = None
            if result is not TransactionResult.COMMITTED:
                for partition, kinds in sizes.items():
                    if "whole" in kinds:
                        self._observer.snapshot_failed(partition)
            self._observer.transaction(result, time.monotonic() - began, decided.records)
        return Committed(decided, sizes, decided.seconds + time.monotonic() - began)

    def _write(self, decided: Decided, group: Group, sizes: dict[int, dict[str, int]]) -> None:
        output = self._output
        if output is None:
            raise TransactionError("there is no output")
        outcomes = decided.outcomes
        began = time.monotonic()
        output.begin()
        for number, outcome in outcomes.items():
            self._send(output, number, outcome)
        if self._settings.kafka.guarantee == "at_least_once":
            output.settle()  # a ledger that is ahead of what it says would lose records
        receipts = {}
        for number, outcome in outcomes.items():
            receipts[number] = self._send_ledger(output, number, outcome, sizes.setdefault(number, {}))
        output.settle()
        middle = time.monotonic()
        self._observer.stage(Stage.PRODUCE, middle - began, sum(len(o.decisions) for o in outcomes.values()))
        offsets = {}
        for number, outcome in outcomes.items():
            places = outcome.partition.places
            entries = [(entry, receipt.offset()) for entry, receipt in receipts[number]]
            places.note(entries, outcome.due.first_page)
            offsets[number] = Position(outcome.next_offset, places.hint)
        output.commit(offsets, group.claim(offsets))
        self._observer.stage(Stage.COMMIT, time.monotonic() - middle, len(offsets))

    def _send(self, output: Output, number: int, outcome: Outcome) -> None:
        kafka = self._settings.kafka
        for chunk, decisions, kept in outcome.parts:
            accepted = accepted_records(chunk, decisions, self._digest)
            output.send_all(kafka.accepted_topic, number % self._widths[kafka.accepted_topic], accepted)
            told = decision_records(chunk, decisions, np.flatnonzero(decisions.accepted | kept), self._digest)
            output.send_all(kafka.decisions_topic, number % self._widths[kafka.decisions_topic], told)
        self._send_dead(output, number, outcome.dead)

    def _send_dead(self, output: Output, number: int, dead: Sequence[DeadLetter]) -> None:
        policies = self._settings.errors.policies
        topic = self._settings.kafka.dead_letter_topic
        stages = {stage for stage in {letter.stage for letter in dead} if policies.of(stage) == "dead-letter"}
        written = dead_letter_records([letter for letter in dead if letter.stage in stages])
        output.send_all(topic, number % self._widths[topic], written)

    def _send_ledger(
        self, output: Output, number: int, outcome: Outcome, sizes: dict[str, int]
    ) -> list[tuple[Entry, Receipt]]:
        """Send what is due to the ledger topic; entries with their receipts. Bytes by kind are added to `sizes`."""
        kafka, due, prefix = self._settings.kafka, outcome.due, outcome.partition.writer.prefix
        for offset, version in outcome.changes:
            output.send(kafka.model_topic, MANIFESTS, use_value(offset), use_key(prefix, version))
        sent = []
        for key, entry in due.records:
            value = None if entry is None else entry.encode()
            receipt = output.send(kafka.ledger_topic, number, value, key)
            if entry is not None and value is not None:
                sent.append((entry, receipt))
                kind = entry.kind.name.lower()
                sizes[kind] = sizes.get(kind, 0) + len(value)
                if entry.kind is Kind.WHOLE:
                    self._observer.snapshot(number, due.whole_seconds, len(value))
        return sent
