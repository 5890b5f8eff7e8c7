"""A ledger and its topics: made anew, moved, grown; what is refused, what a rebuild leaves."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evidence import audit, work
from test_ledger_topic import Partition, compacted
from test_runtime_worker import RECORDS, VALUES, configuration, copied, fill, filled, learned, model
from toy import versions

from craft_stream.encoders import load_encoder
from craft_stream.errors import (
    AccessError,
    ConfigurationError,
    IntegrityError,
    OffsetMovedError,
    TopicReplacedError,
    UnavailableError,
)
from craft_stream.events import Observer
from craft_stream.learning.learner import Learner
from craft_stream.ports.transport import Position
from craft_stream.recomputation import look
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.topics import model_writer
from craft_stream.topics.ledger_entries import Kind
from craft_stream.topics.ledger_reader import read_ledger
from craft_stream.topics.models import ModelStore
from craft_stream.topics.origin import Origin
from craft_stream.topics.target import TargetFollower
from craft_stream.worker.learner_service import LearnerService
from craft_stream.worker.restorer import Restorer

__all__ = ["model"]  # a fixture

# 100 in the long form, `make damages`.
TRIES = max(3, int(os.environ.get("CRAFT_TEST_DAMAGES", "300")) // 100)


@cache
def _decided(number: int) -> MemoryBroker:
    configured = configuration()
    broker = filled(configured, VALUES[:number])
    broker.ids = {topic: f"{topic}-1" for topic in broker.topics}
    work(broker, configured, learned())
    return broker


def decided(number: int = RECORDS) -> tuple[MemoryBroker, Settings]:
    """A broker that knows its topics' ids, on which all of so many records is decided; made once, copied for each."""
    return copied(_decided(number)), configuration()


def sound(broker: MemoryBroker, configured: Settings, model: Model) -> int | None:
    """What `ledger verify` and `audit` ask, of partition 0; where the audit begins."""
    position = broker.committed[0]
    records = read_ledger(MemoryTransport(broker, configured.kafka).reader(), configured.kafka, 0)
    assert not records.damaged
    restored = records.restore(configured.parameters(), position.offset)
    assert restored is not None
    assert restored.ledger.next_offset == position.offset
    begun, again, _ = audit(broker, configured, model, 0)
    assert not again.disagreeing
    assert again.ledger.digest() == restored.ledger.digest()
    return begun


def test_the_topics_of_a_ledger_are_noted(model: Model) -> None:
    """With the first transaction, and beside every snapshot, so that a restore that reads the end finds it."""
    broker, configured = decided()
    records = read_ledger(MemoryTransport(broker, configured.kafka).reader(), configured.kafka, 0)
    kafka = configured.kafka
    assert records.origin == Origin(f"{kafka.input_topic}-1", f"{kafka.ledger_topic}-1")
    places = [m.offset for m in broker.log(kafka.ledger_topic, 0) if b"/origin/" in (m.key or b"")]
    snapshots = [m.offset for m in broker.log(kafka.ledger_topic, 0) if b"/whole/" in (m.key or b"")]
    assert len(places) >= len(snapshots)


def test_a_ledger_of_before_learns_its_topics(model: Model) -> None:
    """One that a release without ids has written goes on, and has them from its next transaction on."""
    configured = configuration()
    broker = filled(configured, VALUES[: RECORDS // 2])
    work(broker, configured, model)
    broker.ids = {topic: f"{topic}-1" for topic in broker.topics}
    fill(broker, configured, VALUES[RECORDS // 2 :], RECORDS // 2)
    work(broker, configured, model)
    records = read_ledger(MemoryTransport(broker, configured.kafka).reader(), configured.kafka, 1)
    assert records.origin.input_id == f"{configured.kafka.input_topic}-1"
    assert sound(broker, configured, model) == 0


@pytest.mark.parametrize("kept", [True, False], ids=["offsets stay", "offsets are gone"])
def test_a_topic_that_was_made_anew_is_named(model: Model, kept: bool) -> None:
    """Longer than the old one or not: nothing of it is passed over; a rebuild decides it from its first record on."""
    broker, configured = decided(1000)
    topic = configured.kafka.input_topic
    for partition in range(2):
        broker.log(topic, partition).clear()
        if not kept:
            del broker.committed[partition]
    broker.ids[topic] = "another"
    fill(broker, configured, VALUES)
    began, commits = time.monotonic(), broker.commits
    with pytest.raises(TopicReplacedError, match=r"made anew.*--rebuild"):
        work(broker, configured, model)
    assert time.monotonic() - began < 5
    assert broker.commits == commits
    with pytest.raises(TopicReplacedError, match="made anew"):
        look(MemoryTransport(broker, configured.kafka).reader(), configured, 0)  # an audit
    before = {p: len(broker.log(configured.kafka.decisions_topic, p)) for p in range(2)}
    work(broker, configured, model, rebuild=True)
    told = [m.key for p in range(2) for m in broker.log(configured.kafka.decisions_topic, p)[before[p] :]]
    told += [m.key for p in range(2) for m in broker.log(configured.kafka.dead_letter_topic, p)]
    dead_before = sum(value == b"broken" for value in VALUES[:1000])
    assert len(told) == RECORDS + dead_before
    assert sound(broker, configured, model) == 0
    records = read_ledger(MemoryTransport(broker, configured.kafka).reader(), configured.kafka, 0)
    assert records.origin.input_id == "another"
    assert records.origin.decisions_from == before


@pytest.mark.parametrize("by", [-200, 100])
def test_moved_offsets_are_named_and_a_rebuild_leaves_a_sound_ledger(model: Model, by: int) -> None:
    """Back or forth: the number to put back; put back, it goes on; rebuilt, it is audited from there."""
    broker, configured = decided(1000)
    fill(broker, configured, VALUES[1000:2000], 1000)
    place = broker.committed[0]
    broker.committed[0] = Position(place.offset + by)
    began = time.monotonic()
    with pytest.raises(OffsetMovedError, match=f"--to-offset {place.offset} "):
        work(broker, configured, model)
    assert time.monotonic() - began < 5
    broker.committed[0] = Position(place.offset)
    work(broker, configured, model)
    assert sound(broker, configured, model) == 0
    broker.committed[0] = Position(place.offset + by)
    work(broker, configured, model, rebuild=True)
    assert sound(broker, configured, model) == place.offset + by
    fill(broker, configured, VALUES[2000:], 2000)
    work(broker, configured, model)  # and after a restart
    assert sound(broker, configured, model) == place.offset + by


def everything(broker: MemoryBroker, configured: Settings, since: dict[int, int]) -> None:
    """From `since` on every record of every partition has a decision or a dead letter."""
    kafka = configured.kafka
    told = {m.key for p in range(2) for m in broker.log(kafka.decisions_topic, p)}
    told |= {m.key for p in range(2) for m in broker.log(kafka.dead_letter_topic, p)}
    for partition in range(broker.topics[kafka.input_topic]):
        log = broker.log(kafka.input_topic, partition)
        assert broker.committed[partition].offset == len(log)
        for message in log[since.get(partition, 0) :]:
            name = f"{kafka.input_topic}/{partition}/{message.offset}".encode()
            assert name in told or message.value == b"broken", name


def test_nothing_is_passed_over_whatever_happens_to_topics(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of topics made anew, offsets moved, partitions added, restarts: a named stop, or all is decided."""
    monkeypatch.setattr("craft_stream.worker.restorer.GRACE_SECONDS", -20.0)
    for seed in range(TRIES):
        rng = random.Random(seed)
        configured = configuration()
        broker = filled(configured, VALUES[: rng.randrange(300, 900)])
        kafka, since = configured.kafka, dict[int, int]()
        broker.ids = dict.fromkeys(broker.topics, "1")
        work(broker, configured, model)
        for step in range(2, 5):
            event = rng.choice(["anew", "ledger anew", "moved", "grown", "restart"])
            refused: type[Exception] | None = None
            if event == "anew":
                since, refused = {}, TopicReplacedError
                broker.ids[kafka.input_topic] = str(step)
                for partition in range(broker.topics[kafka.input_topic]):
                    broker.log(kafka.input_topic, partition).clear()
                if rng.random() < 0.5:
                    broker.committed.clear()
            elif event == "ledger anew":
                refused = IntegrityError
                since = {p: at.offset for p, at in broker.committed.items()}
                broker.ids[kafka.ledger_topic] = str(step)
                for partition in range(broker.topics[kafka.ledger_topic]):
                    broker.log(kafka.ledger_topic, partition).clear()
            elif event == "moved":
                partition = rng.randrange(2)
                at = broker.committed[partition].offset
                moved = max(0, at + rng.choice([-1, 1]) * rng.randrange(1, 120))
                if moved != at:
                    refused, since[partition] = OffsetMovedError, moved
                    broker.committed[partition] = Position(moved)
            elif event == "grown":
                broker.topics = {**broker.topics, kafka.input_topic: 3}
            count = rng.randrange(300, 1000)
            for number, value in enumerate(rng.sample(VALUES, count)):
                broker.append(kafka.input_topic, number % broker.topics[kafka.input_topic], value, b"k")
            if refused is not None:
                commits = broker.commits
                with pytest.raises(refused):
                    work(broker, configured, model)
                work(broker, configured, model, rebuild=True)
                assert broker.commits > commits
            else:
                work(broker, configured, model)
            everything(broker, configured, since)
            sound(broker, configured, model)


def test_partitions_that_were_added_are_decided(model: Model) -> None:
    """The input topic has four partitions now, the others two: the ledger topic is widened, nothing waits for a person."""
    broker, configured = decided()
    kafka = configured.kafka
    broker.topics = {**broker.topics, kafka.input_topic: 4}
    for number, value in enumerate(VALUES[:400]):
        broker.append(kafka.input_topic, number % 4, value, b"k%d" % number)
    work(broker, configured, model)
    assert broker.topics[kafka.ledger_topic] == 4
    assert {p: broker.committed[p].offset for p in (2, 3)} == {2: 100, 3: 100}


@pytest.mark.parametrize("refusal", [AccessError("not yours"), ConfigurationError("a policy says no")])
def test_a_partition_that_may_not_be_added_is_waited_for(
    model: Model, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    """A worker without the right to widen says what to type, and goes on when somebody has."""
    monkeypatch.setattr("craft_stream.worker.restorer.WIDEN_SECONDS", 0.2)
    broker, configured = decided()
    kafka = configured.kafka
    broker.topics = {**broker.topics, kafka.input_topic: 3}
    transport = MemoryTransport(broker, kafka)

    def widen(topic: str, partitions: int) -> None:
        raise refusal

    monkeypatch.setattr(transport, "widen", widen)
    store = ModelStore(transport.reader(), kafka.model_topic)
    restorer = Restorer(configured, transport, configured.parameters(), store, False)
    with pytest.raises(UnavailableError, match=rf"{refusal}.*craft-stream topics create"):
        restorer.restore(2)
    broker.topics = {**broker.topics, kafka.ledger_topic: 3}
    assert restorer.restore(2).offset == 0


@pytest.mark.parametrize("transactions", [0, 1, 12])
def test_what_is_given_up_is_gone(transactions: int) -> None:
    """After its withdrawal nothing of a ledger is read, from the log or from what compaction leaves of it."""
    partition = Partition(learned())
    for number in range(transactions):
        partition.transact(30 + number)
    records = partition.read()
    writer = type(partition.writer)("g/t/0", given_up=frozenset(records.keys))
    fresh = Partition(learned(), writer=writer, log=partition.log)
    fresh.transact(50)
    for log in (fresh.log, compacted(fresh.log)):
        found = fresh.read(log)
        restored = found.restore(fresh.parameters)
        assert restored is not None
        assert restored.ledger.digest() == fresh.ledger.digest()
        assert list(found.models) == [0]
        assert set(found.snapshots) == set(found.deltas) == {0}


@given(st.dictionaries(st.integers(0, 500), st.integers(0, 1 << 40), max_size=5), st.text(), st.text())
def test_an_origin_travels(ends: dict[int, int], one: str, other: str) -> None:
    """What is written is read."""
    origin = Origin(one, other, ends)
    assert Origin.decode(origin.encode()) == origin


def test_kinds_have_numbers_for_ever() -> None:
    """A number that was written means the same in every release."""
    assert Kind.ORIGIN == 7


def test_a_model_topic_made_anew_is_followed() -> None:
    """Shorter than it was: what it told is forgotten, what it tells now is known."""
    made = MemoryTransport(MemoryBroker({"m": 2}), Settings().kafka)
    first, second = versions()
    for number in (1, 2, 3):
        model_writer.publish(made.output("learner"), "m", replace(first, version=number))
    store = ModelStore(made.reader(), "m")
    store.refresh()
    assert store.load(3).digest == first.digest
    for partition in (0, 1):
        made.broker.log("m", partition).clear()
    model_writer.publish(made.output("learner"), "m", replace(second, version=1))
    store.refresh()
    assert list(store.manifests) == [1]
    assert store.load(1).digest == second.digest


def test_a_target_topic_made_anew_is_read_again() -> None:
    """Shorter than it was: the learner has what it holds now, and nothing of before."""
    configured = configuration()
    kafka = configured.kafka
    broker = MemoryBroker({kafka.target_topic: 1, kafka.model_topic: 2})
    pair = json.dumps({"src": "a b", "tgt": "c d"}).encode()
    for number in range(20):
        broker.append(kafka.target_topic, 0, pair, b"t%d" % number)
    transport, learner = MemoryTransport(broker, kafka), Learner(configured.parameters(), load_encoder())
    follower = TargetFollower(transport.reader(), kafka.target_topic, configured.record)
    service = LearnerService(configured, transport, load_encoder(), Observer())
    follower.refresh(learner)
    broker.log(kafka.target_topic, 0).clear()
    for number in range(5):
        broker.append(kafka.target_topic, 0, pair, b"u%d" % number)
    follower.refresh(learner)
    service._complete(follower, learner)
    assert learner.target_size == 5
    assert follower.refresh(learner) == 0
    assert not follower.replaced
