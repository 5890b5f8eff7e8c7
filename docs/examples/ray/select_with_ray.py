"""Select the best of many shards with Ray Data: one Model, shards scored side by side, the budget met to the pair.

    python select_with_ray.py --target domain.jsonl --input shards/ --output chosen.parquet --rate 0.01

Shards are Parquet files with `id`, `src` and `tgt`. Each part of the work sends on no more than the budget, so that what comes
together at the end does not grow with the collection. The result is that of one process, whatever the number of machines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import ray
import ray.data

import craft_stream as cs

# Pairs that the Model learns from; of 50,000 it learns what it would learn of more.
SAMPLE = 50_000
COLUMNS = ["id", "src", "tgt"]


class Score:
    """Scores batches; Ray keeps one in each worker process, so that the Model is loaded once there."""

    def __init__(self, model: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            path.write_bytes(model)
            self._model = cs.load_model(path)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with its scores, and what speaks against a pair."""
        scores = self._model.score(batch)
        batch = batch.append_column("score", scores["score"]).append_column("quality", scores["quality"])
        return batch.append_column("reason", scores["reason"])


def best(pairs: pa.Table, count: int) -> pa.Table:
    """The `count` best pairs with nothing against them, each text once, the best first and among equals the lower id.

    Of a whole this is the best of the bests of its parts.
    """
    clean = pairs.filter(pc.is_null(pairs["reason"]))
    ranked = clean.sort_by([("score", "descending"), ("id", "ascending")])
    place = pa.array(range(len(ranked)), pa.int64())
    firsts = ranked.append_column("place", place).group_by(["src", "tgt"]).aggregate([("place", "min")])
    return ranked.take(firsts["place_min"].sort().slice(0, count)) if len(ranked) else ranked


def select(shards: ray.data.Dataset, model: bytes, count: int, workers: int) -> pa.Table:
    """The `count` best pairs of a dataset, scored by `workers` processes wherever the cluster has room."""
    parts = shards.select_columns(COLUMNS).map_batches(
        Score, fn_constructor_args=(model,), batch_size=4096, batch_format="pyarrow", concurrency=workers
    )
    parts = parts.map_batches(best, fn_kwargs={"count": count}, batch_size=None, batch_format="pyarrow")
    chosen: pa.Table | None = None
    for part in parts.iter_batches(batch_size=None, batch_format="pyarrow"):
        chosen = best(part if chosen is None else pa.concat_tables([chosen, part]), count)
    if chosen is None:
        raise SystemExit("the shards hold no pair")
    return chosen


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=Path, required=True, help="JSON lines with src and tgt")
    parser.add_argument("--input", required=True, help="folder of Parquet shards")
    parser.add_argument("--output", required=True, help="Parquet file")
    parser.add_argument("--rate", type=float, default=0.05, help="share to select")
    parser.add_argument("--workers", type=int, default=2, help="processes that score")
    chosen = parser.parse_args()
    target = [json.loads(line) for line in chosen.target.read_text("utf-8").splitlines()]
    stored = pads.dataset(chosen.input)
    size = stored.count_rows()
    # every nth pair, so that all shards are heard
    rows = (row for batch in stored.to_batches(columns=COLUMNS) for row in batch.to_pylist())
    model = cs.learn(target, islice(rows, 0, None, max(1, size // SAMPLE)))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        data = (Path(folder) / "model").read_bytes()
    ray.init()
    pq.write_table(
        select(ray.data.read_parquet(chosen.input), data, round(chosen.rate * size), chosen.workers),
        chosen.output,
    )


if __name__ == "__main__":
    main()
