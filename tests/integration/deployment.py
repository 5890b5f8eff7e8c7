"""A deployment for a test: its own topics, generated pairs in, workers as real processes, everything read back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from connectors.kafka import admin as kafka_admin
from connectors.kafka.reader import KafkaReader
from connectors.kafka.sink import TopicSink
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli import app
from craft_stream.errors import UnavailableError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Position
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from tests.unit.toy import Toy

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from craft_stream.cli import main; main()"]
DEFAULTS = {
    "kafka.commit_interval_ms": 300,
    "kafka.max_poll_records": 2000,
    "kafka.session_timeout_ms": 6000,
    "budget.rate": 0.05,
    "learner.prime_pairs": 4000,
    "learner.prime_seconds": 5,
    "decisions.rejected_sample": 1.0,
    "observe.port": 0,
}


def toml(settings: dict[str, Any]) -> str:
    """Dotted names as a TOML file."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def pairs(count: int, seed: int = 1, share: float = 0.1, toy: Toy | None = None) -> list[dict[str, str]]:
    """Generated records, `share` of them in the domain of `target_pairs`, one in seven no translation."""
    toy, rng = toy or Toy(), random.Random(seed)
    records = []
    for number in range(count):
        source, target = toy.pair(rng, rng.random() < share)
        if rng.random() < 1 / 7:
            target = toy.pair(rng, False)[1]
        records.append({"id": f"r{seed}-{number}", "src": source, "tgt": target, "site": "example.org"})
    return records


def target_pairs(count: int = 400, toy: Toy | None = None, seed: int = 2) -> list[dict[str, str]]:
    """Generated pairs of the domain."""
    toy, rng = toy or Toy(), random.Random(seed)
    made = [toy.pair(rng, True) for _ in range(count)]
    return [
        {"id": f"t{number}", "src": source, "tgt": target} for number, (source, target) in enumerate(made)
    ]


@dataclass
class Deployment:
    """Topics and settings of one test.

    Attributes:
        name: prefix of its topics.
        path: the configuration file.
        folder: for what it writes.
    """

    bootstrap: str
    folder: Path
    partitions: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    create: bool = True
    replication: int = 1

    def __post_init__(self) -> None:
        self.name = f"t{uuid.uuid4().hex[:8]}"
        topics = ("input", "target", "accepted", "decisions", "dead_letter", "model", "ledger")
        values = {f"kafka.{topic}_topic": f"{self.name}.{topic}" for topic in topics}
        values |= {"kafka.bootstrap_servers": self.bootstrap, "kafka.group_id": self.name}
        self.path = self.folder / f"{self.name}.toml"
        self.path.write_text(toml({**values, **DEFAULTS, **self.overrides}))
        self.settings = Settings.load(self.path)
        if self.create:
            with kafka_admin.connect(self.settings.kafka) as admin:
                plans = kafka_admin.plans(self.settings.kafka, self.settings.record, self.partitions)
                admin.create(plans, self.replication)

    # What goes in.

    def feed(
        self, values: Iterable[bytes | dict[str, str]], start: int = 0, partition: int | None = None
    ) -> None:
        """Write records to the input topic, each with a key and a header; to one partition, or in turn to each."""
        sink = TopicSink(self.settings.kafka, self.settings.kafka.input_topic)
        for number, value in enumerate(values, start):
            data = json.dumps(value).encode() if isinstance(value, dict) else value
            place = number % self.partitions if partition is None else partition
            sink.append(f"k{number}".encode(), data, [("origin", b"test")], partition=place)
        sink.flush()
        sink.close()

    def publish_target(self, records: Iterable[dict[str, str]]) -> None:
        """Write pairs to the target topic."""
        sink = TopicSink(self.settings.kafka, self.settings.kafka.target_topic)
        for record in records:
            sink.append(record["id"].encode(), json.dumps(record).encode())
        sink.flush()
        sink.close()

    # What runs.

    def command(self, *arguments: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run one command of the CLI to its end."""
        command = [*COMMAND, *arguments, "--config", str(self.path)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=self.environment()
        )

    def environment(self, **settings: Any) -> dict[str, str]:
        """The environment of a process, with settings as `kafka__instance_id="a"`."""
        added = {f"CRAFT_{name.upper()}": str(value) for name, value in settings.items()}
        return {**os.environ, "PYTHONPATH": str(ROOT), **added}

    def start(self, *arguments: str, log: str = "worker", **settings: Any) -> subprocess.Popen[bytes]:
        """Start a worker."""
        with (self.folder / f"{self.name}-{log}.log").open("ab") as file:
            return subprocess.Popen(
                [*COMMAND, "run", "--config", str(self.path), *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=self.environment(**settings),
            )

    @contextmanager
    def worker(
        self, *arguments: str, log: str = "worker", **settings: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that must end with exit code 0 on SIGTERM, in 30 s."""
        before = self.log(log).count("metrics and health")
        process = self.start(*arguments, log=log, **settings)
        try:
            while self.log(log).count("metrics and health") == before:
                assert process.poll() is None, self.log(log)
                time.sleep(0.05)
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
            assert code == 0, f"exit code {code}: {self.log(log)}"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def log(self, name: str = "worker") -> str:
        """The last of what a worker wrote."""
        path = self.folder / f"{self.name}-{name}.log"
        return path.read_text()[-20_000:] if path.exists() else ""

    # What comes out.

    def read(self, topic: str) -> list[Message]:
        """Everything committed on a topic, partition by partition."""
        reader = KafkaTransport(self.settings.kafka).reader()
        try:
            found: list[Message] = []
            for partition, (first, end) in reader.bounds(topic, reader.partitions(topic)).items():
                for messages in reader.read(topic, partition, first, end):
                    found += messages
            return found
        finally:
            reader.close()

    def decisions(self) -> dict[str, dict[str, Any]]:
        """Decisions by id; a decision that is there twice fails the test."""
        lines = [
            json.loads(message.value or b"") for message in self.read(self.settings.kafka.decisions_topic)
        ]
        found = {line["decision_id"]: line for line in lines}
        assert len(found) == len(lines), f"{len(lines) - len(found)} decisions were written twice"
        return found

    def wait_done(
        self, processes: Sequence[subprocess.Popen[bytes]] = (), seconds: float = 90.0, gaps: bool = False
    ) -> None:
        """Return when every record of the input topic is committed."""
        kafka = self.settings.kafka
        reader = KafkaTransport(kafka).reader()
        deadline = time.monotonic() + seconds
        try:
            while True:
                behind: dict[int, tuple[int | None, int]] | str
                try:
                    behind = lagging(reader, kafka.input_topic)
                except UnavailableError as error:  # a test may have killed the broker that was asked
                    behind = str(error)
                if not behind:
                    return
                for process in processes:
                    assert process.poll() is None, f"a worker ended with {process.returncode}: {self.log()}"
                assert time.monotonic() < deadline, f"not done after {seconds} s: {behind}\n{self.log()}"
                time.sleep(0.2)
        finally:
            reader.close()

    def wait_committed(self, records: int, seconds: float = 60.0) -> None:
        """Return when at least so many records are committed."""
        kafka = self.settings.kafka
        reader = KafkaTransport(kafka).reader()
        deadline = time.monotonic() + seconds
        try:
            partitions = reader.partitions(kafka.input_topic)
            while sum(p.offset for i in partitions if (p := committed(reader, i))) < records:
                assert time.monotonic() < deadline, f"fewer than {records} after {seconds} s\n{self.log()}"
                time.sleep(0.05)
        finally:
            reader.close()

    def ledger(self) -> list[dict[str, Any]]:
        """What `craft-stream ledger ls` says; in this process, since a start takes 2 s of CPU."""
        done = CliRunner().invoke(app, ["ledger", "ls", "--json", "--config", str(self.path)])
        assert done.exit_code == 0, (done.exception, done.output)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def accounted(self, records: int) -> tuple[int, int]:
        """Accepted pairs and dead letters, after a check that all topics together account for every record."""
        decisions = self.decisions()
        accepted = {
            dict(m.headers)["craft-decision-id"].decode(): m
            for m in self.read(self.settings.kafka.accepted_topic)
        }
        dead = self.read(self.settings.kafka.dead_letter_topic)
        places = {
            "/".join(
                dict(m.headers)[f"craft-error-{part}"].decode() for part in ("topic", "partition", "offset")
            )
            for m in dead
        }
        assert len(places) == len(dead), "a dead letter was written twice"
        assert {i for i, line in decisions.items() if line["outcome"] == "accepted"} == set(accepted)
        assert len(accepted) == len(self.read(self.settings.kafka.accepted_topic))
        assert not places & set(decisions)
        assert len(decisions) + len(places) == records, (
            f"{len(decisions)} decisions, {len(places)} dead letters"
        )
        return len(accepted), len(dead)


def lagging(reader: KafkaReader, topic: str) -> dict[int, tuple[int | None, int]]:
    """Committed offset and end of each partition that is not done."""
    bounds = reader.bounds(topic, reader.partitions(topic))
    positions = {partition: committed(reader, partition) for partition in bounds}
    return {
        partition: (position.offset if position else None, bounds[partition][1])
        for partition, position in positions.items()
        if bounds[partition][1] > (position.offset if position else 0)
    }


def committed(reader: KafkaReader, partition: int) -> Position | None:
    """A committed position; None also while a dead worker's transaction is in its way."""
    try:
        return reader.committed(partition)
    except UnavailableError:
        return None


def pinned_model(folder: Path, settings: Settings, records: Sequence[dict[str, str]]) -> Path:
    """A Model learned from records and the generated target, in a file."""
    from craft_stream.encoders import load_encoder
    from craft_stream.learning.learner import Learner
    from craft_stream.text.batch import PairBatch

    learner = Learner(settings.parameters(), load_encoder())
    target = target_pairs()
    learner.observe_target(
        [r["id"] for r in target], PairBatch.pack([r["src"] for r in target], [r["tgt"] for r in target])
    )
    learner.observe(PairBatch.pack([r["src"] for r in records], [r["tgt"] for r in records]))
    model: Model = learner.publish()
    path = folder / "model"
    path.write_bytes(model.encode())
    return path
