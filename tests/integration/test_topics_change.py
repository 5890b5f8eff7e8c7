"""Topics that change under a group: made anew, moved, grown. Nothing is passed over in silence, and audits stay exact."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition

from connectors.kafka import admin as kafka_admin
from connectors.kafka.transport import KafkaTransport
from craft_stream.encoders import load_encoder
from craft_stream.errors import (
    CraftError,
    IntegrityError,
    LogTruncatedError,
    OffsetMovedError,
    TopicReplacedError,
)
from craft_stream.events import Observer
from craft_stream.scoring.model import Model
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import FixedModel
from craft_stream.worker.worker import Worker
from tests.integration.deployment import Deployment, lagging, pairs, pinned_model, target_pairs

pytestmark = pytest.mark.integration

# 100 in the long form, `make topics-change`: half an hour.
TRIES = int(os.environ.get("CRAFT_TEST_TOPICS_CHANGE", "5"))


def made_anew(run: Deployment, topic: str, partitions: int) -> None:
    """Delete a topic, and make one of its name."""
    client = KafkaAdminClient(bootstrap_servers=run.bootstrap)
    client.delete_topics([topic])
    deadline = time.monotonic() + 30
    while topic in client.list_topics():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with kafka_admin.connect(run.settings.kafka) as admin:
        plans = kafka_admin.plans(run.settings.kafka, run.settings.record, partitions)
        admin.create([plan for plan in plans if plan.name == topic], 1)
    client.close()


def move(run: Deployment, offsets: dict[int, int]) -> None:
    """Commit offsets as an administrator's tool does: without a note."""
    consumer = KafkaConsumer(bootstrap_servers=run.bootstrap, group_id=run.settings.kafka.group_id)
    topic = run.settings.kafka.input_topic
    consumer.commit({TopicPartition(topic, p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()})
    consumer.close(autocommit=False)


def ends(run: Deployment, log: str, seconds: float = 40.0) -> str:
    """Start a worker that must end by itself, with exit code 1; what it says."""
    worker = run.start(log=log)
    try:
        code = worker.wait(seconds)
    except subprocess.TimeoutExpired:
        worker.kill()
        pytest.fail(f"it goes on: {run.log(log)}")
    assert code == 1, run.log(log)
    return run.log(log)


def sound(run: Deployment, audit: str) -> None:
    """`ledger ls`, `ledger verify` and `audit` work, and the audit says where it begins."""
    assert not any(line["problem"] for line in run.ledger())
    verified = run.command("ledger", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    audited = run.command("audit")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert " 0 differ" in audited.stdout
    assert re.search(audit, audited.stdout), audited.stdout


def test_a_topic_made_anew_is_a_named_stop(bootstrap: str, tmp_path: Path) -> None:
    """While no worker runs and while one does; after a rebuild all of the new topic is decided, and the audit is exact."""
    run = Deployment(bootstrap, tmp_path, 2)
    run.publish_target(target_pairs())
    run.feed(pairs(6_000))
    with run.worker() as worker:
        run.wait_done([worker])
    topic = run.settings.kafka.input_topic
    made_anew(run, topic, 2)
    run.feed(pairs(9_000, seed=2))
    began = time.monotonic()
    said = ends(run, "refused")
    assert f"{topic} was deleted and made anew" in said
    assert "run --rebuild" in said
    assert time.monotonic() - began < 25  # 3 s of it are the start
    assert all("made anew" in (line["problem"] or "") for line in run.ledger())
    assert "made anew" in run.command("audit").stderr
    live = run.start("--rebuild", log="rebuilt")
    try:
        run.wait_done([live])
        sound(run, r"recomputed from offset 0 to 4500")
        made_anew(run, topic, 2)
        run.feed(pairs(12_000, seed=3))
        assert live.wait(60) == 1
        assert "made anew" in run.log("rebuilt")
    finally:
        live.kill()
    assert "made anew" in ends(run, "refused again")
    with run.worker("--rebuild", log="rebuilt again") as worker:
        run.wait_done([worker])
    with run.worker(log="afterwards") as worker:
        time.sleep(3)
    assert [line["next_offset"] for line in run.ledger()] == [6_000, 6_000]
    sound(run, r"recomputed from offset 0 to 6000")


def test_moved_offsets_are_a_named_stop(bootstrap: str, tmp_path: Path) -> None:
    """Back or forth by an administrator: the number to put back within seconds; put back or rebuilt, the audit is exact."""
    run = Deployment(bootstrap, tmp_path, 2)
    run.publish_target(target_pairs())
    run.feed(pairs(6_000))
    with run.worker() as worker:
        run.wait_done([worker])
    run.feed(pairs(2_000, seed=2), start=6_000)
    for moved in (1_000, 3_500):
        move(run, {0: moved})
        began = time.monotonic()
        said = ends(run, f"moved to {moved}")
        assert "--to-offset 3000 --execute" in said
        assert f"leads to 3000, but {moved} is committed" in run.ledger()[0]["problem"]
        assert time.monotonic() - began < 20
    move(run, {0: 3_000})
    with run.worker(log="put back") as worker:
        run.wait_done([worker])
    sound(run, r"/0: recomputed from offset 0 to 4000")
    move(run, {0: 1_000})
    with run.worker("--rebuild", log="rebuilt") as worker:
        run.wait_done([worker])
    with run.worker(log="afterwards") as worker:
        time.sleep(3)
    sound(run, r"/0: recomputed from offset 1000 to 4000")


def test_partitions_grow_under_load(bootstrap: str, tmp_path: Path) -> None:
    """2 to 4 while two workers decide: noticed within a metadata interval, the ledger topic is widened, the audit is exact."""
    run = Deployment(bootstrap, tmp_path, 2)
    run.publish_target(target_pairs())
    run.feed(pairs(8_000))
    kafka = run.settings.kafka
    with run.worker(log="one") as one, run.worker(log="two") as two:
        run.wait_committed(2_000)
        began = time.monotonic()
        with kafka_admin.connect(kafka) as admin:
            admin.widen({kafka.input_topic: 4})
        run.partitions = 4
        run.feed(pairs(8_000, seed=2), start=8_000)
        reader = KafkaTransport(kafka).reader()
        while not all(reader.committed(partition) for partition in range(4)):
            assert time.monotonic() - began < 45, run.log("one") + run.log("two")
            time.sleep(0.3)
        reader.close()
        run.wait_done([one, two])
        sound(run, r"/3: recomputed from offset 0 to 2000")
        assert run.accounted(16_000)
    widened = run.command("topics", "create")
    assert "widened" in widened.stdout
    assert run.command("topics", "check").returncode == 0
    sound(run, r"/2: recomputed from offset 0 to 2000")


class WorkerHere:
    """A worker in a thread of this process: a process of its own costs seconds to start."""

    def __init__(self, run: Deployment, model: Model, rebuild: bool = False) -> None:
        self.error: CraftError | None = None
        self._run, self._stop, transport = run, threading.Event(), KafkaTransport(run.settings.kafka)
        self._reader = transport.reader()
        store = ModelStore(self._reader, run.settings.kafka.model_topic)
        models = FixedModel(store, Observer(), model, 1)
        self._worker = Worker(
            run.settings, transport, load_encoder(), models, Observer(), self._stop, rebuild
        )
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._worker.run()
        except CraftError as error:
            self.error = error

    def settles(self, seconds: float = 60.0) -> CraftError | None:
        """Wait until it has ended by itself, or all is committed."""
        deadline = time.monotonic() + seconds
        with closing(KafkaTransport(self._run.settings.kafka).reader()) as reader:
            while self._thread.is_alive() and lagging(reader, self._run.settings.kafka.input_topic):
                assert time.monotonic() < deadline, "neither done nor stopped"
                time.sleep(0.1)
        return self.error

    def ends(self, seconds: float = 30.0) -> CraftError | None:
        """Wait until it has ended by itself."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it goes on"
        return self.error

    def stop(self) -> None:
        """Tell it to end."""
        self._stop.set()
        self._thread.join(30)
        self._reader.close()


def everything(run: Deployment, since: dict[int, int], seconds: float = 40.0) -> int:
    """How many records there are from `since` on; each has a decision on the text that it holds, however often.

    What a worker had begun when it ended by name hides what is behind it until the brokers give it up, after 20 s.
    """
    kafka, deadline = run.settings.kafka, time.monotonic() + seconds
    here = [m for m in run.read(kafka.input_topic) if m.offset >= since.get(m.partition, 0)]
    wanted = {
        (f"{kafka.input_topic}/{m.partition}/{m.offset}", json.loads(m.value or b"")["id"]) for m in here
    }
    while True:
        lines = [json.loads(message.value or b"") for message in run.read(kafka.decisions_topic)]
        missing = wanted - {(line["decision_id"], line["id"]) for line in lines}
        if not missing:
            return len(here)
        assert time.monotonic() < deadline, f"{len(missing)} were passed over: {sorted(missing)[:3]}"
        time.sleep(0.2)


def test_nothing_is_passed_over_whatever_happens_to_topics(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics made anew, offsets moved, partitions added, beside a worker or not: a named stop, or all is decided."""
    # A ledger that is not there may be a commit under way: it is waited for 50 s, of which there is no need here.
    monkeypatch.setattr("craft_stream.worker.restorer.GRACE_SECONDS", -15.0)
    rng = random.Random(51)
    for number in range(TRIES):
        kind = ["anew", "moved", "ledger anew", "grown", "anew live"][number % 5]
        run = Deployment(bootstrap, tmp_path, 2, {"learner.mode": "off"})
        kafka = run.settings.kafka
        model = Model.decode(pinned_model(tmp_path, run.settings, pairs(3_000, seed=9)).read_bytes())
        first = rng.randrange(200, 1_500)
        run.feed(pairs(first, seed=1))
        worker, since = WorkerHere(run, model), dict[int, int]()
        assert worker.settles() is None
        refused: type[CraftError] = TopicReplacedError
        if kind != "anew live":
            worker.stop()
        match kind:
            case "anew" | "anew live":
                made_anew(run, kafka.input_topic, 2)
                run.feed(pairs(rng.randrange(1, 3_000), seed=2))
            case "ledger anew":
                made_anew(run, kafka.ledger_topic, 2)
                since, refused = {p: (first + 1 - p) // 2 for p in (0, 1)}, IntegrityError
                run.feed(pairs(500, seed=2), start=first)
            case "moved":
                run.feed(pairs(500, seed=2), start=first)
                moved = max(0, first // 2 + rng.choice([-1, 1]) * rng.randrange(2, 200))
                since, refused = {1: moved}, OffsetMovedError
                move(run, {1: moved})
            case _:
                run.partitions = rng.randrange(3, 7)
                with kafka_admin.connect(kafka) as admin:
                    admin.widen({kafka.input_topic: run.partitions})
                run.feed(pairs(rng.randrange(100, 1_000), seed=2), start=first)
        if kind == "anew live":
            # The client may notice first that what it has read is not there.
            assert isinstance(worker.ends(), (refused, LogTruncatedError)), worker.error
            worker.stop()
        elif kind != "grown":
            worker = WorkerHere(run, model)
            assert isinstance(worker.settles(), refused), (kind, worker.error)
            worker.stop()
        worker = WorkerHere(run, model, rebuild=kind != "grown")
        assert worker.settles() is None, (kind, worker.error)
        worker.stop()
        assert everything(run, since)
