"""The worker on a message system in memory: faults at every place change nothing that can be seen."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import Toy, target, versions

from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError, IntegrityError, LogTruncatedError, UnavailableError
from craft_stream.events import Observer, PartitionState, RebalanceKind, TransactionResult
from craft_stream.ports.transport import Position
from craft_stream.reading.records import Refusal, examine
from craft_stream.scoring.embedding import EmbeddingError
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.testing.memory import Crash, Fault, MemoryBroker, MemoryOutput, MemoryTransport
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import FixedModel, ModelFollower
from craft_stream.worker.worker import Worker

PARTITIONS = 2
RECORDS = 2_200  # an epoch of each partition, and some of the next
TOY = Toy()


def configuration(**changes: Any) -> Settings:
    """Small transactions, all decisions written."""
    sections: dict[str, dict[str, Any]] = {
        "kafka": {"max_poll_records": 200, "commit_interval_ms": 1},
        "decisions": {"rejected_sample": 1.0},
        "learner": {"prime_pairs": 1000, "prime_seconds": 0.1},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        sections.setdefault(section, {})[key] = value
    return Settings(**sections)


def records() -> list[bytes]:
    """Generated pairs, every fiftieth broken."""
    rng = random.Random(3)
    made = []
    for number in range(RECORDS):
        source, translation = TOY.pair(rng, rng.random() < 0.1)
        value = json.dumps({"id": f"r{number}", "src": source, "tgt": translation}).encode()
        made.append(b"broken" if number % 50 == 7 else value)
    return made


VALUES = records()


def learned() -> Model:
    """A version learned from other pairs; Models do not change, so one is enough for all modules."""
    return versions()[0]


@pytest.fixture(scope="module")
def model() -> Model:
    """See `learned`."""
    return learned()


def filled(configured: Settings, records: Sequence[bytes] = VALUES) -> MemoryBroker:
    """A broker with the input."""
    kafka = configured.kafka
    several = (kafka.input_topic, kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic)
    broker = MemoryBroker(
        {
            **dict.fromkeys([*several, kafka.ledger_topic], PARTITIONS),
            kafka.target_topic: 1,
            kafka.model_topic: 2,
        }
    )
    fill(broker, configured, records)
    return broker


def fill(broker: MemoryBroker, configured: Settings, records: Sequence[bytes], first: int = 0) -> None:
    """Append to the input; `first` is the number of the first record in it."""
    for number, value in enumerate(records, first):
        broker.append(configured.kafka.input_topic, number % PARTITIONS, value, b"k%d" % number)


def copied(broker: MemoryBroker) -> MemoryBroker:
    """Another broker that holds the same: records do not change, logs do."""
    logs = {place: list(log) for place, log in broker.logs.items()}
    return replace(
        broker,
        topics=dict(broker.topics),
        logs=logs,
        first=dict(broker.first),
        committed=dict(broker.committed),
        outputs=Counter(broker.outputs),
        ids=dict(broker.ids),
        lock=threading.RLock(),
    )


def run(
    broker: MemoryBroker,
    configured: Settings,
    model: Model | None,
    script: dict[int, Fault] | None = None,
    rebuild: bool = False,
    observer: Observer | None = None,
) -> None:
    """Work until everything is committed; a crash is followed by a new worker, as a supervisor would do."""
    script = dict(script or {})
    while not broker.done(configured.kafka.input_topic):
        stop = threading.Event()
        transport = MemoryTransport(broker, configured.kafka, script, stop.set)
        store = ModelStore(transport.reader(), configured.kafka.model_topic)
        observer = observer or Observer()
        models = (
            ModelFollower(store, observer, 0.01) if model is None else FixedModel(store, observer, model, 1)
        )
        worker = Worker(configured, transport, load_encoder(), models, observer, stop, rebuild)
        guard = threading.Timer(60, stop.set)
        guard.start()
        try:
            worker.run()
        except Crash:
            script = transport.script
        finally:
            guard.cancel()


def seen(broker: MemoryBroker, configured: Settings) -> tuple[list[Any], list[Any], list[Any]]:
    """Everything that came out, in order."""
    kafka = configured.kafka
    topics = (kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic)
    return tuple(  # type: ignore[return-value]
        [
            (message.value, message.key, message.headers)
            for partition in range(PARTITIONS)
            for message in broker.log(topic, partition)
        ]
        for topic in topics
    )


@pytest.fixture(scope="module")
def undisturbed(model: Model) -> tuple[list[Any], list[Any], list[Any]]:
    """What comes out when nothing happens."""
    configured = configuration()
    broker = filled(configured)
    run(broker, configured, model)
    return seen(broker, configured)


def test_every_record_is_accounted_for(undisturbed: tuple[list[Any], list[Any], list[Any]]) -> None:
    """Decisions and dead letters together are the input; accepted ones keep their bytes."""
    accepted, decisions, dead = undisturbed
    assert len(decisions) + len(dead) == RECORDS
    assert len(dead) == sum(value == b"broken" for value in VALUES)
    assert 0 < len(accepted) == sum(json.loads(value)["outcome"] == "accepted" for value, _, _ in decisions)
    assert {value for value, _, _ in accepted} <= set(VALUES)
    assert all(dict(headers)["craft-error-class"] == b"not_json" for _, _, headers in dead)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.dictionaries(st.integers(1, 18), st.sampled_from(Fault), min_size=1, max_size=8))
def test_faults_change_nothing(
    script: dict[int, Fault], model: Model, undisturbed: tuple[list[Any], list[Any], list[Any]]
) -> None:
    """Whatever happens to any commit, what comes out in the end is what comes out undisturbed, byte for byte."""
    configured = configuration()
    broker = filled(configured)
    run(broker, configured, model, script)
    assert seen(broker, configured) == undisturbed


def test_a_restore_after_an_error_is_no_rebalance(model: Model) -> None:
    """Partitions are assigned once; after an aborted transaction they are restored, and their age is no duration."""

    class Counts(Observer):
        assigned = restores = 0

        def rebalanced(self, kind: RebalanceKind, partitions: int, seconds: float) -> None:
            self.assigned += partitions if kind is RebalanceKind.ASSIGNED else 0

        def restored(self, *_: Any) -> None:
            self.restores += 1

    counts = Counts()
    configured = configuration()
    run(filled(configured), configured, model, {2: Fault.ABORT}, observer=counts)
    assert counts.assigned == PARTITIONS < counts.restores


@pytest.mark.parametrize("size", [7, 512, 4096])
def test_poll_sizes_change_nothing(
    size: int, model: Model, undisturbed: tuple[list[Any], list[Any], list[Any]]
) -> None:
    """However the log is cut into transactions, the decisions are the same."""
    configured = configuration(kafka__max_poll_records=size)
    broker = filled(configured)
    run(broker, configured, model)
    assert seen(broker, configured) == undisturbed


def test_a_live_learner_primes_before_the_first_decision() -> None:
    """Without any model the worker learns from what is retained, then decides from its own first offset."""
    configured = configuration()
    broker = filled(configured)
    identifiers, batch = target(TOY)
    for identifier, source, translation in zip(
        identifiers, batch.source.texts(), batch.target.texts(), strict=True
    ):
        value = json.dumps({"src": source, "tgt": translation}).encode()
        broker.append(configured.kafka.target_topic, 0, value, identifier.encode())
    run(broker, configured, None)
    decisions = [json.loads(value or b"") for value in broker.values(configured.kafka.decisions_topic)]
    assert len(decisions) == RECORDS - sum(value == b"broken" for value in VALUES)
    assert all(line["model_version"] >= 1 for line in decisions)


def damage(broker: MemoryBroker, configured: Settings, kind: bytes, which: slice) -> int:
    """Flip a bit in records of the ledger topic; how many."""
    count = 0
    for partition in range(PARTITIONS):
        log = broker.log(configured.kafka.ledger_topic, partition)
        places = [i for i, message in enumerate(log) if f"/{kind.decode()}/" in (message.key or b"").decode()]
        for place in places[which]:
            value = bytearray(log[place].value or b"")
            value[len(value) // 2] ^= 1
            log[place] = log[place]._replace(value=bytes(value))
            count += 1
    return count


def halves(model: Model) -> tuple[MemoryBroker, Settings]:
    """A broker on which half of the input of every partition is committed, and a worker has died on the other half."""
    configured = configuration()
    broker = filled(configured, VALUES[: RECORDS // 2])
    run(broker, configured, model)
    fill(broker, configured, VALUES[RECORDS // 2 :], RECORDS // 2)
    transport = MemoryTransport(broker, configured.kafka, {broker.commits + 1: Fault.CRASH})
    models = FixedModel(ModelStore(transport.reader(), configured.kafka.model_topic), Observer(), model, 1)
    with pytest.raises(Crash):
        Worker(configured, transport, load_encoder(), models, Observer(), threading.Event()).run()
    return broker, configured


def test_a_damaged_snapshot_falls_back(
    model: Model, undisturbed: tuple[list[Any], list[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of the newest snapshot flipped: the one before and the deltas lead to the same place."""
    monkeypatch.setattr("craft_stream.topics.ledger_writer.SNAPSHOT_EVERY", 2)
    broker, configured = halves(model)
    assert damage(broker, configured, b"whole", slice(-1, None)) == PARTITIONS
    run(broker, configured, model)
    assert seen(broker, configured) == undisturbed


def test_a_damaged_delta_is_named_and_rebuilt_only_when_told(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that nothing makes good stops the worker with a named error; --rebuild goes on from the committed offset."""
    monkeypatch.setattr("craft_stream.worker.restorer.DAMAGED_SECONDS", 0.1)
    broker, configured = halves(model)
    assert damage(broker, configured, b"whole", slice(None))
    assert damage(broker, configured, b"delta", slice(None))
    with pytest.raises(IntegrityError, match="rebuild"):
        run(broker, configured, model)
    run(broker, configured, model, rebuild=True)
    _, decisions, dead = seen(broker, configured)
    assert len(decisions) + len(dead) == RECORDS


def test_a_truncated_log_is_named(model: Model) -> None:
    """Records deleted before they were decided: a named error, and on with what is left only when told."""
    broker, configured = halves(model)
    gone = broker.committed[1].offset + 10
    broker.first[configured.kafka.input_topic, 1] = gone
    with pytest.raises(LogTruncatedError, match="retention"):
        run(broker, configured, model)
    run(broker, configured, model, rebuild=True)
    _, decisions, dead = seen(broker, configured)
    assert len(decisions) + len(dead) == RECORDS - 10


def test_offsets_that_expired_are_taken_from_the_ledger(
    model: Model, undisturbed: tuple[list[Any], list[Any], list[Any]]
) -> None:
    """The group was idle for longer than brokers keep offsets: the ledger knows where to go on."""
    broker, configured = halves(model)
    del broker.committed[1]
    run(broker, configured, model)
    assert seen(broker, configured) == undisturbed


def test_a_ledger_that_is_gone_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets without a ledger: never a silent new start."""
    monkeypatch.setattr("craft_stream.worker.restorer.GRACE_SECONDS", -20.0)
    configured = configuration()
    broker = filled(configured)
    broker.committed[0] = Position(100)
    with pytest.raises(IntegrityError, match="no ledger"):
        run(broker, configured, model)


def test_poison_policy_fail_stops(model: Model) -> None:
    """With policy "fail" a broken record stops the worker and is not passed over."""
    configured = configuration(errors__policies={"decode": "fail"})
    broker = filled(configured)
    with pytest.raises(DataError, match="not JSON"):
        run(broker, configured, model)
    assert broker.committed.get(1, Position(0)).offset <= 3  # where the first broken one is


@pytest.mark.parametrize(("stage", "error"), [("decide", RuntimeError), ("embed", EmbeddingError)])
def test_the_engine_failing_on_a_record_makes_it_a_dead_letter(
    stage: str, error: type[Exception], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair that selector or encoder fails on is sifted out when the policy says so; all others are decided."""
    from craft_stream.selection.selector import Selector

    original = Selector.decide

    def brittle(self: Selector, texts: TokenizedPairs, *rest: Any, **named: Any) -> Any:
        if any(text == json.loads(VALUES[100])["src"] for text in texts.batch.source.texts()):
            raise error("cannot")
        return original(self, texts, *rest, **named)

    monkeypatch.setattr(Selector, "decide", brittle)
    with pytest.raises(DataError, match=f"errors.policies.{stage} says to stop"):
        run(filled(configuration()), configuration(), model)
    configured = configuration(errors__policies={stage: "dead-letter"})
    broker = filled(configured)
    run(broker, configured, model)
    _, decisions, dead = seen(broker, configured)
    stages = [dict(headers)["craft-error-stage"] for _, _, headers in dead]
    assert stages.count(stage.encode()) == 1
    assert len(decisions) + len(dead) == RECORDS


def identities(broker: MemoryBroker, configured: Settings) -> list[tuple[int, int]]:
    """(partition, offset) of every record that was decided or is a dead letter."""
    kafka = configured.kafka
    found = []
    for message in itertools.chain.from_iterable(
        broker.log(kafka.decisions_topic, partition) for partition in range(PARTITIONS)
    ):
        _, partition, offset = (message.key or b"").decode().split("/")
        found.append((int(partition), int(offset)))
    for message in itertools.chain.from_iterable(
        broker.log(kafka.dead_letter_topic, partition) for partition in range(PARTITIONS)
    ):
        headers = dict(message.headers)
        found.append((int(headers["craft-error-partition"]), int(headers["craft-error-offset"])))
    return found


@pytest.mark.parametrize("fault", [Fault.SCATTERED, Fault.CRASH, Fault.CRASH_AFTER, Fault.ABORT])
def test_at_least_once_loses_nothing(fault: Fault, model: Model) -> None:
    """Whatever order brokers write in, a ledger never says more than what is written: each record is told of, perhaps twice."""
    configured = configuration(kafka__guarantee="at_least_once")
    broker = filled(configured)
    run(broker, configured, model, {2: fault, 5: fault})
    everything = {(n % PARTITIONS, n // PARTITIONS) for n in range(RECORDS)}
    assert set(identities(broker, configured)) == everything


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_what_a_ledger_leads_to_is_committed_though_nothing_comes(model: Model, guarantee: str) -> None:
    """A worker died before it committed the last offset, or the brokers have lost it: on an idle topic no lag is left."""
    configured = configuration(kafka__guarantee=guarantee)
    broker = filled(configured)
    run(broker, configured, model)
    before, decided = dict(broker.committed), identities(broker, configured)
    if guarantee == "at_least_once":
        broker.committed[0] = Position(before[0].offset - 3, before[0].note)
    else:
        del broker.committed[0]
    assert not broker.done(configured.kafka.input_topic)
    run(broker, configured, model)
    assert broker.committed == before
    assert identities(broker, configured) == decided


class Transactions(Observer):
    """Remembers how transactions ended, and the states of partitions."""

    def __init__(self) -> None:
        self.results: list[TransactionResult] = []
        self.states: list[tuple[int, PartitionState]] = []

    def transaction(self, result: TransactionResult, seconds: float, records: int, /) -> None:
        """Keep."""
        self.results.append(result)

    def partition_state(self, partition: int, state: PartitionState, /) -> None:
        """Keep."""
        self.states.append((partition, state))


def test_what_is_in_flight_is_committed_before_a_partition_is_given_back(
    model: Model, undisturbed: tuple[list[Any], list[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions are revoked while transactions are in flight: they drain, and no transaction is lost by that."""
    flush = MemoryOutput.flush

    def slow(self: MemoryOutput) -> None:
        time.sleep(0.03)
        flush(self)

    monkeypatch.setattr(MemoryOutput, "flush", slow)
    configured = configuration()
    broker = filled(configured)
    told = Transactions()
    run(broker, configured, model, {3: Fault.REVOKE, 6: Fault.REVOKE}, observer=told)
    assert set(told.results) == {TransactionResult.COMMITTED}
    assert seen(broker, configured) == undisturbed
    drained = [(number, state) for number, state in told.states if state is PartitionState.DRAINING]
    assert len(drained) >= 2
    for partition in range(PARTITIONS):
        states = [state for number, state in told.states if number == partition]
        assert states.index(PartitionState.DRAINING) + 1 == states.index(PartitionState.RELEASED)


def test_each_dead_letter_has_an_error_of_its_own(model: Model) -> None:
    """Broken records of one batch that differ in what is wrong, and where."""
    broken = [b"broken", b'{"src": 1, "tgt": "x"}', b'{"src": "x"}', b"[]", b'{"src": "a", "tgt": ""}', b"{"]
    configured = configuration(errors__dead_letter_limit=1.0)
    broker = filled(configured, broken * 4)
    run(broker, configured, model)
    found = []
    for partition in range(PARTITIONS):
        for message in broker.log(configured.kafka.dead_letter_topic, partition):
            headers = dict(message.headers)
            refusal = examine(message, configured.record)
            assert isinstance(refusal, Refusal)
            assert headers["craft-error-class"].decode() == refusal[0]
            assert headers["craft-error-message"].decode() == refusal[1]
            found.append(refusal)
    assert len(found) == 24
    assert len(set(found)) == len(broken)


def test_a_transaction_that_hangs_ends_the_worker(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can come of it any more: the loop, which goes on turning, ends with an error that a supervisor restarts after."""
    hanging = threading.Event()
    monkeypatch.setattr(MemoryOutput, "flush", lambda self: hanging.wait(20))
    monkeypatch.setattr("craft_stream.worker.watchdog.HANG_SECONDS", -19.8)  # of a time-out of 20
    configured = configuration()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="hanging"):
        run(filled(configured), configured, model)
    hanging.set()
    assert time.monotonic() - began < 10


def test_what_is_in_flight_is_committed_before_the_group_is_left_after_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops by name leaves no transaction open, for whose time-out all others would wait."""
    configured = configuration()
    open_: list[bool] = []
    commit = MemoryOutput.commit

    def slow(self: MemoryOutput) -> None:
        open_.append(True)
        time.sleep(0.1)

    def ended(self: MemoryOutput, *arguments: Any) -> None:
        commit(self, *arguments)
        open_.clear()

    def stopped(self: Any, committed: Any) -> None:
        raise DataError("enough")

    monkeypatch.setattr(MemoryOutput, "flush", slow)
    monkeypatch.setattr(MemoryOutput, "commit", ended)
    monkeypatch.setattr("craft_stream.worker.report.Report.tell", stopped)
    with pytest.raises(DataError, match="enough"):
        run(filled(configured), configured, model)
    assert not open_
