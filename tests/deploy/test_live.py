"""Real Prometheus and Alertmanager over a running consumer on a real broker.

Needs the commands `prometheus` and `alertmanager` (Debian: prometheus, prometheus-alertmanager).
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from kafka import KafkaProducer

from tests import broker
from tests.integration.deployment import COMMAND, Deployment, pairs, target_pairs

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "craft-stream.json"
RULES = ROOT / "deploy" / "prometheus" / "craft.rules.yml"
VARIABLE = re.compile(r"\$\{?\w+\}?")
# Series that begin with their first event, of which there is none here: no error was survived.
QUIET = "craft_errors_total"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
        return bytes(answer.read())


def wait(what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The condition's value once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@dataclass
class Receiver:
    """A webhook that keeps what Alertmanager sends."""

    port: int
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def status(self, name: str) -> str | None:
        """Of the newest message about an alert."""
        found = [alert["status"] for alert in self.alerts if alert["labels"]["alertname"] == name]
        return str(found[-1]) if found else None


@contextmanager
def receiver() -> Iterator[Receiver]:
    kept = Receiver(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    kept.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()


@contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """A process that is ended by its id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@dataclass(frozen=True)
class Stack:
    """Addresses of what runs."""

    worker: str
    crawl: str
    prometheus: str
    receiver: Receiver
    deployment: Deployment

    def query(self, expression: str) -> list[Any]:
        """Result of an instant query."""
        url = f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        answer = json.loads(get(url))
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])


def faster(rules: dict[str, Any]) -> dict[str, Any]:
    """The committed rules with their waiting times cut, so that a test sees them fire and resolve."""
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
    return rules


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Broker, worker, a crawl of the simulated site, Prometheus and Alertmanager, all real, on loopback."""
    for command in ("prometheus", "prometheus-alertmanager"):
        assert shutil.which(command), (
            f"{command} is missing: apt-get install prometheus prometheus-alertmanager"
        )
    folder = tmp_path_factory.mktemp("live")
    ports = {name: free_port() for name in ("worker", "crawl", "prometheus", "alertmanager")}
    with broker.bootstrap() as bootstrap, receiver() as webhook:
        deployment = Deployment(bootstrap, folder, partitions=2, overrides={"observe.port": ports["worker"]})
        deployment.publish_target(target_pairs())
        deployment.feed(pairs(8_000))
        deployment.feed([b"{not json", b"[]"])
        (folder / "rules.yml").write_text(yaml.safe_dump(faster(yaml.safe_load(RULES.read_text()))))
        target = f"127.0.0.1:{ports['worker']}"
        labels = {"environment": "test", "group": deployment.name, "topic": "crawl"}
        prometheus = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alertmanager']}"]}]}]
            },
            "scrape_configs": [
                {"job_name": "craft-stream", "static_configs": [{"targets": [target], "labels": labels}]},
                {
                    "job_name": "craft-crawl",
                    "static_configs": [
                        {
                            "targets": [f"127.0.0.1:{ports['crawl']}"],
                            "labels": {"environment": "test", "topic": "crawl"},
                        }
                    ],
                },
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
        route = {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["alertname"]}
        hook = {"url": f"http://127.0.0.1:{webhook.port}/", "send_resolved": True}
        alertmanager = {"route": route, "receivers": [{"name": "hook", "webhook_configs": [hook]}]}
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager))
        simulate = ("simulate", str(folder / "warc"), "--pages=60", "--rate=5")
        crawl = (
            "crawl",
            f"--warc={folder / 'warc'}",
            "--follow",
            "--langs=en,fr",
            f"--store={folder / 'store'}",
        )
        (folder / "warc").mkdir()
        with (
            deployment.worker(),
            running(folder / "simulate.log", *COMMAND, *simulate),
            running(
                folder / "crawl.log",
                *COMMAND,
                *crawl,
                f"--output={folder / 'pairs.jsonl'}",
                f"--metrics-port={ports['crawl']}",
            ),
            running(
                folder / "prometheus.log",
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            ),
            running(
                folder / "alertmanager.log",
                "prometheus-alertmanager",
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'am'}",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                "--cluster.listen-address=",
            ),
        ):
            addresses = [f"http://127.0.0.1:{ports[name]}" for name in ("worker", "crawl", "prometheus")]
            found = Stack(*addresses, webhook, deployment)
            wait("readiness", lambda: get(f"{found.worker}/readyz"), 90)
            decided = "sum(craft_decisions_total) > 7000"
            wait("decisions in Prometheus", lambda: found.query(decided), 90)
            wait("pairs of the crawl", lambda: found.query("craft_crawl_pairs_total > 0"), 90)
            yield found


def expressions() -> list[tuple[str, str]]:
    """Title and expression of every panel, folded ones included."""
    top = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    panels = [panel for outer in top for panel in (outer, *(outer.get("panels") or []))]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]


def test_every_panel_has_data(stack: Stack) -> None:
    """Each expression of the dashboard parses and gives a result over a live worker, or a panel would be empty."""
    stack.deployment.feed([*pairs(2_000, seed=9), b"{not json"], 10_000)
    wait("a second scrape of each counter", lambda: stack.query("rate(craft_decisions_total[1m])"))
    wanted = []
    for title, expression in expressions():
        plain = VARIABLE.sub(".*", expression.replace("$__rate_interval", "1m"))
        promql_parser.parse(plain)
        if plain.endswith("> 0"):  # shown while it happens: a result at any time since the start
            plain = f"last_over_time(({plain})[30m:1s])"
        if QUIET not in plain:
            wanted.append((title, plain))

    def empty() -> list[str]:
        return [f"{title}: {plain}" for title, plain in wanted if not stack.query(plain)]

    # Recorded series follow what they are recorded from by an evaluation or two.
    deadline = time.monotonic() + 60
    while (missing := empty()) and time.monotonic() < deadline:
        time.sleep(1)
    assert not missing, "\n".join(missing)


def test_exposition_is_clean(stack: Stack) -> None:
    """Promtool finds nothing to say about the metrics of a worker and a crawl, neither a parse error nor lint."""
    for served in (stack.worker, stack.crawl):
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=get(f"{served}/metrics"),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_state_tells_what_is_in_force(stack: Stack) -> None:
    """The status page names partitions, model, target and the certificate of the match."""

    def states() -> set[str]:
        return {p["state"] for p in json.loads(get(f"{stack.worker}/state"))["partitions"]}

    # Another test may just have fed it: a partition is paused while more is buffered than the bounds allow.
    wait("partitions that are active", lambda: states() == {"active"}, 120)
    state = json.loads(get(f"{stack.worker}/state"))
    assert [p["partition"] for p in state["partitions"]] == [0, 1]
    assert state["model"]["version"] >= 1
    assert state["certificate"]["accepted"] > 0
    assert state["certificate"]["divergence_nats"] >= 0
    assert abs(sum(state["certificate"]["target_shares"]) - 1) < 1e-6


def test_an_alert_reaches_the_webhook_and_resolves(stack: Stack) -> None:
    """Dead letters drive an alert from the worker by Prometheus and Alertmanager to a receiver, and back."""
    assert stack.receiver.status("CraftDeadLetters") is None
    stack.deployment.feed([b"{not json"] * 300, 20_000)
    wait("the alert", lambda: stack.receiver.status("CraftDeadLetters") == "firing", 60)
    stack.deployment.feed(pairs(60_000, seed=11), 30_000)
    wait("its end", lambda: stack.receiver.status("CraftDeadLetters") == "resolved", 120)


def test_an_idle_crawl_in_transactions_alarms_nobody(stack: Stack) -> None:
    """Behind its last record stand a transaction's mark and one that was aborted: CraftStalled, made faster, stays silent."""
    (rule,) = [
        rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "CraftStalled"
    ]
    stalled, quiet = rule["expr"].replace("> 300", "> 4"), "time() - craft_last_commit_timestamp_seconds > 4"
    assert quiet in stalled
    kafka = stack.deployment.settings.kafka
    stack.deployment.wait_done(seconds=120)
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"{kafka.group_id}-x"
    )
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for number, pair in enumerate(pairs(200, seed=12)):
            producer.send(kafka.input_topic, json.dumps(pair).encode(), partition=number % 2)
        producer.flush()
        end()
    producer.close()
    wait("the last commit", lambda: stack.query("sum(craft_lag_records) == 0"), 60)
    wait("a while without one", lambda: stack.query(quiet), 60)
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert not stack.query(stalled)
        assert stack.query(quiet)
        time.sleep(0.5)
