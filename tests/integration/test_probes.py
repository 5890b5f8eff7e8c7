"""What probes, metrics and logs of a worker say, on a real broker: the truth, once."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from connectors.kafka.admin import connect
from connectors.kafka.output import TransactionalOutput
from connectors.kafka.publisher import MarkedPublisher
from tests import broker
from tests.integration.deployment import Deployment, pairs, pinned_model, target_pairs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def ask(run: Deployment, path: str, log: str = "worker") -> tuple[int, str]:
    """What a worker answers: code and text."""
    found = re.findall(r"http://127.0.0.1:\d+", run.log(log))
    try:
        with urllib.request.urlopen(f"{found[-1]}{path}", timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(run: Deployment, name: str) -> list[float]:
    return [float(x) for x in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", ask(run, "/metrics")[1], re.M)]


def wait(what: Callable[[], object], seconds: float = 60.0, note: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, note()
        time.sleep(0.2)


def test_a_standby_is_ready_and_a_fenced_worker_ends(bootstrap: str, tmp_path: Path) -> None:
    """Three workers over two partitions are all ready; a second one of the same name takes over and the first ends, by name."""
    run = Deployment(bootstrap, tmp_path, partitions=2)
    run.feed(pairs(2_000))
    model = str(pinned_model(tmp_path, run.settings, pairs(2_000, seed=9)))
    with (
        run.worker("--model", model, log="a"),
        run.worker("--model", model, log="b"),
        run.worker("--model", model, log="c"),
    ):
        for name in "abc":
            wait(lambda name=name: ask(run, "/readyz", name)[0] == 200, note=lambda: run.log("c"))  # type: ignore[misc]
        run.wait_done()
    first = run.start("--model", model, log="first", kafka__instance_id="one")
    try:
        wait(lambda: "assigned" in run.log("first"), note=lambda: run.log("first"))
        with run.worker("--model", model, log="second", kafka__instance_id="one") as second:
            assert first.wait(60) == 2
            assert "another worker runs with kafka.instance_id = 'one'" in run.log("first").splitlines()[-1]
            run.feed(pairs(500, seed=3))
            run.wait_done([second])
            assert ask(run, "/readyz", "second")[0] == 200
    finally:
        first.kill()
        first.wait()
    run.accounted(2_500)


def test_without_target_or_topic_a_worker_is_not_ready_and_says_so_once(
    bootstrap: str, tmp_path: Path
) -> None:
    """An empty target, then a topic that is deleted: /readyz says why, /livez is well, the log has a line for each."""
    run = Deployment(bootstrap, tmp_path, overrides={"learner.prime_seconds": 1})
    with run.worker("--log-level", "info"):
        wait(lambda: "is empty" in ask(run, "/readyz")[1], note=run.log)
        assert ask(run, "/readyz")[0] == 503
        time.sleep(5)
        assert run.log().count("no version of the model yet: the target topic") == 1
        assert len(run.log().splitlines()) < 12, run.log()
        run.feed(pairs(3_000))
        run.publish_target(target_pairs())
        run.wait_done()
        wait(lambda: ask(run, "/readyz")[0] == 200, note=run.log)
        assert run.log().count("takes force at each partition's next epoch") == 1
        with connect(run.settings.kafka) as admin:
            admin._client.delete_topics([run.settings.kafka.input_topic])
        before = len(run.log().splitlines())
        wait(lambda: "is gone" in ask(run, "/readyz")[1], note=run.log)
        time.sleep(5)
        assert ask(run, "/livez")[0] == 200
        assert len(run.log().splitlines()) - before < 8, run.log()


def test_an_idle_transactional_crawl_leaves_no_lag(bootstrap: str, tmp_path: Path) -> None:
    """After committed and aborted transactions the lag is 0, so CraftStalled is silent; a record of 1970 ruins no latency."""
    run = Deployment(bootstrap, tmp_path)
    kafka = run.settings.kafka
    model = str(pinned_model(tmp_path, run.settings, pairs(2_000, seed=9)))
    values = [json.dumps(record).encode() for record in pairs(300)]
    with run.worker("--model", model) as process:
        with closing(MarkedPublisher(kafka, kafka.input_topic, "test")) as publisher:
            publisher.publish(values, {"records": len(values)})
        run.wait_committed(300)
        wait(
            lambda: metric(run, "craft_lag_records") == [0.0],
            15,
            lambda: str(metric(run, "craft_lag_records")),
        )
        output = TransactionalOutput(kafka, f"craft-{run.name}-test")
        output.begin()
        for value in values[:250]:
            output.send(kafka.input_topic, 0, value)
        output.flush()
        run_before = metric(run, "craft_records_consumed_total")
        output._producer.abort_transaction()
        output.close()
        run.feed([values[0]])
        wait(lambda: metric(run, "craft_records_consumed_total")[0] > run_before[0])
        output = TransactionalOutput(kafka, f"craft-{run.name}-test")
        output.begin()
        for value in values[:250]:
            output.send(kafka.input_topic, 0, value)
        output.flush()
        output._producer.abort_transaction()
        output.close()
        wait(
            lambda: metric(run, "craft_lag_records") == [0.0],
            15,
            lambda: str(metric(run, "craft_lag_records")),
        )
        sums = metric(run, "craft_end_to_end_latency_seconds_sum")
        from connectors.kafka.sink import TopicSink

        sink = TopicSink(kafka, kafka.input_topic)
        for number in range(20):
            sink._producer.send(kafka.input_topic, values[0], timestamp_ms=1 if number == 3 else None)
        sink.flush()
        sink.close()
        wait(lambda: metric(run, "craft_records_consumed_total")[0] >= run_before[0] + 21)
        time.sleep(2)
        assert metric(run, "craft_end_to_end_latency_seconds_sum")[0] - sums[0] < 3_600
        assert process.poll() is None


def test_brokers_away_is_one_line_and_one_on_return(tmp_path: Path) -> None:
    """The single broker away for 15 s: a handful of our own lines, none of the client's, as JSON; then it goes on."""
    with broker.cluster() as cluster:
        run = Deployment(cluster.bootstrap, tmp_path, overrides={"observe.log_format": "json"})
        model = str(pinned_model(tmp_path, run.settings, pairs(2_000, seed=9)))
        run.feed(pairs(1_000))
        with run.worker("--model", model) as process:
            run.wait_done([process])
            before = len(run.log().splitlines())
            cluster.kill(0, signal.SIGTERM)
            time.sleep(15)
            cluster.start(0)
            cluster.wait()
            run.feed(pairs(1_000, seed=4))
            run.wait_done([process])
            wait(lambda: "brokers: well again" in run.log(), 20, run.log)
        lines = [json.loads(line) for line in run.log().splitlines() if line.startswith("{")]
        told = lines[before - 1 :]
        assert not [line for line in told if line["logger"].startswith("kafka")]
        assert sum("reachable" in line["message"] for line in told) == 1
        assert len(told) < 14, run.log()
