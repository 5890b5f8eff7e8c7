"""The tutorial on Kafka: what it tells the reader to type works on a real broker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from tests.blocks import run


def test_the_tutorial_on_kafka(bootstrap: str, tmp_path: Path) -> None:
    """From settings to exported shards; every pair is decided, the audit finds nothing, the shards hold what was accepted."""
    name = f"tutorial-{uuid.uuid4().hex[:8]}"
    topics = ("input", "target", "accepted", "decisions", "dead_letter", "model", "ledger")
    environment = {
        "CRAFT_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "CRAFT_KAFKA__GROUP_ID": name,
        **{f"CRAFT_KAFKA__{topic.upper()}_TOPIC": f"{name}.{topic}" for topic in topics},
    }
    shown = run("docs/tutorial/kafka.md", tmp_path, environment)
    stream = (tmp_path / "demo" / "stream.jsonl").read_bytes().splitlines()
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_bytes())
    exported = sum(shard["records"] for shard in manifest["shards"])
    assert 0.02 * len(stream) < exported < 0.08 * len(stream)
    assert "differ" in shown
    assert not (tmp_path / "run.log").read_text("utf-8").count("Traceback")
