"""Writes and commits what was decided: the second step of a transaction, in a thread of its own."""

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
from craft_stream.topics.ledger_entries import Entry, Kind
from craft_stream.topics.ledger_index import restore_note
from craft_stream.topics.model_writer import write_use
from craft_stream.worker.decider import Decided, Outcome
from craft_stream.writing.accepted import accepted_records
from craft_stream.writing.dead_letters import DeadLetter, dead_letter_records
from craft_stream.writing.decisions import decision_records

NOTHING = Decided({}, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that is committed.

    Attributes:
        decided: what it holds.
        seconds: that it took, deciding included.
    """

    decided: Decided
    seconds: float


class Committer:
    """Holds the worker's output.

    Attributes:
        transaction_since: when the transaction under way began, by the monotonic clock; None without one.
    """

    def __init__(self, settings: Settings, transport: Transport, observer: Observer) -> None:
        self.transaction_since: float | None = None
        self._settings, self._transport, self._observer = settings, transport, observer
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
        try:
            self._commit(decided, group)
            result = TransactionResult.COMMITTED
        except TransactionError as error:
            result = TransactionResult.FENCED if error.fenced else TransactionResult.ABORTED
            raise
        finally:
            self.transaction_since = None
            if result is not TransactionResult.COMMITTED:
                for number, outcome in decided.outcomes.items():
                    if outcome.pending.snapshot is not None:
                        self._observer.snapshot_failed(number)
            self._observer.transaction(result, time.monotonic() - began, decided.records)
        return Committed(decided, decided.seconds + time.monotonic() - began)

    def put_right(self, offsets: Mapping[int, Position], group: Group) -> Committed:
        """Commit offsets that ledgers lead to already.

        Raises:
            TransactionError: nothing of it counts; `recover`.
        """
        if self._output is None:
            raise TransactionError("there is no output")
        self.transaction_since = time.monotonic()
        try:
            self._output.begin()
            self._output.commit(offsets, group.claim(offsets))
        finally:
            self.transaction_since = None
        return Committed(NOTHING, 0.0)

    def _commit(self, decided: Decided, group: Group) -> None:
        """The order in which nothing is lost and nothing counts twice."""
        output, outcomes, began = self._output, decided.outcomes, time.monotonic()
        if output is None:
            raise TransactionError("there is no output")
        # 1. Begin; what of an earlier transaction was not committed is gone.
        output.begin()
        # 2. Accepted records, decisions, dead letters.
        for number, outcome in outcomes.items():
            self._send(output, number, outcome)
        # 3. At least once, all of that is written before a ledger that says so: one that is ahead would lose records.
        if self._settings.kafka.guarantee == "at_least_once":
            output.flush()
        # 4. The ledgers after these decisions.
        sent = {number: self._send_ledger(output, number, outcome) for number, outcome in outcomes.items()}
        # 5. Everything is written: now it is known where the ledgers' records are.
        output.flush()
        written = time.monotonic()
        self._observer.stage(Stage.PRODUCE, written - began, sum(len(o.decisions) for o in outcomes.values()))
        # 6. With each offset goes the place from which its ledger is restored.
        offsets = {}
        for number, outcome in outcomes.items():
            index = outcome.ledger.index
            index.add(
                [(entry, receipt.offset()) for entry, receipt in sent[number]], outcome.pending.first_segment
            )
            offsets[number] = Position(outcome.next_offset, restore_note(index.restore_offset))
        # 7. Offsets and records together, if all these partitions are still ours.
        output.commit(offsets, group.claim(offsets))
        self._observer.stage(Stage.COMMIT, time.monotonic() - written, len(offsets))

    def _send(self, output: Output, number: int, outcome: Outcome) -> None:
        kafka = self._settings.kafka
        for chunk, decisions, kept in outcome.parts:
            accepted = accepted_records(chunk, decisions)
            output.send_all(kafka.accepted_topic, number % self._widths[kafka.accepted_topic], accepted)
            told = decision_records(chunk, decisions, np.flatnonzero(decisions.accepted | kept))
            output.send_all(kafka.decisions_topic, number % self._widths[kafka.decisions_topic], told)
        self._send_dead(output, number, outcome.dead)

    def _send_dead(self, output: Output, number: int, dead: Sequence[DeadLetter]) -> None:
        policies = self._settings.errors.policies
        topic = self._settings.kafka.dead_letter_topic
        stages = {stage for stage in {letter.stage for letter in dead} if policies.of(stage) == "dead-letter"}
        written = dead_letter_records([letter for letter in dead if letter.stage in stages])
        output.send_all(topic, number % self._widths[topic], written)

    def _send_ledger(self, output: Output, number: int, outcome: Outcome) -> list[tuple[Entry, Receipt]]:
        """Send what is pending for the ledger topic; its entries, with their receipts."""
        kafka, pending = self._settings.kafka, outcome.pending
        for offset, version in outcome.changes:
            write_use(output, kafka.model_topic, outcome.ledger.writer.prefix, version, offset)
        sent = []
        for key, entry in pending.records:
            value = None if entry is None else entry.encode()
            receipt = output.send(kafka.ledger_topic, number, value, key)
            if entry is not None:
                sent.append((entry, receipt))
                if entry.kind is Kind.SNAPSHOT:
                    self._observer.snapshot(number, pending.snapshot_seconds, entry.size)
        return sent
