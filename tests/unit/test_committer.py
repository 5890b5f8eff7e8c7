"""The second step of a transaction: what goes where, in which order, and what is told of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_runtime_worker import VALUES, configuration, filled, model

from craft_stream.encoders import load_encoder
from craft_stream.events import Observer, Stage, TransactionResult
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Claim, Headers, Position, Record, TransactionError
from craft_stream.scoring.model import Model
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.testing.memory import Fault, MemoryBroker, MemoryOutput, MemoryReceipt, MemoryTransport
from craft_stream.topics.ledger_index import LedgerIndex, read_restore_offset
from craft_stream.topics.ledger_reader import ledger_prefix, read_ledger
from craft_stream.topics.ledger_writer import LedgerWriter
from craft_stream.topics.models import ModelStore
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.worker.committer import Committed, Committer
from craft_stream.worker.decider import Decided, Decider

__all__ = ["model"]  # a fixture


class Told(Observer):
    """Keeps what is told of transactions."""

    def __init__(self) -> None:
        self.results: list[tuple[TransactionResult, int]] = []
        self.stages: list[tuple[Stage, int]] = []
        self.snapshots: list[tuple[int, int]] = []
        self.failed: list[int] = []
        self.recoveries = 0

    def transaction(self, result: TransactionResult, seconds: float, records: int, /) -> None:
        """Keep."""
        assert 0 <= seconds < 10
        self.results.append((result, records))

    def stage(self, stage: Stage, seconds: float, records: int, /) -> None:
        """Keep."""
        assert 0 <= seconds < 10
        self.stages.append((stage, records))

    def snapshot(self, partition: int, seconds: float, size: int, /) -> None:
        """Keep."""
        assert 0 < seconds < 10
        self.snapshots.append((partition, size))

    def snapshot_failed(self, partition: int, /) -> None:
        """Keep."""
        self.failed.append(partition)

    def recovered(self) -> None:
        """Count."""
        self.recoveries += 1


class Steps(MemoryOutput):
    """Remembers what is asked of it, in order."""

    steps: list[str]

    def begin(self) -> None:
        """Remember."""
        self.steps.append("begin")
        super().begin()

    def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> MemoryReceipt:
        """Remember a ledger's record or a use of a version."""
        if self.steps[-1] != topic:
            self.steps.append(topic)
        return super().send(topic, partition, value, key, headers)

    def send_all(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Remember."""
        for record in records:
            self.send(topic, partition, record.value, record.key, (*record.shared, *record.headers))

    def flush(self) -> None:
        """Remember."""
        self.steps.append("flush")
        super().flush()

    def commit(self, offsets: Mapping[int, Position], claim: Claim | None) -> None:
        """Remember."""
        self.steps.append("commit")
        super().commit(offsets, claim)


class Bench:
    """A committer with all that it needs, of two partitions."""

    def __init__(self, model: Model, script: dict[int, Fault] | None = None, **changes: Any) -> None:
        self.settings: Settings = configuration(**changes)
        self.broker: MemoryBroker = filled(self.settings, [])
        self.steps: list[str] = []
        steps = self.steps

        class Transport(MemoryTransport):
            def output(self, name: str) -> MemoryOutput:
                made = Steps(self, name)
                made.steps = steps
                return made

        self.transport = Transport(self.broker, self.settings.kafka, script)
        self.told = Told()
        self.model = model
        selector = Selector(self.settings.parameters(), load_encoder())
        self.decider = Decider(self.settings, selector, Observer())
        self.committer = Committer(self.settings, self.transport, self.told)
        self.group = self.transport.group()
        self.group.poll(1, 0.0)
        for partition in (0, 1):
            self.group.start(partition, 0)
        self.ledgers = {
            number: PartitionLedger(
                Ledger(selector.parameters),
                LedgerWriter(ledger_prefix(self.settings.kafka, number)),
                LedgerIndex(),
            )
            for number in (0, 1)
        }

    def decide(self, start: int, stop: int) -> Decided:
        """Decide some records, half of them of either partition."""
        topic = self.settings.kafka.input_topic
        batches = {}
        for number in (0, 1):
            values = VALUES[start + number : stop : 2]
            messages = [
                Message(value, start // 2 + at, topic, number, b"k%d" % at) for at, value in enumerate(values)
            ]
            batches[number] = (self.ledgers[number], messages)
        return self.decider.decide(batches, self.model)

    def commit(self, start: int, stop: int) -> Committed:
        """Decide and commit."""
        return self.committer.commit(self.decide(start, stop), self.group)


def test_putting_offsets_right_is_watched(model: Model) -> None:
    """While it is under way the watchdog sees since when; afterwards nothing is under way."""
    bench, seen = Bench(model), list[float | None]()
    bench.committer.open()
    output = bench.committer._output
    assert output is not None
    commit = output.commit
    output.commit = lambda *given: (seen.append(bench.committer.transaction_since), commit(*given))  # type: ignore[method-assign]
    bench.committer.put_right({0: Position(0)}, bench.group)
    assert len(seen) == 1
    assert seen[0] is not None
    assert bench.committer.transaction_since is None


def test_a_transaction_is_committed_in_this_order(model: Model) -> None:
    """Begin, records, ledgers, flush, commit: nothing is sent behind the flush that tells where ledgers went."""
    bench = Bench(model)
    kafka = bench.settings.kafka
    bench.committer.open()
    bench.commit(0, 400)
    assert bench.steps[0] == "begin"
    assert bench.steps[-2:] == ["flush", "commit"]
    assert bench.steps.count("flush") == 1
    ledgers = bench.steps.index(kafka.model_topic)
    decided = [kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic]
    assert set(bench.steps[1:ledgers]) == set(decided)
    assert set(bench.steps[ledgers:-2]) == {kafka.model_topic, kafka.ledger_topic}


def test_at_least_once_all_is_written_before_a_ledger_that_says_so(model: Model) -> None:
    """One more flush, between the last record and the first ledger."""
    bench = Bench(model, kafka__guarantee="at_least_once")
    kafka = bench.settings.kafka
    bench.committer.open()
    bench.commit(0, 400)
    assert bench.steps.count("flush") == 2
    first = bench.steps.index("flush")
    assert {kafka.model_topic, kafka.ledger_topic}.isdisjoint(bench.steps[:first])
    assert set(bench.steps[first + 1 : -2]) == {kafka.model_topic, kafka.ledger_topic}


def test_everything_is_written_where_it_belongs(model: Model) -> None:
    """Accepted bytes, every decision, dead letters, ledgers, uses of versions, and offsets with restore notes."""
    bench = Bench(model)
    kafka = bench.settings.kafka
    bench.committer.open()
    first, second = bench.commit(0, 400), bench.commit(400, 800)
    for number, outcome in second.decided.outcomes.items():
        assert bench.broker.committed[number].offset == outcome.next_offset == 400
        note = bench.broker.committed[number].note
        assert read_restore_offset(note) == outcome.ledger.index.restore_offset
        accepted = bench.broker.log(kafka.accepted_topic, number)
        lines = [json.loads(m.value or b"") for m in bench.broker.log(kafka.decisions_topic, number)]
        dead = bench.broker.log(kafka.dead_letter_topic, number)
        assert len(lines) + len(dead) == 400
        assert len(accepted) == sum(line["outcome"] == "accepted" for line in lines) > 0
        assert {line["parameters"] for line in lines} == {bench.settings.parameters().digest}
        records = read_ledger(bench.transport.reader(), kafka, number)
        found = records.restore(bench.settings.parameters(), 400)
        assert found is not None
        assert found.ledger.digest() == outcome.ledger.ledger.digest()
        assert found.index.restore_offset == outcome.ledger.index.restore_offset
        assert records.models == {0: model.version}
    store = ModelStore(bench.transport.reader(), kafka.model_topic)
    store.refresh()
    assert store.uses == {ledger_prefix(kafka, number): {model.version: 0} for number in (0, 1)}
    assert bench.told.results == [(TransactionResult.COMMITTED, 400)] * 2
    decided = sum(len(outcome.decisions) for outcome in first.decided.outcomes.values())
    assert (Stage.PRODUCE, decided) in bench.told.stages
    assert bench.told.stages.count((Stage.COMMIT, 2)) == 2
    assert [number for number, _ in bench.told.snapshots] == [0, 1]
    assert not bench.told.failed
    assert first.seconds > first.decided.seconds > 0
    assert bench.committer.transaction_since is None


def test_dead_letters_are_written_where_their_stage_says_so(model: Model) -> None:
    """With the policy "skip" none is; that of other stages has no say."""
    bench = Bench(model, errors__policies={"decode": "skip"})
    bench.committer.open()
    committed = bench.commit(0, 400)
    assert committed.decided.dead > 0
    assert not bench.broker.values(bench.settings.kafka.dead_letter_topic)
    bench = Bench(model, errors__policies={"decode": "dead-letter", "embed": "skip", "decide": "skip"})
    bench.committer.open()
    committed = bench.commit(0, 400)
    assert len(bench.broker.values(bench.settings.kafka.dead_letter_topic)) == committed.decided.dead


def test_topics_of_fewer_partitions_are_used_in_turn(model: Model) -> None:
    """Input partition 1 writes to partition 0 of topics with one partition, its ledger to partition 1 all the same."""
    bench = Bench(model)
    kafka = bench.settings.kafka
    narrow = (kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic)
    bench.broker.topics = {**bench.broker.topics, **dict.fromkeys(narrow, 1)}
    bench.committer.open()
    bench.commit(0, 400)
    places = Counter(
        (message.key or b"").split(b"/")[1] for message in bench.broker.log(kafka.decisions_topic, 0)
    )
    assert places.keys() == {b"0", b"1"}
    assert bench.broker.log(kafka.ledger_topic, 1)


@pytest.mark.parametrize(
    ("fault", "result"),
    [(Fault.ABORT, TransactionResult.ABORTED), (Fault.FENCED, TransactionResult.FENCED)],
)
def test_what_fails_is_told_and_recovered_from(fault: Fault, result: TransactionResult, model: Model) -> None:
    """With the snapshots that it held; a new output is made, and the next transaction is committed."""
    bench = Bench(model, {1: fault})
    bench.committer.open()
    decided = bench.decide(0, 200)
    with pytest.raises(TransactionError):
        bench.committer.commit(decided, bench.group)
    assert bench.told.results == [(result, 200)]
    assert bench.told.failed == [0, 1]
    assert bench.committer.transaction_since is None
    assert not bench.broker.committed
    bench.committer.recover()
    assert bench.told.recoveries == 1
    bench.committer.commit(bench.decide(200, 400), bench.group)
    assert bench.told.results[-1] == (TransactionResult.COMMITTED, 200)
    assert bench.told.failed == [0, 1], "no snapshot was in the second one"


def test_what_is_not_ours_any_more_is_not_committed(model: Model) -> None:
    """The group is asked at the end, with all partitions."""
    bench = Bench(model)
    bench.committer.open()
    decided = bench.decide(0, 200)
    bench.group._started.discard(1)
    with pytest.raises(TransactionError, match="not owned"):
        bench.committer.commit(decided, bench.group)
    assert bench.told.results == [(TransactionResult.FENCED, 200)]
    assert not bench.broker.values(bench.settings.kafka.decisions_topic)


def test_other_errors_count_as_failed(model: Model) -> None:
    """What is no error of a transaction is let through, and counted."""
    bench = Bench(model)
    bench.committer.open()
    decided = bench.decide(0, 200)
    broken = replace(decided, outcomes={7: decided.outcomes[0]})  # the ledger topic has no such partition
    with pytest.raises(KeyError):
        bench.committer.commit(broken, bench.group)
    assert bench.told.results == [(TransactionResult.FAILED, 200)]
    assert bench.told.failed == [7]


def test_without_an_output_nothing_is_committed(model: Model) -> None:
    """Before it is opened and after it is closed; closing twice is nothing."""
    bench = Bench(model)
    decided = bench.decide(0, 200)
    with pytest.raises(TransactionError, match="no output"):
        bench.committer.commit(decided, bench.group)
    bench.committer.open()
    bench.committer.close()
    bench.committer.close()
    with pytest.raises(TransactionError, match="no output"):
        bench.committer.commit(decided, bench.group)


def test_a_transaction_under_way_can_be_seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since when, by the monotonic clock, from another thread."""
    bench = Bench(model)
    bench.committer.open()
    seen: list[float | None] = []
    monkeypatch.setattr(Steps, "flush", lambda self: seen.append(bench.committer.transaction_since))
    bench.commit(0, 200)
    assert seen[0] is not None
    assert bench.committer.transaction_since is None
