"""A real Apache Kafka for tests: one broker, or three, from the jars of a Maven repository; no Docker.

`CRAFT_TEST_BOOTSTRAP` names a cluster to use instead. What is missing (Java 17 or newer, Maven) is installed
with apt where that is possible; otherwise `BrokerError` says which command to type. The jars (44 MB) are kept
in the user's cache folder.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

KAFKA = "4.3.1"
START_SECONDS = 90.0  # 2-6 s on a quiet machine, 17 s seen on a loaded one
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>craft.test</groupId><artifactId>broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""
JVM = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]


class BrokerError(RuntimeError):
    """No broker can be had here; the message says what to type."""


def cache() -> Path:
    """Where jars are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "craft-stream" / f"kafka-{KAFKA}"


def _java_version(java: str) -> int:
    try:
        out = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(\d+)', out)
    return int(found.group(1)) if found else 0


def _find_java() -> str | None:
    candidates = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, str(Path(home, "bin", "java")))
    candidates += sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")), reverse=True)
    return next((java for java in candidates if java and _java_version(java) >= 17), None)


def _apt_install(*packages: str) -> bool:
    if not shutil.which("apt-get"):
        return False
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = [*prefix, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    try:
        subprocess.run(
            [*quiet, "update"], check=True, env=environment, timeout=600, stdout=subprocess.DEVNULL
        )
        install = [*quiet, "install", "-y", "--no-install-recommends", *packages]
        subprocess.run(install, check=True, env=environment, timeout=900, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def java() -> str:
    """A Java of version 17 or newer; installed if there is none and apt may be used."""
    found = _find_java()
    for package in ("openjdk-21-jre-headless", "openjdk-17-jre-headless"):
        if found or not _apt_install(package):
            continue
        found = _find_java()
    if not found:
        raise BrokerError(
            "the integration tests need Java 17 or newer: type "
            "`apt-get install openjdk-17-jre-headless maven` as root, or set CRAFT_TEST_BOOTSTRAP"
        )
    return found


def jars() -> Path:
    """The folder of Kafka's jars, fetched by Maven on the first call; safe with several processes at once."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "complete").exists():
            return folder / "libs"
        if not shutil.which("mvn") and not _apt_install("maven"):
            raise BrokerError(
                "the integration tests need Maven to fetch Kafka's jars: "
                "type `apt-get install maven` as root, or point CRAFT_TEST_BOOTSTRAP at a Kafka cluster"
            )
        (folder / "pom.xml").write_text(POM)
        command = [
            "mvn",
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=libs",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise BrokerError(f"`cd {folder} && {' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
        (folder / "complete").touch()
    return folder / "libs"


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """One or several Kafka brokers (KRaft, each also a controller) in a folder of their own.

    Args:
        proxy: the port of a second listener of the first broker, and the port that it names to clients: a proxy's.

    Attributes:
        bootstrap: addresses of all brokers, comma-separated.
        data: folder of the first broker's log segments.
    """

    FORMAT: tuple[str, ...] = ()  # more for the tool that formats storage, such as users of SCRAM

    def __init__(
        self, folder: Path, brokers: int = 1, heap_mb: int = 256, proxy: tuple[int, int] | None = None
    ) -> None:
        self._folder, self._java, self._jars, self._heap = folder, java(), jars(), heap_mb
        self._proxy = proxy
        self.data = folder / "0" / "data"
        self._ports = [(free_port(), free_port()) for _ in range(brokers)]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * brokers
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)
        identity = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        for index in range(brokers):
            self._configure(index, identity)

    def _configure(self, index: int, identity: str) -> None:
        port, controller = self._ports[index]
        replicas = min(3, len(self._ports))
        (self._folder / f"{index}").mkdir(parents=True)
        properties = {
            "process.roles": "broker,controller",
            "node.id": index,
            "controller.quorum.voters": ",".join(
                f"{i}@127.0.0.1:{p}" for i, (_, p) in enumerate(self._ports)
            ),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder / f"{index}" / "data",
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,  # 50, the default, takes seconds to create
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": 1 if replicas == 1 else 2,
            "transaction.state.log.num.partitions": 4,
            "default.replication.factor": replicas,
            "min.insync.replicas": 1 if replicas == 1 else 2,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            "controlled.shutdown.enable": "true",
            "broker.session.timeout.ms": 3000,  # a restarted broker is let in again 9 s later otherwise
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "log.cleaner.backoff.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 4 << 20,  # 128 MB, the default, does not fit the heap
        }
        if self._proxy is not None and index == 0:
            for name, proxied in (("listeners", self._proxy[0]), ("advertised.listeners", self._proxy[1])):
                properties[name] = f"{properties[name]},PROXIED://127.0.0.1:{proxied}"
            properties["listener.security.protocol.map"] = (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
            )
        path = self._folder / f"{index}" / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        format_ = [
            *self._command(index),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            identity,
            "-c",
            str(path),
            *self.FORMAT,
        ]
        done = subprocess.run(format_, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode:
            raise BrokerError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _command(self, index: int) -> list[str]:
        return [self._java, f"-Xms{self._heap}m", f"-Xmx{self._heap}m", *JVM, "-cp", f"{self._jars}/*"]

    def start(self, index: int) -> None:
        """Start one broker, without waiting for it."""
        command = [*self._command(index), "kafka.Kafka", str(self._folder / f"{index}" / "server.properties")]
        with (self._folder / f"{index}" / "log").open("ab") as log:
            self._processes[index] = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self, brokers: int | None = None) -> None:
        """Return when a Metadata answer names `brokers` brokers (default: all)."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        wanted = len(self._ports) if brokers is None else brokers
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            dead = [i for i, process in enumerate(self._processes) if process and process.poll() is not None]
            if dead:
                raise BrokerError(
                    f"broker {dead[0]} ended: {(self._folder / f'{dead[0]}' / 'log').read_text()[-4000:]}"
                )
            with contextlib.suppress(KafkaError, OSError):
                admin = KafkaAdminClient(
                    bootstrap_servers=self.bootstrap.split(","), bootstrap_timeout_ms=5000
                )
                try:
                    if len(admin.describe_cluster()["brokers"]) >= wanted:
                        return
                finally:
                    admin.close()
            time.sleep(0.3)
        raise BrokerError(f"Kafka was not ready after {START_SECONDS:.0f} s; its log is in {self._folder}")

    def kill(self, index: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one broker and wait for its end."""
        process = self._processes[index]
        if process is not None:
            process.send_signal(number)
            process.wait(30)
            self._processes[index] = None

    def stop(self) -> None:
        """End every broker that was started here."""
        for index in range(len(self._processes)):
            self.kill(index)


@contextlib.contextmanager
def cluster(brokers: int = 1, proxy: tuple[int, int] | None = None) -> Iterator[Cluster]:
    """A running cluster, ended and removed afterwards; `proxy` as for `Cluster`."""
    with tempfile.TemporaryDirectory(prefix="craft-kafka-") as folder:
        running = Cluster(Path(folder), brokers, 256 if brokers == 1 else 192, proxy)
        try:
            for index in range(brokers):
                running.start(index)
            running.wait()
            yield running
        finally:
            running.stop()


@contextlib.contextmanager
def bootstrap() -> Iterator[str]:
    """Addresses of a cluster for tests: CRAFT_TEST_BOOTSTRAP, or a broker started for the while."""
    if given := os.environ.get("CRAFT_TEST_BOOTSTRAP"):
        yield given
        return
    with cluster() as running:
        yield running.bootstrap
