"""From the release before to this one, back and here again, worker by worker, under a stream and SIGKILLs."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.kafka.reader import KafkaReader
from connectors.kafka.transport import KafkaTransport
from tests import previous
from tests.chaos.checks import long_form, report
from tests.chaos.fleet import Fleet, Stream
from tests.integration.deployment import COMMAND, Deployment, committed, pairs, target_pairs

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.integration,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not previous.has_history(), reason=f"this clone lacks {previous.REVISION}"),
]

WORKERS = ("w0", "w1", "w2")
PARTITIONS = 3
KILLS = 4  # of each stage
RATE, RECORDS = 300.0, 500_000  # of the stream, which ends when the last stage has
OVERRIDES = {"kafka.max_poll_records": 400, "kafka.commit_interval_ms": 100, "learner.publish_pairs": 10_000}
SECONDS = 900.0


class Rollout(Fleet):
    """A fleet whose workers are of two releases.

    Args:
        python: the interpreter of the release before.

    Attributes:
        kills: SIGKILLs that hit a worker which had partitions.
        refused: how often a worker of the release before has ended by itself.
    """

    def __init__(self, run: Deployment, python: Path, seed: int) -> None:
        super().__init__(run)
        self.kills = self.refused = 0
        self._python, self._rng = python, random.Random(seed)
        self._release: dict[str, tuple[bool, tuple[str, ...]]] = {}

    def put(self, name: str, old: bool, *arguments: str) -> None:
        """Start a worker of a release."""
        self._release[name] = old, arguments
        self._arguments = arguments
        self._before[name] = self.logged(name, "] assigned")
        if not old:
            self.start(name)
            return
        command = [str(self._python), *COMMAND[1:], "run", "--config", str(self.run.path), *arguments]
        environment = previous.environment(self.run.environment(kafka__instance_id=name))
        with (self.run.folder / f"{self.run.name}-{name}.log").open("ab") as file:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.run.folder, stdout=file, stderr=file, env=environment
            )

    def strike(self, name: str) -> None:
        """SIGKILL within a second and a half of its first partitions, or after a wait for these."""
        deadline = time.monotonic() + 20.0
        while (idle := self.logged(name, "] assigned") == self._before[name]) and time.monotonic() < deadline:
            self.supervise()
            time.sleep(0.05)
        time.sleep(self._rng.uniform(0.1, 1.5))
        self.kills += self.kill(name) and not idle

    def supervise(self) -> None:
        """Start again what has ended by itself; only a worker of the release before may, which refuses a newer ledger."""
        for name, process in self.processes.items():
            if (code := process.poll()) is not None:
                old, arguments = self._release[name]
                assert old, f"{name} ended with {code}"
                assert code in (1, 75), f"{name} ended with {code}"
                self.refused += 1
                self.put(name, old, *arguments)

    def disturb(self, kills: int) -> None:
        """Kill workers and start them again as they were."""
        for _ in range(kills):
            name = self._rng.choice(WORKERS)
            self.strike(name)
            old, arguments = self._release[name]
            self.put(name, old, *arguments)

    def upgrade(self) -> None:
        """Worker by worker this release, two kills after each."""
        for name in WORKERS:
            self.strike(name)
            self.put(name, old=False)
            self.disturb(2)

    def rebuild(self, old: bool) -> None:
        """All at once another release with `--rebuild`, as the runbook has it."""
        for name in WORKERS:
            self.kills += self.kill(name)
        for name in WORKERS:
            self.put(name, old, "--rebuild")

    def settle(self) -> dict[int, int]:
        """The ends of the input as they are now, once the group has decided until there."""
        ends = self.ends()
        self.wait_reached(ends)
        return ends

    def ends(self) -> dict[int, int]:
        """Of the input's partitions."""
        reader = self._reader()
        try:
            topic = self.run.settings.kafka.input_topic
            return {partition: end for partition, (_, end) in reader.bounds(topic, range(PARTITIONS)).items()}
        finally:
            reader.close()

    def wait_reached(self, ends: dict[int, int]) -> None:
        """Return when the group has committed these offsets."""
        reader, deadline = self._reader(), time.monotonic() + SECONDS
        try:
            while behind := [
                partition
                for partition, end in ends.items()
                if (position := committed(reader, partition)) is None or position.offset < end
            ]:
                self.supervise()
                assert time.monotonic() < deadline, f"partitions {behind} stand still"
                time.sleep(0.2)
        finally:
            reader.close()

    def _reader(self) -> KafkaReader:
        return KafkaTransport(self.run.settings.kafka).reader()


def offsets(places: dict[int, int]) -> str:
    """As `--from` and `--to` take them."""
    return ",".join(f"{partition}:{offset}" for partition, offset in places.items())


def compared(said: str) -> int:
    """Decisions that an audit has compared and found the same."""
    found = re.search(r"compared (\d+): 0 differ", said)
    assert found is not None, said
    return int(found[1])


def audit(run: Deployment, stop: dict[int, int], *arguments: str) -> subprocess.CompletedProcess[str]:
    """By this release, while the group is at work."""
    return run.command("audit", "--to", offsets(stop), *arguments, timeout=SECONDS)


def audit_own(run: Deployment, stop: dict[int, int]) -> int:
    """How many decisions this release has made without another in between, each as it must be."""
    first = audit(run, stop)
    if first.returncode == 0:
        return compared(first.stdout)
    places = re.search(r"`craft-stream audit --from (\S+)`", first.stdout)
    assert places is not None, first.stdout + first.stderr
    own = audit(run, stop, "--from", places[1])
    assert own.returncode == 0, own.stdout + own.stderr
    return compared(own.stdout)


def audit_by(python: Path, run: Deployment, stop: dict[int, int]) -> int:
    """How many decisions the release before finds as it would make them."""
    command: Sequence[str] = [
        str(python), *COMMAND[1:], "audit", "--config", str(run.path), "--to", offsets(stop),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=run.folder, env=previous.environment(run.environment()), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return compared(done.stdout)


@long_form
def test_a_group_is_upgraded_and_downgraded_under_kills(bootstrap: str, tmp_path: Path) -> None:
    """0 lost, 0 doubled, and each release finds the decisions that it has made as they must be."""
    python = previous.install()
    run = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
    run.publish_target(target_pairs())
    stream = Stream(run, pairs(RECORDS), RATE)
    began = time.monotonic()
    with Rollout(run, python, seed=11) as fleet:
        try:
            for name in WORKERS:
                fleet.put(name, old=True)
            stream.start()
            run.wait_committed(1, SECONDS)  # there is a model
            fleet.disturb(KILLS)
            before = audit_by(python, run, fleet.settle())
            fleet.upgrade()
            fleet.disturb(KILLS)
            upgraded = audit_own(run, fleet.settle())
            fleet.rebuild(old=True)
            fleet.disturb(KILLS)
            fleet.settle()
            fleet.rebuild(old=False)
            fleet.disturb(KILLS)
        finally:
            sent = stream.stop()
        again = audit_own(run, fleet.settle())
        for name in WORKERS:
            assert fleet.joined(name), f"{name} has not joined"
        fleet.stop(*WORKERS)
    run.accounted(sent)
    report(
        f"{previous.VERSION} to this release, back by --rebuild, and here again", kills=fleet.kills, records=sent, lost=0,
        doubled=0, refused=fleet.refused, audit_by_the_release_before=before, audit_after_the_upgrade=upgraded,
        audit_at_the_end=again, seconds=round(time.monotonic() - began),
    )  # fmt: skip
    assert fleet.kills >= 2 * KILLS
