"""The parts of a worker's loop, each alone: partitions, back-pressure, transactions, rebalances, the watchdog."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_concurrency import wait_until
from test_runtime_worker import TOY, configuration, filled, model

from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError, LogTruncatedError, UnavailableError
from craft_stream.events import Observer, PartitionState, RebalanceKind
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import ChangeKind, Group, TransactionError
from craft_stream.scoring.model import Model
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import ErrorsSettings, KafkaSettings
from craft_stream.testing.memory import MemoryBroker, MemoryGroup, MemoryReader, MemoryTransport
from craft_stream.text.batch import PairBatch
from craft_stream.topics.ledger_index import LedgerIndex
from craft_stream.topics.ledger_writer import LedgerWriter
from craft_stream.topics.models import ModelStore
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.topics.target import TargetFollower
from craft_stream.worker.backpressure import BATCHES, BYTES, Backpressure
from craft_stream.worker.batch_sizer import BatchSizer
from craft_stream.worker.committer import Committed, Committer
from craft_stream.worker.decider import Decided, Decider
from craft_stream.worker.learner_service import LearnerService
from craft_stream.worker.model_follower import FixedModel
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.primer import LEAST, Primer
from craft_stream.worker.rebalances import Rebalances
from craft_stream.worker.report import SUMMARY_SECONDS, Report
from craft_stream.worker.transactions import Transactions
from craft_stream.worker.watchdog import HANG_SECONDS, Watchdog
from craft_stream.worker.worker import Worker

__all__ = ["model"]  # a fixture

ACTIVE, PAUSED, ASSIGNED = PartitionState.ACTIVE, PartitionState.PAUSED, PartitionState.ASSIGNED


class Told(Observer):
    """Keeps what is told of partitions."""

    def __init__(self) -> None:
        self.states: list[tuple[int, PartitionState]] = []
        self.arrived: list[tuple[int, int, int]] = []
        self.flights: list[tuple[int, int]] = []
        self.rebalances: list[tuple[RebalanceKind, int]] = []
        self.members: list[frozenset[int]] = []
        self.errors: list[str] = []
        self.summaries: list[tuple[int, Any]] = []
        self.beats = 0
        self.learned = 0

    def ledger(self, partition: int, summary: Any, /) -> None:
        """Keep."""
        self.summaries.append((partition, summary))

    def beat(self) -> None:
        """Count."""
        self.beats += 1

    def partition_state(self, partition: int, state: PartitionState, /) -> None:
        """Keep."""
        self.states.append((partition, state))

    def consumed(self, partition: int, records: int, size: int, /) -> None:
        """Keep."""
        self.arrived.append((partition, records, size))

    def in_flight(self, records: int, size: int, /) -> None:
        """Keep."""
        self.flights.append((records, size))

    def rebalanced(self, kind: RebalanceKind, partitions: int, seconds: float, /) -> None:
        """Keep."""
        assert 0 <= seconds < 10
        self.rebalances.append((kind, partitions))

    def joined(self, partitions: frozenset[int], /) -> None:
        """Keep."""
        self.members.append(partitions)

    def error(self, kind: str, /) -> None:
        """Keep."""
        self.errors.append(kind)

    def learner(self, active: bool, pairs_seen: int, /) -> None:
        """Keep the most."""
        self.learned = max(self.learned, pairs_seen)


def messages(partition: int, first: int, count: int, stamp: int = 0, size: int = 10) -> list[Message]:
    """So many records."""
    return [Message(b"x" * size, first + n, "in", partition, timestamp_ms=stamp) for n in range(count)]


def ledger() -> PartitionLedger:
    """An empty one."""
    return PartitionLedger(Ledger(configuration().parameters()), LedgerWriter("g/t/0"), LedgerIndex())


def active(told: Observer, *numbers: int) -> AssignedPartitions:
    """Partitions that are restored and read, none of them fresh."""
    partitions = AssignedPartitions(told)
    for number in numbers:
        partitions.add(number)
        partitions.enter(number, ACTIVE)
        partitions[number].ledger = ledger()
        partitions[number].fresh = False
    return partitions


class Steps:
    """Decider and committer that do what they are told to."""

    def __init__(self) -> None:
        self.transaction_since: float | None = None
        self.decide: Callable[[Any, Any, Any], Any] = lambda batches, model, parameters: Decided(
            {}, sum(len(m) for _, m in batches.values()), 0.01
        )
        self.commit: Callable[[Any, Any], Any] = lambda decided, group: Committed(decided, 0.01)
        self.recoveries = 0
        self.recovering: Callable[[], None] = lambda: None

    def recover(self) -> None:
        """Count."""
        self.recoveries += 1
        self.recovering()


def group() -> MemoryGroup:
    """On a topic of three partitions, all started."""
    kafka = KafkaSettings()
    made = MemoryTransport(MemoryBroker({kafka.input_topic: 3}), kafka).group()
    made.poll(1, 0.0)
    for number in range(3):
        made.start(number, 0)
    return made


def transactions(partitions: AssignedPartitions, steps: Steps, told: Observer, **kafka: Any) -> Transactions:
    """With records due at once."""
    settings = KafkaSettings(**{"commit_interval_ms": 1, "max_poll_records": 100, **kafka})
    decider, committer = cast(Decider, steps), cast(Committer, steps)
    return Transactions(settings, group(), partitions, decider, committer, told, threading.Event())


MODEL = cast(Model, None)  # nothing here looks at it
PARAMETERS = Parameters()


def test_questions_that_nobody_waits_for_any_more_give_up_their_place() -> None:
    """Behind a long batch more of them run out of time than the queue has places: none is waited for, or done later."""
    one, free = transactions(active(Told(), 0), Steps(), Told()), threading.Event()
    done: list[int] = []
    one._deciding.submit(free.wait)
    for number in range(130):
        with pytest.raises(TimeoutError):
            one.between(partial(done.append, number), 0.001)
    free.set()
    one.between(lambda: None, 10.0)
    assert not done


def test_what_was_decided_last_is_told_when_nothing_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest summary waits while others were told just now, and is told once: a page at rest shows what the ledger says."""
    told, now = Told(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    partitions = active(told, 0)
    report = Report(ErrorsSettings(), group(), partitions, told)
    partitions[0].summary = {"seen": 7}
    report.tell_idle()
    assert not told.summaries
    now[0] += SUMMARY_SECONDS
    report.tell_idle()
    now[0] += SUMMARY_SECONDS
    report.tell_idle()
    assert told.summaries == [(0, {"seen": 7})]


# Partitions.


def test_only_what_is_being_read_is_buffered() -> None:
    """Of a partition that is gone, or is still restored, nothing is kept; arrivals are told by partition."""
    told = Told()
    partitions = active(told, 0, 1)
    partitions.add(2)
    partitions.enter(1, PAUSED)
    partitions.buffer([*messages(0, 0, 3), *messages(1, 0, 2), *messages(2, 0, 4), *messages(9, 0, 1)])
    assert told.arrived == [(0, 3, 30), (1, 2, 20)]
    assert (partitions.records, partitions.size) == (5, 50)
    assert [message.offset for message in partitions[0].buffer] == [0, 1, 2]


def test_states_are_told_once() -> None:
    """When they change, and only of partitions that are here."""
    told = Told()
    partitions = AssignedPartitions(told)
    partitions.add(4)
    partitions.enter(4, ACTIVE)
    partitions.enter(4, ACTIVE)
    partitions.enter(5, ACTIVE)
    partitions.reset(4)
    partitions.reset(5)
    partitions.remove(4, PartitionState.LOST)
    partitions.remove(4, PartitionState.LOST)
    assert told.states == [(4, ASSIGNED), (4, ACTIVE), (4, ASSIGNED), (4, PartitionState.LOST)]
    assert not partitions


def test_a_partition_that_is_reset_forgets_what_it_had() -> None:
    """Buffer, size and ledger: it is read again from the committed offset."""
    partitions = active(Told(), 0)
    partitions.buffer(messages(0, 0, 3))
    partitions.reset(0)
    assert partitions.having(ASSIGNED) == [0]
    assert (partitions.records, partitions.size, partitions[0].ledger, partitions[0].fresh) == (
        0, 0, None, True,
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 5)),
        max_size=8,
        unique_by=lambda x: x[0],
    ),
    st.integers(1, 30),
)
def test_a_batch_is_of_the_oldest_records(given_: list[tuple[int, int, int]], limit: int) -> None:
    """As many as may be, in the order of each log, of the partitions first that wait longest; sizes stay right."""
    partitions = active(Told(), *(number for number, _, _ in given_))
    for number, count, stamp in given_:
        partitions.buffer(messages(number, 0, count, stamp))
    total = partitions.records
    batches = partitions.dequeue(limit, due=True)
    assert sum(len(found) for _, found in batches.values()) == min(limit, total)
    assert partitions.records == total - min(limit, total)
    assert partitions.size == 10 * partitions.records
    stamps = [found[0].timestamp_ms for _, found in batches.values()]
    assert stamps == sorted(stamps)
    for number, (_, found) in batches.items():
        assert [message.offset for message in found] == list(range(len(found)))
        assert batches[number][0] is partitions[number].ledger
    assert not any(partitions[number].buffer for number in list(batches)[:-1])


def test_a_batch_is_due() -> None:
    """When told so, when there are enough, or for the first records of a partition; never without records or a ledger."""
    partitions = active(Told(), 0, 1)
    assert partitions.dequeue(10, due=True) == {}
    partitions.buffer(messages(0, 0, 9))
    assert partitions.dequeue(10, due=False) == {}
    partitions.buffer(messages(0, 9, 1))
    assert len(partitions.dequeue(10, due=False)[0][1]) == 10
    partitions[1].fresh = True
    partitions.buffer([*messages(0, 10, 1), *messages(1, 0, 1)])
    assert set(partitions.dequeue(10, due=False)) == {0, 1}
    assert not partitions[1].fresh
    partitions.buffer(messages(1, 1, 5))
    partitions[1].ledger = None
    assert partitions.dequeue(1, due=True) == {}


# Back-pressure.


def test_no_more_is_read_than_may_be_held() -> None:
    """At four transactions' worth of records everything pauses, at two thirds of that it goes on; what is in flight counts."""
    told = Told()
    partitions = active(told, 0, 1)
    flight = type("Flight", (), {"records": 0})()
    member = group()
    pressure = Backpressure(member, partitions, cast(Transactions, flight), told, records=100)
    partitions.buffer(messages(0, 0, 300))
    flight.records = BATCHES * 100 - 301
    pressure.step()
    assert partitions.having(ACTIVE) == [0, 1], "one fewer"
    flight.records += 1
    pressure.step()
    assert partitions.having(PAUSED) == [0, 1]
    assert {0, 1} <= member._paused
    flight.records = 2 * BATCHES * 100 // 3 - 300 + 1
    pressure.step()
    assert partitions.having(PAUSED) == [0, 1], "still too much"
    flight.records -= 1
    pressure.step()
    assert partitions.having(ACTIVE) == [0, 1]
    assert not member._paused & {0, 1}
    assert told.flights[-1] == (2 * BATCHES * 100 // 3, 3_000)


def test_no_more_bytes_are_read_than_may_be_held() -> None:
    """128 MiB pause, half of that go on."""
    partitions = active(Told(), 0)
    flight = cast(Transactions, type("Flight", (), {"records": 0})())
    pressure = Backpressure(group(), partitions, flight, Told(), records=10_000)
    for size, state in ((BYTES - 1, ACTIVE), (BYTES, PAUSED), (BYTES // 2 + 1, PAUSED), (BYTES // 2, ACTIVE)):
        partitions[0].size = size
        pressure.step()
        assert partitions[0].state is state, size


def test_a_worker_never_reads_beyond_its_bounds(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of 40 transactions while the first is never committed: four transactions' worth is held, and one poll's above."""
    configured = configuration(kafka__max_poll_records=50)
    stop, release, told = threading.Event(), threading.Event(), Told()
    monkeypatch.setattr("craft_stream.testing.memory.MemoryOutput.flush", lambda self: release.wait(20))
    transport = MemoryTransport(filled(configured), configured.kafka)
    models = FixedModel(ModelStore(transport.reader(), configured.kafka.model_topic), told, model, 1)
    worker = Worker(configured, transport, load_encoder(), models, told, stop)
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: (0, PAUSED) in told.states and (1, PAUSED) in told.states)
    time.sleep(0.2)
    most = max(records for records, _ in told.flights)
    stop.set()
    release.set()
    thread.join(20)
    assert 4 * 50 <= most <= 5 * 50


# Transactions.


def turn(
    work: Transactions, until: Callable[[list[Committed]], bool], model: Model = MODEL
) -> list[Committed]:
    """Turn until it is so."""
    found: list[Committed] = []
    deadline = time.monotonic() + 10
    while not until(found):
        assert time.monotonic() < deadline
        found += work.collect()
        work.begin(model, PARAMETERS)
        time.sleep(0.001)
    return found


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["", "decide", "commit"]), max_size=5), max_size=4))
def test_what_follows_a_failure_comes_to_nothing(rounds: list[list[str]]) -> None:
    """Each in its turn: commits, then the failure, then only what is cancelled; a new round begins afresh."""
    steps, done, entered = Steps(), list[int](), list[int]()
    work = transactions(active(Told(), 0), steps, Told())
    for failing in rounds:
        done.clear()
        entered.clear()

        def decide(batches: Any, model: Any, parameters: Any, failing: list[str] = failing) -> int:
            (number,) = batches
            entered.append(number)
            if failing[number] == "decide":
                raise KeyError(number)
            return int(number)

        def commit(number: int, group: Any, failing: list[str] = failing) -> Any:
            if failing[number] == "commit":
                raise IndexError(number)
            done.append(number)
            return number

        steps.decide, steps.commit = decide, commit
        for number in range(len(failing)):
            work._submit({number: (ledger(), [])}, MODEL, PARAMETERS)
        wait_until(work._ended)
        bad = next((number for number, place in enumerate(failing) if place), len(failing))
        found = [type(work._in_flight.popleft().committed.exception()) for _ in failing]
        error = KeyError if failing[bad:][:1] == ["decide"] else IndexError
        assert found[:bad] == [type(None)] * bad
        assert found[bad:] == [error, *[CancelledError] * (len(failing) - bad - 1)][: len(failing) - bad]
        assert done == list(range(bad))
        assert entered[: bad + 1] == list(range(len(failing)))[: bad + 1]
        if error is KeyError:
            assert entered == list(range(len(failing)))[: bad + 1], (
                "nothing is decided on what was not decided"
            )


def test_the_next_one_is_decided_while_the_one_before_is_committed() -> None:
    """The second is decided to its end before the commit of the first has ended."""
    partitions, steps, end = active(Told(), 0), Steps(), threading.Event()
    steps.commit = lambda decided, group: end.wait(10) and Committed(decided, 0.01)
    work = transactions(partitions, steps, Told())
    for number in (0, 1):
        partitions.buffer(messages(0, 100 * number, 100))
        time.sleep(0.002)
        work.begin(MODEL, PARAMETERS)
    wait_until(lambda: work._in_flight[1].decided.done())
    assert not work._in_flight[0].committed.done()
    end.set()
    assert len(turn(work, lambda found: len(found) == 2)) == 2


def test_two_transactions_are_in_flight_at_most() -> None:
    """A third waits until the first is collected."""
    partitions, steps, end = active(Told(), 0), Steps(), threading.Event()
    steps.commit = lambda decided, group: end.wait(10) and Committed(decided, 0.01)
    work = transactions(partitions, steps, Told())
    for number in range(3):
        partitions.buffer(messages(0, 100 * number, 100))
        time.sleep(0.002)
        work.begin(MODEL, PARAMETERS)
    assert work.records == 200
    assert partitions.records == 100
    assert work.busy
    assert work.holds(0)
    assert not work.holds(1)
    end.set()
    assert [one.decided.records for one in turn(work, lambda found: len(found) == 3)] == [100, 100, 100]
    assert not work.busy
    assert work.records == 0


def test_records_that_are_few_wait_for_the_interval() -> None:
    """Until it has gone by since the last transaction began, or there are enough of them."""
    partitions = active(Told(), 0)
    work = transactions(partitions, Steps(), Told(), commit_interval_ms=60_000)
    partitions.buffer(messages(0, 0, 99))
    work.begin(MODEL, PARAMETERS)
    assert not work.busy
    partitions.buffer(messages(0, 99, 1))
    work.begin(MODEL, PARAMETERS)
    assert work.busy


@pytest.mark.parametrize("where", ["decide", "commit"])
@pytest.mark.parametrize("error", [TransactionError("failed"), UnavailableError("failed")])
def test_after_a_failure_all_that_was_in_flight_is_given_up(where: str, error: Exception) -> None:
    """Its partitions and those of the one behind it pause and are assigned again; then the committer recovers, once."""
    told = Told()
    partitions, steps, begun = active(told, 0, 1), Steps(), threading.Event()

    def fail(*_: Any) -> Any:
        begun.wait(10)
        raise error

    work = transactions(partitions, steps, told)
    member = cast(MemoryGroup, work._group)
    setattr(steps, where, fail)
    for number in (0, 1):
        partitions.buffer(messages(number, 0, 100))
        time.sleep(0.002)
        work.begin(MODEL, PARAMETERS)
    begun.set()
    wait_until(work._ended)
    assert work.collect() == []
    assert partitions.having(ASSIGNED) == [0, 1]
    assert {0, 1} <= member._paused
    assert work.recovering
    assert told.errors == [type(error).__name__], "what was cancelled is no error"
    assert partitions.records == 0
    setattr(steps, where, getattr(Steps(), where))
    turn(work, lambda _: not work.recovering)
    assert steps.recoveries == 1
    assert not work.busy


def test_a_recovery_that_fails_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun before one succeeds."""
    monkeypatch.setattr("craft_stream.worker.transactions.RECOVER_SECONDS", 0.1)
    told = Told()
    partitions, steps = active(told, 0), Steps()
    steps.commit = lambda *_: (_ for _ in ()).throw(TransactionError("failed"))
    failures = [UnavailableError("away"), TransactionError("fenced")]

    def recovering() -> None:
        if failures:
            raise failures.pop(0)

    steps.recovering = recovering
    work = transactions(partitions, steps, told)
    partitions.buffer(messages(0, 0, 100))
    time.sleep(0.002)
    work.begin(MODEL, PARAMETERS)
    wait_until(work._ended)
    work.collect()
    steps.commit = Steps().commit
    partitions.enter(0, ACTIVE)
    partitions[0].ledger = ledger()
    partitions.buffer(messages(0, 0, 100))
    began = time.monotonic()
    turn(work, lambda found: bool(found))
    assert steps.recoveries == 3
    assert time.monotonic() - began >= 0.2
    assert told.errors == ["TransactionError", "UnavailableError", "TransactionError"]


def test_an_error_that_makes_no_sense_to_go_on_is_raised() -> None:
    """Of a decision as of a commit."""
    for where in ("decide", "commit"):
        partitions, steps = active(Told(), 0), Steps()
        setattr(steps, where, lambda *_: (_ for _ in ()).throw(DataError("stop")))
        work = transactions(partitions, steps, Told())
        partitions.buffer(messages(0, 0, 100))
        time.sleep(0.002)
        work.begin(MODEL, PARAMETERS)
        wait_until(work._ended)
        with pytest.raises(DataError, match="stop"):
            work.collect()


def test_waiting_for_what_is_in_flight_beats_and_ends_in_time() -> None:
    """For transactions that hold certain partitions, or for all; the loop is seen to live meanwhile."""
    told = Told()
    partitions, steps, end = active(told, 0), Steps(), threading.Event()
    steps.commit = lambda decided, group: end.wait(10) and Committed(decided, 0.01)
    work = transactions(partitions, steps, told)
    assert work.join_all(0.0, 0.0)
    partitions.buffer(messages(0, 0, 100))
    time.sleep(0.002)
    work.begin(MODEL, PARAMETERS)
    began = time.monotonic()
    work.join([1], 5.0)
    assert time.monotonic() - began < 1, "none holds that one"
    assert work.unfinished([0, 1])
    assert not work.unfinished([1])
    work.join([0], 0.2)
    assert not work.join_all(0.1, 9.0)
    assert 0.3 <= time.monotonic() - began < 3
    assert told.beats >= 2
    end.set()
    work.join([0], 5.0)
    assert not work.unfinished([0])
    assert work.join_all(5.0, 5.0)
    assert work.busy, "it is still to be collected"


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0.01, 100)), max_size=30), st.integers(1, 20_000))
def test_a_batch_is_never_too_large_and_never_nothing(took: list[tuple[int, float]], most: int) -> None:
    """Whatever transactions took."""
    sizer = BatchSizer(most, 1.0)
    for records, seconds in took:
        sizer.took(records, seconds)
        assert 1 <= sizer.limit <= most


# Rebalances.


def test_what_is_given_and_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Released after its transactions have ended, and then only; lost at once; and who has what now."""
    told = Told()
    partitions, steps, end = AssignedPartitions(told), Steps(), threading.Event()
    steps.commit = lambda decided, group: end.wait(10) and Committed(decided, 0.01)
    work = transactions(partitions, steps, told)
    member = group()
    rebalances = Rebalances(member, partitions, work, told, seconds=5.0)
    assert rebalances.follow()
    assert not rebalances.follow()
    assert told.members == [frozenset({0, 1, 2})]
    for number in (0, 1, 2):
        partitions.enter(number, ACTIVE)
        partitions[number].ledger = ledger()
    partitions.buffer(messages(1, 0, 100))
    work.begin(MODEL, PARAMETERS)
    threading.Timer(0.2, end.set).start()
    member.pending = [ChangeKind.REVOKED]
    member.poll(1, 0.0)
    began = time.monotonic()
    assert rebalances.follow()
    assert time.monotonic() - began >= 0.15, "it waited for the transaction"
    assert told.states[-6:] == [
        *((number, PartitionState.DRAINING) for number in (0, 1, 2)),
        *((number, PartitionState.RELEASED) for number in (0, 1, 2)),
    ]
    assert told.members[-1] == frozenset()
    assert len(work.collect()) == 1
    member.pending = [ChangeKind.ASSIGNED, ChangeKind.LOST]
    member.poll(1, 0.0)
    member.poll(1, 0.0)
    rebalances.follow()
    assert told.states[-3:] == [(number, PartitionState.LOST) for number in (0, 1, 2)]
    assert told.rebalances == [(RebalanceKind.REVOKED, 3), (RebalanceKind.LOST, 3)]


def test_a_transaction_that_takes_too_long_is_not_waited_for() -> None:
    """After the revoke budget the partition is given back all the same."""
    told = Told()
    partitions, steps, end = AssignedPartitions(told), Steps(), threading.Event()
    steps.commit = lambda decided, group: end.wait(10) and Committed(decided, 0.01)
    work, member = transactions(partitions, steps, told), group()
    rebalances = Rebalances(member, partitions, work, told, seconds=0.2)
    rebalances.follow()
    partitions.enter(0, ACTIVE)
    partitions[0].ledger = ledger()
    partitions.buffer(messages(0, 0, 100))
    work.begin(MODEL, PARAMETERS)
    member.pending = [ChangeKind.REVOKED]
    member.poll(1, 0.0)
    began = time.monotonic()
    rebalances.follow()
    assert 0.2 <= time.monotonic() - began < 3
    assert not partitions
    end.set()


# The watchdog.


def watchdog(reachable: bool, since: float | None) -> Watchdog:
    """With a group that is so, and a transaction that has been under way for so long."""
    kafka = KafkaSettings(unavailable_seconds=0.2)
    steps = Steps()
    steps.transaction_since = None if since is None else time.monotonic() - since
    member = cast(Group, type("Member", (), {"reachable": lambda self: reachable})())
    return Watchdog(kafka, member, cast(Committer, steps))


def test_a_transaction_that_hangs_is_noticed() -> None:
    """Beyond its time-out and a minute, and not before."""
    limit = KafkaSettings().transaction_timeout_ms / 1000 + HANG_SECONDS
    watchdog(True, None).check()
    watchdog(True, limit - 5).check()
    with pytest.raises(UnavailableError, match=f"hanging for {limit + 1:.0f} s"):
        watchdog(True, limit + 1).check()


def test_brokers_that_are_gone_are_noticed() -> None:
    """After `unavailable_seconds` without any, and not before; one that comes back begins the time anew."""
    watching = watchdog(False, None)
    watching.check()
    time.sleep(0.25)
    with pytest.raises(UnavailableError, match=r"no broker of localhost:9092 .* 0 s"):
        watching.check()
    watching._group.reachable = lambda: True  # type: ignore[method-assign]
    watching.check()
    watching._group.reachable = lambda: False  # type: ignore[method-assign]
    watching.check()


# Learning.


@pytest.mark.parametrize("partitions", [1, 2, 6, 60, 300])
def test_a_long_log_is_sampled_in_few_stretches_from_end_to_end(partitions: int) -> None:
    """So many pairs as are wanted, in stretches of some hundreds; of many partitions together no part is left out."""
    wanted, length = 50_000, 30_000
    configured = configuration(learner__prime_pairs=wanted)
    topic = configured.kafka.input_topic
    broker = MemoryBroker({topic: partitions})
    message = Message(b"{}", 0, topic, 0)
    for partition in range(partitions):
        broker.logs[topic, partition] = [message] * length
    primer = Primer(MemoryTransport(broker, configured.kafka).reader(), configured)
    plan, each = primer._plan(wanted)
    if partitions == 1:
        assert (plan, each) == ([(0, 0, length)], 1.0)
        return
    assert each * sum(end - start for _, start, end in plan) == pytest.approx(partitions * length)
    assert 0.9 * wanted <= sum(end - start for _, start, end in plan) <= wanted
    assert len(plan) <= max(16 * 2, partitions, wanted // LEAST)
    assert {partition for partition, _, _ in plan} == set(range(partitions))
    assert all(0 <= start < end <= length for _, start, end in plan)
    places = np.sort([start / length for _, start, _ in plan])
    assert np.diff(places, prepend=0, append=1).max() < 0.1


@given(st.integers(1, 12), st.integers(1, 20_000), st.integers(1, 60_000), st.integers(0, 1_000))
@settings(deadline=None, max_examples=60)
def test_stretches_of_a_log_do_not_overlap(partitions: int, length: int, wanted: int, first: int) -> None:
    """However little longer than what is wanted the log is: no pair primes twice."""

    class Bounds(MemoryReader):
        def bounds(self, topic: str, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
            return {partition: (first, first + length + partition) for partition in partitions}

    configured = configuration()
    broker = MemoryBroker({configured.kafka.input_topic: partitions})
    plan, _ = Primer(Bounds(MemoryTransport(broker, configured.kafka)), configured)._plan(wanted)
    for (before, _, stop), (after, start, _) in itertools.pairwise(plan):
        assert before != after or stop <= start
    assert all(first <= start < stop <= first + length + place for place, start, stop in plan)


@pytest.mark.parametrize(("records", "wanted"), [(6_000, 2_000), (400, 2_000)])
def test_a_sample_of_the_log_stands_for_all_of_it(records: int, wanted: int) -> None:
    """As over files: a Model's calibration counts for as many pairs as were sampled from, not for those that were read."""
    configured = configuration(learner__prime_pairs=wanted, learner__prime_seconds=0.0)
    kafka, rng = configured.kafka, random.Random(1)
    broker = filled(configured, [])
    for number in range(records):
        source, target = TOY.pair(rng, False)
        broker.append(kafka.input_topic, number % 2, json.dumps({"src": source, "tgt": target}).encode())
    learner = Learner(configured.parameters(), load_encoder())
    primer = Primer(MemoryTransport(broker, kafka).reader(), configured)
    primer.prime(learner, threading.Event())
    assert primer.pairs == learner.pairs_seen == min(records, wanted)
    assert learner._stood_for == pytest.approx(records, abs=5)


def test_what_retention_leaves_of_a_stretch_is_read_at_the_next_look() -> None:
    """Where records go while they are read, the rest of the stretch does not count as seen."""
    configured = configuration(learner__prime_pairs=2_000, learner__prime_seconds=0.5)
    kafka, rng, gone = configured.kafka, random.Random(1), 40
    broker = filled(configured, [])
    for _ in range(200):
        source, target = TOY.pair(rng, False)
        broker.append(kafka.input_topic, 0, json.dumps({"src": source, "tgt": target}).encode())

    class Overtaken(MemoryReader):
        first = 0

        def read(self, *where: Any) -> Iterator[Sequence[Message]]:
            if not self.first:
                self.first = gone
                raise LogTruncatedError(f"the log begins at {gone}")
            yield from super().read(*where)

        def bounds(self, *where: Any) -> Mapping[int, tuple[int, int]]:
            found = super().bounds(*where)
            return {partition: (min(self.first, end), end) for partition, (_, end) in found.items()}

    learner = Learner(configured.parameters(), load_encoder())
    primer = Primer(Overtaken(MemoryTransport(broker, kafka)), configured)
    primer.prime(learner, threading.Event())
    assert primer.pairs == learner.pairs_seen == 200 - gone


def test_priming_reads_nothing_any_more_when_it_looks_again() -> None:
    """It reads beside learning, by one reader: it is asked for bounds only while none is read. Each pair is seen once."""
    configured = configuration(learner__prime_pairs=2_000, learner__prime_seconds=0.5)
    kafka, rng = configured.kafka, random.Random(1)
    broker = filled(configured, [])

    def fill(count: int) -> None:
        for number in range(count):
            source, target = TOY.pair(rng, False)
            broker.append(kafka.input_topic, number % 2, json.dumps({"src": source, "tgt": target}).encode())

    class Careful(MemoryReader):
        reading = 0

        def read(self, *where: Any) -> Iterator[Sequence[Message]]:
            for messages in super().read(*where):
                self.reading += 1
                time.sleep(0.002)
                self.reading -= 1
                yield messages

        def bounds(self, *where: Any) -> Mapping[int, tuple[int, int]]:
            assert not self.reading
            fill(100)
            return super().bounds(*where)

    learner = Learner(configured.parameters(), load_encoder())
    primer = Primer(Careful(MemoryTransport(broker, kafka)), configured)
    primer.prime(learner, threading.Event())
    assert primer.pairs == learner.pairs_seen
    ends = {partition: len(broker.log(kafka.input_topic, partition)) for partition in range(2)}
    assert sum(ends.values()) == primer.pairs
    for partition, end in ends.items():
        assert primer.primed(partition, np.arange(end + 5)).tolist() == [True] * end + [False] * 5
        assert len(primer._ranges[partition]) == 1


def test_what_has_primed_the_learner_is_not_learned_twice() -> None:
    """Positions that priming has read are left out of what decisions bring, others are learned; of each partition its own."""
    configured = configuration(learner__prime_pairs=400, learner__prime_seconds=0.0)
    kafka = configured.kafka
    broker = filled(configured, [])
    rng = random.Random(1)
    pairs = [TOY.pair(rng, False) for _ in range(600)]

    for number, (source, target) in enumerate(pairs[:400]):
        value = json.dumps({"src": source, "tgt": target}).encode()
        broker.append(kafka.input_topic, number % 2, value)
    learner = Learner(configured.parameters(), load_encoder())
    primer = Primer(MemoryTransport(broker, kafka).reader(), configured)
    primer.prime(learner, threading.Event())
    assert (primer.pairs, learner.pairs_seen) == (400, 400)
    service = LearnerService(configured, MemoryTransport(broker, kafka), load_encoder(), Observer())
    batch = PairBatch.pack([s for s, _ in pairs[100:400]], [t for _, t in pairs[100:400]], list(range(300)))
    assert service.offer(0, batch, None)
    service._learn_next(learner, primer)
    assert learner.pairs_seen == 500, "offsets 0 to 199 of partition 0 are known"
    assert service.offer(7, batch, None)
    service._learn_next(learner, primer)
    assert learner.pairs_seen == 800, "nothing of partition 7 is"


def test_a_better_version_is_not_replaced_by_a_learner_that_knows_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Begun again on a log that retention has emptied: it waits for as many pairs, or those that prime; said once.

    A version of another target, of other parameters or with another encoder keeps nobody waiting, nor does damage.
    """
    configured = configuration(learner__prime_pairs=300)
    broker = filled(configured, [])
    transport = MemoryTransport(broker, configured.kafka)
    rng = random.Random(1)

    def learner(**changes: Any) -> Learner:
        made = Learner(configuration(**{"learner__prime_pairs": 300, **changes}).parameters(), load_encoder())
        domain = [TOY.pair(random.Random(n), True) for n in range(60)]
        made.observe_target([f"t{n}" for n in range(60)], PairBatch.pack(*zip(*domain, strict=True)))
        return made

    def some(count: int) -> PairBatch:
        return PairBatch.pack(*zip(*(TOY.pair(rng, False) for _ in range(count)), strict=True))

    before, store = learner(), ModelStore(transport.reader(), configured.kafka.model_topic)
    before.observe(some(200))
    service, output = (
        LearnerService(configured, transport, load_encoder(), Observer()),
        transport.output("learner"),
    )
    service._publish(before, output, store)
    store.refresh()
    header = store.manifests[1].header
    assert header["pairs_seen"] == 200

    again = learner()
    again.continue_from(1)
    again.observe(some(30))
    service._warn("a version needs 30 pairs")
    with caplog.at_level("INFO"):
        service._publish(again, output, store)
        service._publish(again, output, store)
    assert service.failure is None  # that it waits is no failure
    assert caplog.text.count("model 1 has learned from 200 pairs") == 1
    store.refresh()
    assert list(store.manifests) == [1]
    for other in (learner(learner__clusters=8), learner(learner__prime_pairs=0), learner(learner__seed=1)):
        other.observe(some(30))
        assert not other.knows_less(header)
    assert again.knows_less(header | {"pairs_seen": 10_000})
    for damage in ({"pairs_seen": "many"}, {"translation.encoder": "other"}, {"target_version": None}):
        assert not again.knows_less(header | damage)
    again.withdraw_target(["t0"])
    assert not again.knows_less(header)  # another target takes force at once
    again.observe_target(["t0"], PairBatch.pack(*zip(TOY.pair(random.Random(0), True), strict=True)))
    assert again.knows_less(header)
    again.observe(some(170))
    service._publish(again, output, store)
    store.refresh()
    assert list(store.manifests) == [1, 2]
    assert not learner().knows_less({})


class Reasons(Observer):
    """Keeps why nothing is learned."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    def not_learning(self, why: str | None, /) -> None:
        """Keep it."""
        self.told.append(why)


def test_a_learner_that_was_stopped_tells_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is fenced while it makes a version that nobody waits for: no fault, and no alert."""
    configured, reasons = configuration(), Reasons()
    broker = filled(configured, [])
    service = LearnerService(configured, MemoryTransport(broker, configured.kafka), load_encoder(), reasons)
    at_work, fence = threading.Event(), threading.Event()

    def learn(*_: Any) -> None:
        at_work.set()
        fence.wait(10)
        raise TransactionError("fenced", fenced=True)

    monkeypatch.setattr(service, "_learn", learn)
    service.start()
    assert at_work.wait(10)
    service.stop(0.0)
    fence.set()
    service._thread.join(10)
    assert not service._thread.is_alive()
    assert reasons.told == [None]


def test_a_target_that_was_waited_for_is_no_reason_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason goes when there is enough of the target, not when the first version is made."""
    monkeypatch.setattr("craft_stream.worker.learner_service.TARGET_SECONDS", 0.01)
    configured, reasons = configuration(), Reasons()
    kafka = configured.kafka
    broker = filled(configured, [])
    transport, learner = MemoryTransport(broker, kafka), Learner(configured.parameters(), load_encoder())
    service = LearnerService(configured, transport, load_encoder(), reasons)
    follower = TargetFollower(transport.reader(), kafka.target_topic, configured.record)
    waiting = threading.Thread(target=service._wait_for_target, args=(follower, learner))
    waiting.start()
    wait_until(lambda: service.failure is not None and "is empty" in service.failure)
    rng = random.Random(1)
    for number in range(100):
        source, translation = TOY.pair(rng, True)
        value = json.dumps({"src": source, "tgt": translation}).encode()
        broker.append(kafka.target_topic, 0, value, b"t%d" % number)
    waiting.join(30)
    assert not waiting.is_alive()
    assert service.failure is None
    assert reasons.told[-1] is None
