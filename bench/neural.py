"""A neural encoder behind the cascade, on a real broker: pairs a second beside what the encoder alone would allow.

`python -m bench.neural --corpus PATH/en-fr --model FOLDER --output RESULTS.json`, in an environment with the extra
`sentence-transformers`, writes `--pairs` of the stream to one partition and lets `craft-stream run` decide all of them, its
learner included. Counted is what is committed after the first `--warm` pairs. Beside it, after each run, the encoder alone:
`SentenceTransformer.encode` on texts that were embedded, one at a time and on one thread of torch, as `run` asks it. Where a
share g of the pairs is embedded, two texts each, an encoder of s texts a second allows s / 2 g pairs a second.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import machine
from bench.throughput import Stage, add, broker_with
from tests.integration.deployment import Deployment

WAIT_SECONDS = 1200.0
SETTINGS = {"budget.rate": 0.01, "learner.prime_pairs": 10_000, "decisions.rejected_sample": 1.0}
Figures = dict[str, float]


class Metrics:
    """What a worker says of itself under /metrics, read once."""

    def __init__(self, run: Deployment) -> None:
        url = re.findall(r"http://127.0.0.1:\d+", run.log())[0]
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310
            self._text = answer.read().decode()

    def sum(self, name: str, label: str = "") -> float:
        """Of all series of a metric whose labels hold `label`."""
        rows = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", self._text, re.M)
        return sum(float(value) for labels, value in rows if label in labels)

    def bound(self, histogram: str) -> float:
        """What no value of a histogram is above."""
        rows = re.findall(rf'^{histogram}_bucket{{le="(\S+)"}} (\S+)$', self._text, re.M)
        return next(float(bound) for bound, count in rows if count == rows[-1][1])


def decide(stage: Stage, warm: int, settings: dict[str, Any]) -> tuple[Figures, list[str]]:
    """One worker from an empty ledger to the end of the stream; the texts that it embedded after the warm-up."""
    run = stage.targeted(**settings)
    deadline = time.monotonic() + WAIT_SECONDS
    with run.worker() as worker, stage.progress(run.settings) as progress:
        commits, cpu = [(time.monotonic(), 0)], 0.0
        while commits[-1][1] < stage.pairs:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{commits[-1][1]} of {stage.pairs} pairs were committed\n{run.log()}")
            time.sleep(0.05)
            if (done := sum(progress())) > commits[-1][1]:
                commits.append((time.monotonic(), done))
                cpu = cpu or (machine.cpu_seconds(worker.pid) if done >= warm else 0.0)
        cpu = machine.cpu_seconds(worker.pid) - cpu
        metrics, peak = Metrics(run), machine.peak_mib(worker.pid)
    accepted, _ = run.accounted(stage.pairs)  # every record once: decided, and accepted or not
    embedded = sorted(
        int(name.rpartition("/")[2]) for name, line in run.decisions().items() if line["cluster"] is not None
    )
    if metrics.sum("craft_embedded_total") != len(embedded):
        raise AssertionError(
            f"the metric says {metrics.sum('craft_embedded_total')}, decisions {len(embedded)}"
        )
    late = [(at, done) for at, done in commits if done >= warm]
    chosen = [offset for offset in embedded if offset >= late[0][1]]
    pairs = stage.pairs - late[0][1]
    found = {
        "first_commit": commits[1][0] - commits[0][0],
        "pairs": pairs,
        "wall": late[-1][0] - late[0][0],
        "cpu": cpu,
        "embedded": len(chosen),
        "longest_commit": max(b[0] - a[0] for a, b in pairwise(late)),
        "assigned": metrics.sum("craft_rebalances_total", "assigned"),
        "taken": metrics.sum("craft_rebalances_total", "revoked")
        + metrics.sum("craft_rebalances_total", "lost"),
        "poll_used": metrics.bound("craft_poll_interval_used_ratio"),
        "versions": metrics.sum("craft_models_published_total"),
        "learned": metrics.sum("craft_learner_pairs"),
        "accepted": accepted,
        "peak_mib": peak,
    }
    records = [json.loads(message.value or b"") for message in run.read(run.settings.kafka.input_topic)]
    return found, [records[offset][side] for offset in chosen for side in ("src", "tgt")]


def alone(model: str, device: str, texts: list[str], seconds: float) -> Figures:
    """The encoder and nothing else, for so many seconds; wall and CPU seconds a text."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder = SentenceTransformer(model, device=device)
    encoder.encode(texts[:8], batch_size=1)
    began, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds and count < len(texts):
        encoder.encode([texts[count]], batch_size=1, normalize_embeddings=True)
        count += 1
    return {
        "texts": count,
        "wall": (time.perf_counter() - began) / count,
        "cpu": (time.process_time() - cpu) / count,
    }


def main() -> None:
    """Parse the command line, run and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder with stream.jsonl.zst and target/")
    parser.add_argument("--model", required=True, help="name or folder of a sentence-transformers model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--pairs", type=int, default=40_000)
    parser.add_argument("--warm", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of the encoder alone after each run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="a setting of `run`"
    )
    parser.add_argument("--output", type=Path, help="JSON file that the figures are added to")
    arguments = parser.parse_args()
    settings: dict[str, Any] = {
        **SETTINGS,
        "encoder.kind": "sentence-transformers",
        "encoder.options.model": arguments.model,
        "encoder.options.device": arguments.device,
    }
    for name, _, value in (text.partition("=") for text in arguments.settings):
        settings[name] = json.loads(value)
    with broker_with(arguments, 1) as stage:
        stage.feed()
        runs = []
        worked, idled = machine.busy()
        for _ in range(arguments.runs):
            found, texts = decide(stage, arguments.warm, settings)
            beside = alone(arguments.model, arguments.device, texts, arguments.seconds)
            allowed = found["pairs"] / (2 * found["embedded"] * beside["wall"])
            found |= {
                "rate": found["pairs"] / found["wall"],
                "share": found["embedded"] / found["pairs"],
                "alone": 1 / beside["wall"],
                "alone_cpu": 1 / beside["cpu"],
                "ratio": found["pairs"] / found["wall"] / allowed,
            }
            runs.append(found)
            print(json.dumps({name: round(value, 4) for name, value in found.items()}), flush=True)
        work, idle = machine.busy()[0] - worked, machine.busy()[1] - idled
    if arguments.output:
        medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        found_all = {
            "command": f"python -m bench.neural {' '.join(sys.argv[1:])}",
            "machine": machine.machine(),
            "cores_busy": round(work / (work + idle) * (machine.machine()["cores"] or 1), 2),
            "pairs": arguments.pairs,
            "median": medians,
            "runs": runs,
        }
        add(arguments.output, "neural", found_all)


if __name__ == "__main__":
    main()
