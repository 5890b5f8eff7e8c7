"""`craft-stream dlq`: dead letters are listed by reason and sent again, each once, however it ended."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from connectors.kafka.output import IdempotentOutput
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Record
from tests.integration.deployment import COMMAND, ROOT, Deployment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def letters(run: Deployment, count: int) -> None:
    """Dead letters as a worker writes them, with everything Kafka allows: null keys, null and empty headers, tombstones."""
    kafka = run.settings.kafka
    records: dict[int, list[Record]] = {partition: [] for partition in range(run.partitions)}
    with closing(IdempotentOutput(kafka)) as output:
        for number in range(count):
            facts = {
                "topic": kafka.input_topic, "partition": str(number % run.partitions), "offset": str(number),
                "stage": "decode", "class": "not_json" if number % 3 else "missing_side", "message": "broken",
            }  # fmt: skip
            headers = [(f"craft-error-{name}", value.encode()) for name, value in facts.items()]
            own = [("origin", b"test"), ("empty", b""), ("null", None), ("origin", b"twice")]
            key = None if number % 2 else f"k{number}".encode()
            value = None if number % 100 == 50 and key else b"letter %d" % number
            records[number % run.partitions].append(Record(value, key, [*own, *headers]))  # type: ignore[list-item]
        for partition, batch in records.items():
            output.send_all(kafka.dead_letter_topic, partition, batch)
        output.flush()


def sent(run: Deployment) -> list[Message]:
    return run.read(run.settings.kafka.input_topic)


def test_letters_go_again_once_as_they_came(bootstrap: str, tmp_path: Path) -> None:
    """By reason, then all: nothing is sent twice unless --again says so; bytes, keys, headers and partitions are kept."""
    run = Deployment(bootstrap, tmp_path, partitions=2)
    letters(run, 300)
    assert "200  decode: not_json" in run.command("dlq", "ls", "--limit", "0").stdout
    assert run.command("dlq", "replay").stdout == "297 would be sent again; add --yes\n"
    assert run.command("dlq", "replay", "--reason", "missing_side", "--yes").stdout == "sent 99 again\n"
    done = run.command("dlq", "replay", "--yes")
    assert (done.returncode, done.stdout) == (0, "sent 198 again (99 had been sent before)\n")
    assert "sent 0 again" in run.command("dlq", "replay", "--yes").stdout
    found = sent(run)
    assert Counter(m.value for m in found) == Counter(b"letter %d" % n for n in range(300) if n % 100 != 50)
    for message in found:
        number = int((message.value or b"").split()[1])
        assert message.key == (None if number % 2 else f"k{number}".encode())
        assert message.partition == number % 2
        assert message.headers == (
            ("origin", b"test"), ("empty", b""), ("null", None), ("origin", b"twice"),
        )  # fmt: skip
    listed = [
        json.loads(line) for line in run.command("dlq", "ls", "--json", "--limit", "999").stdout.splitlines()
    ]
    assert Counter(line["replayed"] for line in listed) == {True: 297, False: 3}
    assert run.command("dlq", "replay", "--yes", "--again").stdout == "sent 297 again\n"


def test_killed_it_goes_on(bootstrap: str, tmp_path: Path) -> None:
    """SIGKILL in five places, then once to the end: each letter was sent once."""
    run = Deployment(bootstrap, tmp_path, partitions=2)
    letters(run, 20_000)
    chance = random.Random(1)
    for _ in range(5):
        process = subprocess.Popen(
            [*COMMAND, "dlq", "replay", "--yes", "--config", str(run.path)],
            cwd=ROOT, env=run.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(1.5, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run.command("dlq", "replay", "--yes")
    assert done.returncode == 0, done.stderr
    counts = Counter(message.value for message in sent(run))
    assert set(counts.values()) == {1}
    assert len(counts) == 20_000 - 200
