"""A target is of one kind and large enough, or that is told: by `publish`, readiness, metrics and `doctor`."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.kafka import admin as kafka_admin
from connectors.kafka.sink import TopicSink
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli import app
from tests.broker import free_port
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = pytest.mark.integration


def lines(path: Path, records: Iterable[dict[str, Any]]) -> str:
    """A file of records."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def texts(path: Path, count: int = 60) -> str:
    """A file of source sides of the domain."""
    path.write_text("".join(record["src"] + "\n" for record in target_pairs(count, seed=7)))
    return str(path)


def get(run: Deployment, path: str) -> str:
    """What the worker's port answers."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{run.settings.observe.port}{path}", timeout=10
        ) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def until(run: Deployment, found: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, run.log()
        time.sleep(0.3)


def test_one_kind_is_swapped_for_another_while_a_worker_runs(bootstrap: str, tmp_path: Path) -> None:
    """Too few pairs are not learned from; texts beside pairs are refused, and where they stand all the same that is told.

    After `target clear` the version before decides until there are enough texts, then one that learned from these.
    """
    run = Deployment(bootstrap, tmp_path, overrides={"observe.port": free_port(), "learner.prime_seconds": 1})
    kafka, target = run.settings.kafka, target_pairs(100)
    assert run.command("target", "publish", lines(tmp_path / "one.jsonl", target[:1])).stdout.startswith(
        "published 1 pair ("
    )
    run.feed(pairs(3_000))
    with run.worker() as process:
        few = f"the target topic {kafka.target_topic} holds 1 record, and a version needs 30 at least"
        until(run, lambda: few in get(run, "/readyz"))
        assert run.log().count(few) <= 2  # of the learner, and of the worker that waits
        assert few in json.loads(get(run, "/state"))["learner"]["stopped"]
        doctor = run.command("doctor")
        assert doctor.returncode == 1
        assert f"{kafka.target_topic} holds 1 pair, and a version needs 30 at least" in doctor.stdout
        assert run.command("target", "publish", lines(tmp_path / "more.jsonl", target)).returncode == 0
        run.wait_done([process])
        assert "craft_learner_stopped 0.0" in get(run, "/metrics")
        refused = run.command("target", "publish", texts(tmp_path / "domain.txt"), "--side", "source")
        assert refused.returncode == 2
        assert (
            f"{kafka.target_topic} holds 100 pairs, and texts of the source side cannot stand"
            in refused.stderr
        )
        assert "`craft-stream target clear`" in refused.stderr

        sink = TopicSink(kafka, kafka.target_topic)  # what another release, or another program, may write
        sink.append(b"odd", json.dumps({"id": "odd", "src": "a text of one side"}).encode())
        sink.flush()
        sink.close()
        until(run, lambda: "craft_learner_stopped 1.0" in get(run, "/metrics"))
        assert get(run, "/readyz") == "ok\n"  # what is in force goes on deciding
        said = run.command("doctor").stdout
        assert f"warning  target: {kafka.target_topic} holds 100 pairs and 1 text of the source side" in said

        assert "withdrew 100 pairs and 1 text of the source side" in run.command("target", "clear").stdout
        before = json.loads(get(run, "/state"))["model"]["version"]
        published = run.command("target", "publish", str(tmp_path / "domain.txt"), "--side", "source")
        assert published.stdout.startswith("published 60 texts"), published.stderr
        until(run, lambda: json.loads(get(run, "/state"))["model"].get("target_pairs") == 60)
        assert json.loads(get(run, "/state"))["model"]["version"] > before
        run.feed(pairs(3_000, seed=3), start=3_000)
        run.wait_done([process])
        assert "craft_learner_stopped 0.0" in get(run, "/metrics")
    assert run.accounted(6_000)[0] > 0


def test_a_widened_topic_is_written_where_ids_stand(bootstrap: str, tmp_path: Path) -> None:
    """A pair that is replaced or withdrawn after the target topic was given more partitions is so where it was: none is left.

    New ones go by their keys to all of them.
    """
    run = Deployment(bootstrap, tmp_path)
    kafka, (*old, new) = run.settings.kafka, target_pairs(61)
    run.publish_target(old)
    with kafka_admin.connect(kafka) as admin:
        admin.widen({kafka.target_topic: 8})

    def publish(records: list[dict[str, Any]], *more: str) -> dict[str, str]:
        """Source sides by id, as they stand on the topic then, partition by partition."""
        command = [
            "target",
            "publish",
            lines(tmp_path / "f.jsonl", records),
            *more,
            "--config",
            str(run.path),
        ]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.exception
        with closing(KafkaTransport(kafka).reader()) as reader:
            read: dict[tuple[int, bytes | None], bytes | None] = {}
            for place, (first, end) in reader.bounds(kafka.target_topic, range(8)).items():
                for messages in reader.read(kafka.target_topic, place, first, end):
                    read.update(((place, message.key), message.value) for message in messages)
        values = [json.loads(value) for value in read.values() if value is not None]
        assert len({record["id"] for record in values}) == len(values), "an id stands in two partitions"
        return {record["id"]: record["src"] for record in values}

    changed = [record | {"src": new["src"]} for record in old[:30]]
    wanted = {record["id"]: record["src"] for record in [*old, *changed, new]}
    assert publish([*changed, new]) == wanted
    assert publish([*old[10:], new], "--withdraw") == {record["id"]: new["src"] for record in old[:10]}
    assert CliRunner().invoke(app, ["target", "clear", "--config", str(run.path)]).exit_code == 0
    assert not publish([], "--withdraw")


def test_a_first_version_waits_for_a_stream(bootstrap: str, tmp_path: Path) -> None:
    """One pair of the stream teaches nothing: the worker is not ready and says so, and decides once there are thirty."""
    run = Deployment(bootstrap, tmp_path, overrides={"observe.port": free_port(), "learner.prime_seconds": 1})
    run.publish_target(target_pairs(100))
    run.feed(pairs(1))
    with run.worker() as process:
        until(run, lambda: "has shown 1 so far" in get(run, "/readyz"))
        assert not run.read(run.settings.kafka.model_topic)[1:]  # settings, and no version
        run.feed(pairs(40, seed=5), start=1)
        run.wait_done([process])
    run.accounted(41)
