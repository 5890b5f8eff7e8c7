"""`craft-stream publish` puts pairs of files onto a real topic, each once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from connectors.kafka.publisher import source_key
from craft_stream.ports.messages import Message
from tests.integration.deployment import COMMAND, ROOT, Deployment, pairs
from tests.integration.test_target_formats import write

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def on_topic(deployment: Deployment) -> list[Message]:
    return deployment.read(deployment.settings.kafka.input_topic)


def lines(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_every_format_once_and_keyed_by_its_source(bootstrap: str, tmp_path: Path) -> None:
    """Twelve files give their 84 pairs, copies in one partition; called again, nothing is sent."""
    pytest.importorskip("pyarrow")
    run = Deployment(bootstrap, tmp_path, 3)
    files = write(tmp_path)
    assert run.command("publish", *files).stdout.startswith("published 84 pairs")
    again = run.command("publish", *files)
    assert (again.returncode, again.stdout.strip().partition(" (")[0]) == (0, "published 0 pairs")
    assert "84 were there already" in again.stdout
    found = on_topic(run)
    assert len(found) == 84
    texts = Counter(json.loads(message.value or b"")["src"] for message in found)
    assert set(texts.values()) == {12}
    for message in found:
        assert message.key == source_key(message.value or b"", "src")
        assert message.partition == int.from_bytes(message.key, "little") % 3


def test_killed_it_goes_on_and_a_grown_file_is_only_continued(bootstrap: str, tmp_path: Path) -> None:
    """SIGKILL in six places, then once to the end: each pair once; of a grown file what is new; another is refused."""
    run = Deployment(bootstrap, tmp_path, 2)
    records = pairs(60_000)
    path = lines(tmp_path / "crawl.jsonl", records)
    chance = random.Random(3)
    command = [*COMMAND, "publish", str(path), "--config", str(run.path)]
    for _ in range(6):
        process = subprocess.Popen(command, cwd=ROOT, env=run.environment(), stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(1.5, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run.command("publish", str(path))
    assert done.returncode == 0, done.stderr
    assert Counter(json.loads(m.value or b"")["id"] for m in on_topic(run)) == Counter(
        r["id"] for r in records
    )
    more = pairs(10, seed=9)
    with path.open("a") as file:
        file.writelines([*(json.dumps(record) + "\n" for record in more), "{no json\n"])
    done = run.command("publish", str(path))
    assert done.returncode == 1
    assert "published 10 pairs" in done.stdout
    assert "1 record is no pair" in done.stderr
    lines(path, pairs(70_000, seed=4))
    done = run.command("publish", str(path))
    assert done.returncode == 2
    assert "is not the file that was published under this name" in done.stderr
    assert len(on_topic(run)) == 60_010


def test_a_file_without_pairs_can_be_mended(bootstrap: str, tmp_path: Path) -> None:
    """Nothing was sent of it, so under the same name it is sent once its fields, or its lines, are right."""
    run, path = Deployment(bootstrap, tmp_path), tmp_path / "crawl.jsonl"
    records = pairs(20)
    lines(path, [{"id": one["id"], "source": one["src"], "target": one["tgt"]} for one in records])
    assert run.command("publish", str(path)).returncode == 1
    lines(path, records)
    done = run.command("publish", str(path))
    assert done.stdout.startswith("published 20 pairs"), done.stderr


def test_standard_input_needs_a_name_and_topics_must_be_there(bootstrap: str, tmp_path: Path) -> None:
    """`-` is known by `--name`; a topic that is missing is said in one line, with what to type."""
    run = Deployment(bootstrap, tmp_path)
    text = "".join(json.dumps(record) + "\n" for record in pairs(20))

    def publish(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "publish", "-", "--config", str(run.path), *more],
            cwd=ROOT, input=text, capture_output=True, text=True, timeout=90, env=run.environment(),
        )  # fmt: skip

    assert publish().returncode == 2
    for sent in (20, 0):
        assert publish("--name=pipe").stdout.startswith(f"published {sent} pairs")
    missing = publish("--name=pipe", f"--topic=none-{uuid.uuid4().hex[:8]}")
    assert missing.returncode == 2
    assert "topics create" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
