"""Workers that come and go, a stream that does not stop, and when each of its records was decided."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from connectors.kafka.clients import consumer
from connectors.kafka.sink import TopicSink
from tests.integration.deployment import COMMAND, ROOT, Deployment

STOP_SECONDS = 30.0  # that a supervisor gives
START_SECONDS = 180.0  # a start is imports; where ten others share two cores it took more than 60 s


class Fleet:
    """Processes of a deployment; none outlives the `with`.

    Args:
        arguments: of every `craft-stream run`.
        settings: of every one, as `kafka__bootstrap_servers="..."`.
    """

    def __init__(self, run: Deployment, *arguments: str, **settings: Any) -> None:
        self.run, self._arguments, self._settings = run, arguments, settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._before: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        if error is not None:
            for name in self.processes:
                error.add_note(f"--- {name}\n{self.run.log(name)[-6_000:]}")

    def start(self, name: str, **settings: Any) -> None:
        """Start a worker; it is a static member under its name unless `kafka__instance_id` is given: None for none."""
        given = {"kafka__instance_id": name, **self._settings, **settings}
        own = {key: value for key, value in given.items() if value is not None}
        self._before[name] = self.logged(name, "] assigned")
        self.processes[name] = self.run.start(*self._arguments, log=name, **own)

    def learn(self, name: str = "learner", **settings: Any) -> None:
        """Start a learner of its own."""
        with (self.run.folder / f"{self.run.name}-{name}.log").open("ab") as file:
            self.processes[name] = subprocess.Popen(
                [*COMMAND, "learn", "--config", str(self.run.path)],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=self.run.environment(**{**self._settings, **settings}),
            )

    def kill(self, name: str) -> bool:
        """SIGKILL; False when it had ended by itself."""
        process = self.processes[name]
        alive = process.poll() is None
        process.kill()
        process.wait()
        return alive

    def stop(self, *names: str) -> float:
        """SIGTERM, which must end each with exit code 0 in 30 s; the seconds of the slowest."""
        began = time.monotonic()
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        codes = {name: self.processes[name].wait(STOP_SECONDS) for name in names}
        assert set(codes.values()) == {0}, codes
        return time.monotonic() - began

    def wait_done(self, seconds: float = 300.0) -> None:
        """Return when every record is committed; no worker may end meanwhile."""
        self.run.wait_done(list(self.processes.values()), seconds)

    def wait_log(self, name: str, text: str, times: int = 1, seconds: float = START_SECONDS) -> None:
        """Return when a worker has logged something so many times."""
        path = self.run.folder / f"{self.run.name}-{name}.log"
        deadline = time.monotonic() + seconds
        while not path.exists() or path.read_text().count(text) < times:
            assert time.monotonic() < deadline, f"{name} never logged {text!r}: {self.run.log(name)}"
            time.sleep(0.02)

    def joined(self, name: str, seconds: float = START_SECONDS) -> bool:
        """Wait until a worker has been given partitions since it was started; False when it takes longer."""
        deadline = time.monotonic() + seconds
        while self.logged(name, "] assigned") == self._before[name]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def logged(self, name: str, text: str) -> int:
        """How often a worker has logged something."""
        path = self.run.folder / f"{self.run.name}-{name}.log"
        return path.read_text().count(text) if path.exists() else 0

    def assigned(self) -> Iterator[tuple[float, int]]:
        """When, by the wall clock, each partition was assigned to whichever worker, those that are gone too."""
        for path in self.run.folder.glob(f"{self.run.name}-*.log"):
            text = path.read_text()
            for stamp, millis, listed in re.findall(
                r"^(\S+ \S+),(\d+) INFO \S+ partitions \[(.*)\] assigned", text, re.M
            ):
                at = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(millis) / 1000
                yield from ((at, int(partition)) for partition in listed.split(","))

    def ask(self, name: str, path: str) -> str:
        """What a worker answers under /metrics, /readyz or /state."""
        text = (self.run.folder / f"{self.run.name}-{name}.log").read_text()
        url = re.findall(r"http://127.0.0.1:\d+", text)[-1]
        try:
            with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:  # noqa: S310
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def metric(self, name: str, metric: str) -> float:
        """The sum of a metric's series."""
        found = re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", self.ask(name, "/metrics"), re.M)
        return sum(map(float, found))


class Stream(threading.Thread):
    """Feeds records at a steady rate until they are all written or `stop` is called.

    Attributes:
        sent: how many were.
        at: wall clock of each, by partition and offset.
    """

    def __init__(self, run: Deployment, records: Sequence[dict[str, str]], rate: float) -> None:
        super().__init__(name="stream", daemon=True)
        self.sent = 0
        self.at: dict[str, float] = {}
        self._run_, self._records, self._rate = run, records, rate
        self._stopping = threading.Event()

    def run(self) -> None:
        """Feed."""
        kafka, partitions = self._run_.settings.kafka, self._run_.partitions
        sink = TopicSink(kafka, kafka.input_topic)
        began = time.monotonic()
        while self.sent < len(self._records) and not self._stopping.is_set():
            due = min(len(self._records), int((time.monotonic() - began) * self._rate))
            for number in range(self.sent, due):
                data = json.dumps(self._records[number]).encode()
                headers = [("origin", b"test")]
                sink.append(f"k{number}".encode(), data, headers, partition=number % partitions)
                self.at[f"{number % partitions}/{number // partitions}"] = time.time()
            self.sent = max(self.sent, due)
            sink.flush()
            self._stopping.wait(0.05)
        sink.close()

    def stop(self) -> int:
        """End it; how many records were fed."""
        self._stopping.set()
        self.join(60)
        return self.sent


class Arrivals(threading.Thread):
    """Reads the decisions topic as it grows, read_committed, and notes when each decision could be seen.

    Attributes:
        at: wall clock of each, by partition and offset of its record.
        versions: the Model version of each.
    """

    def __init__(self, run: Deployment) -> None:
        super().__init__(name="arrivals", daemon=True)
        self.at: dict[str, float] = {}
        self.versions: dict[str, int] = {}
        self._run_ = run
        self._stopping = threading.Event()

    def run(self) -> None:
        """Read."""
        from kafka import TopicPartition

        kafka = self._run_.settings.kafka
        reader = consumer(kafka, group_id=None)
        places = [TopicPartition(kafka.decisions_topic, number) for number in range(self._run_.partitions)]
        reader.assign(places)
        reader.seek_to_beginning(*places)
        while not self._stopping.is_set():
            for records in reader.poll(timeout_ms=50, max_records=5_000).values():
                now = time.time()
                for record in records:
                    place = record.key.decode().partition("/")[2]
                    self.at.setdefault(place, now)
                    self.versions.setdefault(place, json.loads(record.value)["model_version"])
        reader.close(autocommit=False)

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join(30)

    @contextlib.contextmanager
    def running(self) -> Iterator[Arrivals]:
        """Started, and stopped at the end."""
        self.start()
        try:
            yield self
        finally:
            self.stop()


def quantiles(values: Sequence[float]) -> str:
    """Median, 95th percentile and largest, in seconds."""
    ordered = sorted(values)
    if not ordered:
        return "none"
    return f"{ordered[len(ordered) // 2]:.2f}/{ordered[int(len(ordered) * 0.95)]:.2f}/{ordered[-1]:.2f} s"
