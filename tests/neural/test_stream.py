"""`craft-stream run` with MiniLM through the cascade, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.neural import Metrics
from tests import broker
from tests.integration.deployment import Deployment, pairs, target_pairs
from tests.neural.weights import weights

PAIRS = 2000


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with broker.bootstrap() as addresses:
        yield addresses


def deployment(bootstrap: str, folder: Path) -> Deployment:
    """A fed stream whose worker embeds with MiniLM; transactions as large and as frequent as by default."""
    settings = {
        "encoder.kind": "sentence-transformers",
        "encoder.options.model": weights(),
        "encoder.options.device": "cpu",
        "kafka.commit_interval_ms": 1000,
        "kafka.max_poll_records": 10_000,
        "kafka.max_poll_interval_ms": 20_000,  # polls that wait for the learner, 1,500 texts at first, would be too late
        "learner.prime_pairs": 500,
        "learner.embedded_rate": 0.1,
    }
    run = Deployment(bootstrap, folder, overrides=settings)
    run.publish_target(target_pairs(60))
    run.feed(pairs(PAIRS))
    return run


def test_a_stream_keeps_its_partition_while_it_is_embedded(bootstrap: str, tmp_path: Path) -> None:
    """Every record is decided once; one assignment and no rebalance; polls go on; only the gate's share is embedded."""
    run = deployment(bootstrap, tmp_path)
    with run.worker() as worker:
        run.wait_done([worker], 240)
        metrics = Metrics(run)
    accepted, dead = run.accounted(PAIRS)
    embedded = sum(line["cluster"] is not None for line in run.decisions().values())
    assert dead == 0
    assert 0 < accepted <= 0.05 * PAIRS + 2 * 50
    assert accepted <= embedded < 0.4 * PAIRS
    assert metrics.sum("craft_embedded_total") == embedded
    assert metrics.sum("craft_rebalances_total", "assigned") == 1
    assert metrics.sum("craft_rebalances_total") == 1
    assert metrics.sum("craft_models_published_total") >= 1
    assert metrics.bound("craft_poll_interval_used_ratio") <= 0.5


def test_a_worker_stops_while_its_learner_embeds(bootstrap: str, tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0, though a thread is inside torch."""
    run = deployment(bootstrap, tmp_path)
    with run.worker() as worker:
        while "assigned" not in run.log():
            assert worker.poll() is None, run.log()
            time.sleep(0.05)
        time.sleep(2)
    assert "published" not in run.log()
