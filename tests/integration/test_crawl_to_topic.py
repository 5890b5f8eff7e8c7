"""The crawl into a real topic, killed while it follows; and the topic out again as shards."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("fastwarc")

from connectors.crawl.job import Crawl
from connectors.crawl.publish import FilePublisher
from connectors.crawl.store import Store
from connectors.kafka.reader import KafkaReader
from connectors.shards import ShardedExport, ShardPlan, verify
from craft_stream.demo.fetch import warc_record
from craft_stream.demo.site import Site
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMMAND = [sys.executable, "-c", "from craft_stream.cli import main; main()"]
PAGES = 400


def members() -> list[bytes]:
    """Records of a crawl of the simulated site."""
    site, paths = Site(PAGES), [f"/{code}/plant-{n}.html" for n in range(PAGES) for code in ("en", "fr")]
    random.Random(1).shuffle(paths)
    date = datetime(2026, 1, 1, tzinfo=UTC)
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + (site.page(path) or "").encode()
        for path in paths
    ]
    return [
        warc_record(f"http://site{path}", answer, date) for path, answer in zip(paths, answers, strict=True)
    ]


def topic_values(settings: Settings, topic: str) -> list[bytes]:
    """All committed records of a topic."""
    reader = KafkaReader(settings.kafka)
    try:
        bounds = reader.bounds(topic, reader.partitions(topic))
        return [
            message.value or b""
            for partition, (first, end) in bounds.items()
            for chunk in reader.read(topic, partition, first, end)
            for message in chunk
        ]
    finally:
        reader.close()


def test_killed_twenty_times_while_following(bootstrap: str, tmp_path: Path) -> None:
    """The pairs on the topic equal those of one undisturbed pass; then shards of them, resumed, hold each once."""
    folder, topic = tmp_path / "warc", f"crawl-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    records = members()
    written = threading.Event()

    def grow() -> None:
        chance = random.Random(2)
        with (folder / "a.warc.gz").open("ab") as file:
            for data in records:
                middle = chance.randrange(len(data))
                for part in (data[:middle], data[middle:]):
                    file.write(part)
                    file.flush()
                    time.sleep(0.02)
        written.set()

    writer = threading.Thread(target=grow)
    writer.start()
    command = [
        *COMMAND, "crawl", "--warc", str(folder), "--langs", "en,fr", "--topic", topic, "--store", str(tmp_path / "store"),
        "--set", f"kafka.bootstrap_servers={bootstrap}", "--json",
    ]  # fmt: skip
    chance, kills = random.Random(3), 0
    while kills < 20:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*command, "--follow"], stdout=log, stderr=log)
        time.sleep(1.0 + 1.5 * chance.random())
        assert process.poll() is None, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        kills += 1
    assert written.wait(120)
    writer.join()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    with (
        Store(tmp_path / "undisturbed", ("en", "fr")) as store,
        closing(FilePublisher(tmp_path / "undisturbed.jsonl", store.identity)) as publisher,
    ):
        Crawl([folder], ("en", "fr"), store, publisher).run()
    expected = (tmp_path / "undisturbed.jsonl").read_bytes().splitlines()
    settings = Settings.load(None, [f"kafka.bootstrap_servers={bootstrap}"])
    found = topic_values(settings, topic)
    assert len(found) == len(expected) > PAGES
    keys = {json.loads(value)["id"]: {**json.loads(value), "crawled": None} for value in found}
    assert keys == {json.loads(value)["id"]: {**json.loads(value), "crawled": None} for value in expected}

    other = subprocess.run(
        [*command, "--store", str(tmp_path / "new")], capture_output=True, text=True, timeout=60
    )
    assert other.returncode == 2
    assert "another store" in other.stderr

    shards(settings, topic, tmp_path / "shards", found)


def shards(settings: Settings, topic: str, folder: Path, expected: list[bytes]) -> None:
    """Export, dying between a shard and its manifest, and again to the end."""

    class Dies(ShardedExport):
        def _save(self) -> None:
            if len(self.manifest["shards"]) == 3:
                raise InterruptedError
            super()._save()

    reader, plan = KafkaReader(settings.kafka), ShardPlan("jsonl", size=500)
    try:
        with pytest.raises(InterruptedError):
            Dies(reader, topic, folder, plan).run()
        assert len(list(folder.glob("shard-*"))) == 3
        export = ShardedExport(reader, topic, folder, plan)
        assert len(list(folder.glob("shard-*"))) == 2
        assert export.run(partial=False) == (len(expected) // 500 - 2) * 500
        assert ShardedExport(reader, topic, folder, plan).run() == len(expected) % 500
        assert ShardedExport(reader, topic, folder, plan).run() == 0
        with pytest.raises(ConfigurationError, match="plan"):
            ShardedExport(reader, topic, folder, ShardPlan("jsonl", size=400))
    finally:
        reader.close()
    lines = [line for path in sorted(folder.glob("shard-*")) for line in path.read_bytes().splitlines()]
    assert sorted(lines) == sorted(expected)
    assert lines != expected
    assert verify(folder) == len(expected)
    with next(folder.glob("shard-*")).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="manifest"):
        verify(folder)
