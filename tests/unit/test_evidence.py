"""What is kept as evidence: snapshots, versions of the Model, and what is told of damage and restores."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_runtime_worker import (
    PARTITIONS,
    TOY,
    VALUES,
    configuration,
    copied,
    damage,
    filled,
    halves,
    model,
)
from toy import target

from craft_stream.encoders import load_encoder
from craft_stream.errors import IntegrityError, LogTruncatedError
from craft_stream.events import Observer, Stage
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters
from craft_stream.recomputation import Recomputation, Stretch, look
from craft_stream.scoring.model import Model
from craft_stream.selection.selector import Selector
from craft_stream.settings import LedgerSettings, Settings
from craft_stream.testing.memory import Fault, MemoryBroker, MemoryReader, MemoryTransport
from craft_stream.topics import ledger_entries, ledger_writer
from craft_stream.topics.ledger_reader import LedgerRecords
from craft_stream.topics.models import ModelStore
from craft_stream.topics.retained_snapshots import RetainedSnapshot, RetainedSnapshots
from craft_stream.topics.target import TargetFollower
from craft_stream.topics.unused_models import in_force, unused
from craft_stream.worker.model_follower import FixedModel, ModelFollower
from craft_stream.worker.worker import Worker

__all__ = ["model"]  # a fixture
RETAINING = {"ledger__retained_snapshots": 3, "ledger__retained_snapshot_hours": 1e-9}


class Told(Observer):
    """Keeps what tests ask for."""

    def __init__(self) -> None:
        self.damage: list[str] = []
        self.progress: list[float] = []
        self.restores: list[tuple[int, int]] = []
        self.snapshots = Counter[str]()
        self.stages = Counter[Stage]()
        self.withdrawn = 0

    def ledger_damaged(self, partition: int, outcome: str) -> None:
        """Keep."""
        self.damage.append(outcome)

    def restoring(self, partition: int, share: float) -> None:
        """Keep."""
        self.progress.append(share)

    def restored(
        self, partition: int, seconds: float, size: int, attempts: int, deltas: int, written_ms: int
    ) -> None:
        """Keep."""
        self.restores.append((deltas, written_ms))

    def stage(self, stage: Stage, seconds: float, records: int) -> None:
        """Keep."""
        self.stages[stage] += 1

    def snapshot(self, partition: int, seconds: float, size: int) -> None:
        """Keep."""
        self.snapshots["made"] += 1

    def snapshot_failed(self, partition: int) -> None:
        """Keep."""
        self.snapshots["failed"] += 1

    def pruned(self, versions: int) -> None:
        """Keep."""
        self.withdrawn += versions


def work(
    broker: MemoryBroker,
    configured: Settings,
    model: Model | None,
    told: Observer | None = None,
    script: dict[int, Fault] | None = None,
    rebuild: bool = False,
) -> MemoryTransport:
    """One worker until all is committed."""
    stop = threading.Event()
    transport = MemoryTransport(broker, configured.kafka, script, stop.set)
    store = ModelStore(transport.reader(), configured.kafka.model_topic)
    told = told or Observer()
    models = FixedModel(store, told, model, 1) if model is not None else ModelFollower(store, told, 0.01)
    guard = threading.Timer(60, stop.set)
    guard.start()
    try:
        Worker(configured, transport, load_encoder(), models, told, stop, rebuild).run()
    finally:
        guard.cancel()
    return transport


@pytest.fixture(scope="module")
def retained(model: Model) -> MemoryBroker:
    """A log decided with a snapshot in nearly every transaction, each of them retained, three of them kept."""
    configured = configuration(**RETAINING)
    broker = filled(configured)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_writer, "SNAPSHOT_EVERY", 1)
        work(broker, configured, model)
    return broker


@pytest.fixture
def retaining(retained: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBroker, Settings]:
    """What was decided once, for one test alone, and how."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 1)
    return copied(retained), configuration(**RETAINING)


def audit(
    broker: MemoryBroker, configured: Settings, model: Model, start: int
) -> tuple[int | None, Recomputation, Stretch]:
    """Partition 0 decided again from `start`; every decision is compared with the one that was written."""
    reader = MemoryTransport(broker, configured.kafka).reader()
    store = ModelStore(reader, configured.kafka.model_topic)
    store.give(model)
    stretch = look(reader, configured, 0)
    selector = Selector(configured.parameters(), load_encoder())
    again = Recomputation(reader, configured, selector, store, stretch)
    begun = again.begin(start)
    written = {
        json.loads(message.value or b"")["decision_id"]: json.loads(message.value or b"")["reason"]
        for message in broker.log(configured.kafka.decisions_topic, 0)
    }
    from craft_stream.selection.decisions import Reason

    for _, decisions in again.run(stretch.committed):
        for offset, reason in zip(decisions.positions.tolist(), decisions.reason.tolist(), strict=True):
            assert written[f"{configured.kafka.input_topic}/0/{offset}"] == Reason(reason).label
    return begun, again, stretch


def test_an_audit_begins_at_a_retained_snapshot_when_the_log_is_cut(
    model: Model, retaining: tuple[MemoryBroker, Settings]
) -> None:
    """Half of the log is deleted: decisions after the snapshot are recomputed, and the last ledger is the committed one."""
    broker, configured = retaining
    whole, again, stretch = audit(broker, configured, model, 0)
    assert whole == 0
    assert not again.disagreeing
    broker.first[configured.kafka.input_topic, 0] = stretch.committed // 2
    begun, again, stretch = audit(broker, configured, model, 0)
    assert begun is not None
    assert stretch.committed // 2 <= begun < stretch.committed
    assert not again.disagreeing
    found = stretch.records.restore(configured.parameters(), stretch.committed)
    assert found is not None
    assert found.ledger.digest() == again.ledger.digest()


def test_an_audit_begins_as_near_as_it_can(model: Model, retaining: tuple[MemoryBroker, Settings]) -> None:
    """With a whole log, too, the last snapshot before --from is taken, and no more than three are kept."""
    broker, configured = retaining
    _, _, stretch = audit(broker, configured, model, 0)
    assert len(stretch.records.retained) == 3
    places = stretch.records.starts()
    begun, _, _ = audit(broker, configured, model, places[1] + 1)
    assert begun == places[1]


def test_a_forged_snapshot_is_found(model: Model, retaining: tuple[MemoryBroker, Settings]) -> None:
    """A snapshot that is sound in itself but not what the log gives: the audit that passes it says so."""
    broker, configured = retaining
    log = broker.log(configured.kafka.ledger_topic, 0)
    at = max(i for i, m in enumerate(log) if b"/anchor/" in (m.key or b"") and m.value)
    entry = ledger_entries.Entry.decode(log[at].value or b"", at)
    records = LedgerRecords(f"{configured.kafka.group_id}/{configured.kafka.input_topic}/0")
    records.add(log)
    ledger = records.start(configured.parameters(), entry.next_offset)
    ledger.floats[0] += 1
    log[at] = log[at]._replace(value=replace(entry, payload=ledger.snapshot()).encode())
    _, again, _ = audit(broker, configured, model, 0)
    assert again.disagreeing == [entry.next_offset]


def test_without_retained_snapshots_a_cut_log_is_named(model: Model) -> None:
    """Nothing to begin from: the error names the settings that would have helped."""
    configured = configuration(ledger__retained_snapshots=0)
    broker = filled(configured)
    work(broker, configured, model)
    stretch = look(MemoryTransport(broker, configured.kafka).reader(), configured, 0)
    assert not stretch.records.retained
    broker.first[configured.kafka.input_topic, 0] = stretch.committed
    cut = {
        n: whole for n, whole in stretch.records.snapshots.items() if whole[1].next_offset < stretch.committed
    }
    stretch = replace(stretch, retained=stretch.committed, records=replace(stretch.records, snapshots=cut))
    reader = MemoryTransport(broker, configured.kafka).reader()
    selector = Selector(configured.parameters(), load_encoder())
    store = ModelStore(reader, configured.kafka.model_topic)
    with pytest.raises(LogTruncatedError, match=r"ledger\.retained_snapshots"):
        Recomputation(reader, configured, selector, store, stretch).begin(0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30), st.integers(0, 5))
def test_segments_are_kept_for_as_long_as_a_snapshot_needs_them(
    steps: list[tuple[int, int]], count: int
) -> None:
    """Whatever comes: what is released was needed by nobody, and is released once, in order."""
    policy = LedgerSettings(retained_snapshots=count, retained_snapshot_hours=1.0)
    kept, segment, now, released = RetainedSnapshots(), 0, 0, []
    for segments, hours in steps:
        segment, now = segment + segments, now + hours * 3_600_000
        if kept.due(policy, now):
            kept.add(RetainedSnapshot(now, segment, now))
        kept.drop(policy)
        released += list(kept.release_segments(segment))
        assert len(kept.kept) <= count
        assert all(one.first_segment > max(released, default=-1) for one in kept.kept)
        assert RetainedSnapshots.decode(kept.encode()) == kept
    assert released == list(range(len(released)))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 50)), min_size=1, max_size=30), st.integers(0, 2000)
)
def test_no_version_that_was_in_force_in_the_log_may_go(changes: list[tuple[int, int]], first: int) -> None:
    """Versions change at random, back and forth, too: all that were in force at `first` or later are needed."""
    offset, history, uses = 0, [], {}
    for version, length in changes:
        history.append((offset, offset + length, version))
        uses[version] = offset
        offset += length
    history[-1] = (history[-1][0], 1 << 40, history[-1][2])
    needed = {version for _, end, version in history if end > first}
    found = in_force(uses, first)
    assert needed <= found
    if len({version for version, _ in changes}) == len(changes):
        assert needed == found, "without going back nothing more is kept"


def test_the_learner_withdraws_what_nothing_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every batch a version: four and those in force in the log stay, the rest goes once the log is cut."""
    for name in ("PUBLISH_SECONDS", "TARGET_SECONDS"):
        monkeypatch.setattr(f"craft_stream.worker.learner_service.{name}", 0.0)
    configured = configuration(
        learner__publish_pairs=1024, learner__prime_pairs=100, learner__keep_versions=4, learner__clusters=2
    )
    kafka = configured.kafka
    broker = filled(configured)
    publish_target(broker, configured)
    told = Told()
    for _ in range(3):
        work(broker, configured, None, told)
        for number, value in enumerate(VALUES):
            broker.append(kafka.input_topic, number % 2, value)
    reader = MemoryTransport(broker, kafka).reader()
    store = ModelStore(reader, kafka.model_topic)
    store.refresh()
    named = set().union(*(look(reader, configured, p).records.models.values() for p in (0, 1)))
    assert named <= set(store.manifests), "the whole log can be audited"
    assert set(store.uses) == {f"{kafka.group_id}/{kafka.input_topic}/{p}" for p in (0, 1)}
    committed = {p: broker.committed[p].offset for p in (0, 1)}
    for partition, offset in committed.items():
        broker.first[kafka.input_topic, partition] = offset
    latest = {
        look(reader, configured, p).records.models[max(look(reader, configured, p).records.models)]
        for p in (0, 1)
    }
    goes = unused(store, reader, 1)
    assert set(goes) == set(store.manifests) - {max(store.manifests)} - latest


def publish_target(broker: MemoryBroker, configured: Settings) -> None:
    identifiers, batch = target(TOY)
    for identifier, source, translation in zip(
        identifiers, batch.source.texts(), batch.target.texts(), strict=True
    ):
        value = json.dumps({"src": source, "tgt": translation}).encode()
        broker.append(configured.kafka.target_topic, 0, value, identifier.encode())


def test_a_target_with_many_withdrawals_is_read_again() -> None:
    """More is withdrawn than the reservoir has in reserve: after reading again it is the one of the pairs that are left."""
    configured = configuration()
    kafka = configured.kafka
    broker = MemoryBroker({kafka.target_topic: 1})
    parameters = Parameters(learning=LearningParameters(reservoir_size=16))
    pair = json.dumps({"src": "a b", "tgt": "c d"}).encode()
    for number in range(400):
        broker.append(kafka.target_topic, 0, pair, b"t%d" % number)
    for number in range(380):
        broker.append(kafka.target_topic, 0, None, b"t%d" % number)
    broker.append(kafka.target_topic, 0, pair, b"t7")  # withdrawn and published again
    learner = Learner(parameters, load_encoder())
    follower = TargetFollower(
        MemoryReader(MemoryTransport(broker, kafka)), kafka.target_topic, configured.record
    )
    follower.refresh(learner)
    assert learner.target_incomplete
    follower.reread(learner)
    assert not learner.target_incomplete
    left = Learner(parameters, load_encoder())
    for number in [7, *range(380, 400)]:
        left.observe_target([f"t{number}"], target(TOY)[1].slice(0, 1))
    kept, wanted = ({p.identifier for p in one._reservoir.sample().pairs} for one in (learner, left))
    assert kept == wanted
    assert len(kept) == 16


def test_restores_are_told(model: Model) -> None:
    """Progress goes from nothing to what is read, the stage is timed, and deltas and age are those of the topic."""
    broker, configured = halves(model)
    told = Told()
    work(broker, configured, model, told)
    assert told.stages[Stage.RESTORE] == 2
    assert told.progress
    assert all(0 < share <= 1 for share in told.progress)
    assert sum(deltas for deltas, _ in told.restores) > 0
    assert {written_ms for _, written_ms in told.restores} == {1}, "the time of the record in memory"
    assert told.damage == []


@pytest.mark.parametrize(("rebuild", "outcome"), [(False, "refused"), (True, "rebuilt")])
def test_damage_without_remedy_is_told(
    model: Model, monkeypatch: pytest.MonkeyPatch, rebuild: bool, outcome: str
) -> None:
    """A ledger that leads nowhere stops the worker or is begun anew when told so, and both are counted."""
    monkeypatch.setattr("craft_stream.worker.restorer.DAMAGED_SECONDS", 0.1)
    broker, configured = halves(model)
    damage(broker, configured, b"whole", slice(None))
    damage(broker, configured, b"delta", slice(None))
    told = Told()
    try:
        work(broker, configured, model, told, rebuild=rebuild)
    except IntegrityError:
        assert not rebuild
    assert set(told.damage) == {outcome}


def test_falling_back_is_told(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest snapshot is damaged and the one before leads on: a warning, and counted."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 2)
    broker, configured = halves(model)
    assert damage(broker, configured, b"whole", slice(-1, None)) == PARTITIONS
    told = Told()
    work(broker, configured, model, told)
    assert told.damage == ["fell_back"] * PARTITIONS
    assert "damaged records of the ledger topic were passed over" in caplog.text


def test_snapshots_that_are_not_committed_are_told(model: Model) -> None:
    """The first transaction holds a snapshot of each partition; it is aborted and tried again."""
    configured = configuration()
    broker = filled(configured)
    told = Told()
    work(broker, configured, model, told, {1: Fault.ABORT})
    assert told.snapshots["failed"] >= 1
    assert told.snapshots["made"] >= told.snapshots["failed"] + 2


def test_a_stop_during_a_restore_is_obeyed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger topic does not answer: a worker that is told to stop ends at once all the same."""
    broker, configured = halves(model)
    reading, stop = threading.Event(), threading.Event()

    def hang(self: MemoryReader, *arguments: Any) -> Any:
        reading.set()
        threading.Event().wait(30)

    monkeypatch.setattr(MemoryReader, "committed", hang)
    transport = MemoryTransport(broker, configured.kafka)
    models = FixedModel(ModelStore(transport.reader(), configured.kafka.model_topic), Observer(), model, 1)
    worker = Worker(configured, transport, load_encoder(), models, Observer(), stop)
    ended = threading.Thread(target=worker.run)
    ended.start()
    assert reading.wait(20)
    began = time.monotonic()
    stop.set()
    ended.join(10)
    assert not ended.is_alive()
    assert time.monotonic() - began < 3


def test_other_records_of_the_topic_do_not_count() -> None:
    """Records of another group, or whose kind is unknown, change nothing but are named when they are ours."""
    entry = ledger_entries.Entry(ledger_entries.Kind.DELTA, 0, 1, b"x").encode()
    unknown = bytearray(entry)
    unknown[10] = 99
    import zlib

    unknown[-4:] = zlib.crc32(bytes(unknown[:-4])).to_bytes(4, "little")
    broker = MemoryBroker({"ledger": 1})
    broker.append("ledger", 0, entry, b"other/t/0/delta/0")
    broker.append("ledger", 0, bytes(unknown), b"g/t/0/delta/0")
    records = LedgerRecords("g/t/0")
    records.add(broker.log("ledger", 0))
    assert not records.deltas
    assert len(records.damaged) == 1
    assert "unknown kind 99" in records.damaged[0]
    assert np.isfinite(records.size)
