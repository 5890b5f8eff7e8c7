"""docs/examples/ray on a cluster of two nodes on this machine: what it selects is what one process selects."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

import craft_stream as cs
from tests.unit.toy import Toy

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "ray"
sys.path.insert(0, str(EXAMPLE))

import select_with_ray as example  # noqa: E402

SHARDS, SIZE, RATE = 8, 1500, 0.05
# Ray Data warns of its own settings, and leaves sockets and files of its processes to the interpreter.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes; of the two cores each, as Ray counts, one scores and one reads."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.add_node(num_cpus=2)
    variables = {"PYTHONPATH": f"{ROOT}:{EXAMPLE}:{Path(__file__).parent}"}
    ray.init(address=made.address, logging_level="ERROR", runtime_env={"env_vars": variables})
    yield
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """A collection of which a tenth is of the domain, a fifth misaligned, and some repeated, empty or missing."""
    toy, rng = Toy(), random.Random(7)
    found: list[dict[str, Any]] = []
    for number in range(SHARDS * SIZE):
        source, target = toy.pair(rng, rng.random() < 0.1)
        if rng.random() < 0.2:
            target = toy.pair(rng, False)[1]
        if found and rng.random() < 0.05:
            source, target = rng.choice(found)["src"], rng.choice(found)["tgt"]
        if found and rng.random() < 0.05:
            again = rng.choice(found)
            source, target = again["src"], again["tgt"]
        if rng.random() < 0.01:
            target = rng.choice(["", None])
        found.append({"id": f"{rng.getrandbits(32):08x}-{number}", "src": source, "tgt": target})
    return found


class Signed(example.Score):
    """Notes which process scored."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See `Score`."""
        scored = super().__call__(batch)
        return scored.append_column("process", pa.array([os.getpid()] * len(scored)))


def test_shards_select_what_one_process_selects(
    cluster: None, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored on two nodes, in any order: the same pairs as one process, as many as the budget says to the pair."""
    toy, rng = Toy(), random.Random(1)
    target = [toy.pair(rng, True) for _ in range(300)]
    model = cs.learn(target, rows[:2000])
    model.save(tmp_path / "model")
    data, count = (tmp_path / "model").read_bytes(), round(RATE * len(rows))
    (tmp_path / "shards").mkdir()
    for shard in range(SHARDS):
        part = pa.Table.from_pylist(rows[shard * SIZE : (shard + 1) * SIZE])
        pq.write_table(part, tmp_path / "shards" / f"{shard}.parquet")
    one = example.best(example.Score(data)(pa.Table.from_pylist(rows)), count)
    monkeypatch.setattr(example, "Score", Signed)
    stored = ray.data.read_parquet(str(tmp_path / "shards"))
    shards = stored.repartition(SHARDS)  # Ray reads small files together
    many = example.select(shards, data, count, workers=2)
    assert len(many) == count == 600
    assert len(set(many["process"].to_pylist()) - {os.getpid()}) == 2
    many = many.drop_columns(["process"])
    assert many.to_pylist() == one.to_pylist()
    texts = [(row["src"], row["tgt"]) for row in many.to_pylist()]
    assert len(set(texts)) == count
    assert len(ray.nodes()) == 2


def test_a_budget_beyond_the_collection_takes_what_is_clean(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """All pairs with nothing against them, each text once, and no more."""
    toy, rng = Toy(), random.Random(1)
    model = cs.learn([toy.pair(rng, True) for _ in range(300)], rows[:2000])
    model.save(tmp_path / "model")
    scored = example.Score((tmp_path / "model").read_bytes())(pa.Table.from_pylist(rows[:500]))
    clean = {(row["src"], row["tgt"]) for row in scored.to_pylist() if row["reason"] is None}
    assert 0 < len(clean) == len(example.best(scored, 10_000)) < 500
