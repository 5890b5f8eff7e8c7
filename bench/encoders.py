"""A sentence-transformers encoder by itself, and a selection with it: on a GPU, or on a CPU.

`python -m bench.encoders --corpus PATH/en-fr --model FOLDER --device cuda --output RESULTS.json`, in an environment with the
extra `sentence-transformers`. For each precision and batch size: texts a second through the encoder as the selector asks it,
64 at a time at most; given all at once; and of `SentenceTransformer.encode`, whose bits depend on the company. Then whether
the encoder's do: the same texts again, in another order and in pieces of other sizes. At last `craft-stream select`, twice,
with the first precision and its fastest batch size whose bits stay the same. For a CPU: `--device cpu --batch-sizes 1,16
--texts 200 --pairs 2000 --set learner.reservoir_size=200`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from numpy.typing import NDArray

from bench import machine
from bench.main_job import lines
from bench.throughput import add, numbers
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.encoders.sentence_transformer import FixedShapes
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokens import tokenize
from tests.integration.deployment import COMMAND, ROOT

PIECES = (7, 64, 1, 300, 33)
WARM = 256
KIND = "sentence-transformers"
NO_WEIGHTS = np.zeros(0, np.float32)
Vectors = NDArray[np.float32]


class Bench:
    """One model at one precision.

    Args:
        arguments: of the command line.
        precision: a name of torch's.
        texts: different ones.
    """

    def __init__(self, arguments: argparse.Namespace, precision: str, texts: list[str]) -> None:
        self._model = sentence_transformers.SentenceTransformer(arguments.model, device=arguments.device)
        self._model.to(getattr(torch, precision)).eval()
        self._texts, self._seconds, self._precision = texts, arguments.seconds, precision

    def measure(self, batch_size: int) -> dict[str, Any]:
        """Texts a second and how many vectors their batch changes; with `vectors`, all embeddings."""
        shapes = FixedShapes(self._model, "", batch_size)
        in_order = [np.arange(len(self._texts))]
        self._embed(shapes, [in_order[0][:WARM]])  # each shape's first time chooses its kernels
        vectors, embed = self._rate(lambda: self._embed(shapes, in_order))
        _, encode = self._rate(lambda: shapes.encode(self._texts))
        _, plain = self._rate(
            lambda: self._model.encode(self._texts, batch_size=batch_size, normalize_embeddings=True)
        )
        apart = np.abs(vectors - self._embed(shapes, pieces(len(self._texts)))).max(axis=1)
        return {
            "precision": self._precision,
            "batch_size": batch_size,
            "texts": len(self._texts),
            "embed": embed,
            "encode": encode,
            "plain": plain,
            "differ": int((apart > 0).sum()),
            "by": float(apart.max()),
            "vectors": vectors,
        }

    def _embed(self, shapes: FixedShapes, places: list[NDArray[np.int64]]) -> Vectors:
        """All texts, one piece after the other, by an encoder that remembers none."""
        encoder = DenseEncoder(shapes, "bench")
        found = np.zeros((len(self._texts), encoder.dimensions), np.float32)
        for rows in places:
            texts = TextBatch.pack([self._texts[row] for row in rows])
            found[rows] = encoder.embed(texts, tokenize(texts), np.arange(len(rows)), NO_WEIGHTS)
        return found

    def _rate(self, run: Callable[[], Vectors]) -> tuple[Vectors, float]:
        """Its vectors, and texts a second over as many runs as begin within the time."""
        began, count = time.perf_counter(), 0
        while not count or time.perf_counter() - began < self._seconds:
            vectors = run()
            count += 1
        return vectors, count * len(self._texts) / (time.perf_counter() - began)


def pieces(count: int) -> list[NDArray[np.int64]]:
    """So many rows in another order, in pieces of uneven sizes."""
    rows = np.array(random.Random(1).sample(range(count), count))
    cuts = itertools.takewhile(lambda cut: cut < count, itertools.accumulate(itertools.cycle(PIECES)))
    return [piece for piece in np.split(rows, list(cuts)) if len(piece)]


def select(arguments: argparse.Namespace, precision: str, batch_size: int) -> dict[str, Any]:
    """`craft-stream select` on the head of the stream, twice; whether both wrote the same bytes."""
    options = {"model": arguments.model, "device": arguments.device}
    options |= {"precision": precision, "batch_size": batch_size}
    settings = [
        f"encoder.kind={KIND}",
        *(f"encoder.options.{name}={value}" for name, value in options.items()),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stream = folder / "stream.jsonl"
        stream.write_bytes(
            b"\n".join(lines(arguments.corpus / "stream.jsonl.zst")[: arguments.pairs]) + b"\n"
        )
        found, outputs = [], []
        for _ in range(2):
            command = [*COMMAND, "select", "--input", str(stream), "--budget-rate", str(arguments.rate)]
            command += ["--target", str(arguments.corpus / "target" / f"{arguments.domain}.jsonl.zst")]
            command += ["--output", str(folder / "accepted.jsonl"), "--decisions", str(folder / "decisions")]
            for setting in [*settings, *arguments.settings]:
                command += ["--set", setting]
            began = time.perf_counter()
            done = subprocess.run([*command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            found.append({**json.loads(done.stdout), "wall": time.perf_counter() - began})
            outputs.append([(folder / part).read_bytes() for part in ("accepted.jsonl", "decisions")])
    return {
        **found[1],
        "precision": precision,
        "batch_size": batch_size,
        "same": outputs[0] == outputs[1],
        "runs": found,
    }


def main() -> None:
    """Parse the command line, run and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=lambda path: Path(path).resolve(), required=True, help="folder with stream.jsonl.zst"
    )
    parser.add_argument("--model", required=True, help="name or folder of a sentence-transformers model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--batch-sizes", type=numbers, default=[1, 16, 64, 256])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=2, help="that each rate is measured for, at least")
    parser.add_argument("--pairs", type=int, default=50_000, help="of the selection; 0: none")
    parser.add_argument("--rate", type=float, default=0.01, help="budget of the selection")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of `select`",
    )
    parser.add_argument("--output", type=Path, help="JSON file that the figures are added to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the encoder does
    records = map(json.loads, lines(arguments.corpus / "stream.jsonl.zst"))
    texts = list(itertools.islice(dict.fromkeys(record["src"] for record in records), arguments.texts))
    found: dict[str, Any] = {
        "command": f"python -m bench.encoders {' '.join(sys.argv[1:])}",
        "machine": machine.machine(),
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "a CPU",
        "torch": torch.__version__,
        "sentence-transformers": sentence_transformers.__version__,
        "encoders": [],
    }
    alone: Vectors | None = None
    for precision in arguments.precisions.split(","):
        bench = Bench(arguments, precision, texts)
        for batch_size in arguments.batch_sizes:
            row = bench.measure(batch_size)
            vectors = row.pop("vectors")
            alone = vectors if alone is None else alone
            row["from_alone"] = float(np.abs(vectors - alone).max())
            found["encoders"].append(row)
            print(json.dumps(row), flush=True)
            if arguments.output:
                add(arguments.output, "encoders", found)
    first = found["encoders"][0]["precision"]
    steady = [row for row in found["encoders"] if row["precision"] == first and not row["differ"]]
    if arguments.pairs and steady:
        best = max(steady, key=lambda row: row["embed"])
        found["select"] = select(arguments, first, best["batch_size"])
        print(json.dumps(found["select"]), flush=True)
        if arguments.output:
            add(arguments.output, "encoders", found)


if __name__ == "__main__":
    main()
