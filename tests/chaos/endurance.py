"""Memory, threads and file descriptors of a worker over millions of records, and what its ledger costs in bytes.

`python -m tests.chaos.endurance --records 20000000 --minutes 600 --output endurance.csv` feeds one worker with a live learner
from a broker of its own, keeps its lag within bounds, samples the process and prints slopes after the warm-up. No text comes
twice: each record joins two messages of the demo's catalogues, in an order that a permutation of all such pairs gives.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.kafka import admin as kafka_admin
from connectors.kafka.sink import TopicSink
from craft_stream.demo.catalogues import Catalogues
from tests import broker
from tests.chaos.fleet import Fleet
from tests.integration.deployment import Deployment

PARTITIONS = 2
LAG = 150_000  # records fed ahead of the worker
PIECE = 20_000
SAMPLE_SECONDS = 10.0
OVERRIDES = {
    "kafka.max_poll_records": 20_000,
    "kafka.commit_interval_ms": 1_000,
    "decisions.rejected_sample": 0.01,
    "budget.rate": 0.1,
    "learner.prime_pairs": 50_000,
}
# The broker forgets what has been decided: 20 million records are 6 GB otherwise.
RETENTION = {"retention.bytes": str(256 << 20), "segment.bytes": str(32 << 20)}


def records(catalogues: Catalogues, seed: int = 1) -> Iterator[bytes]:
    """Endless: the nth is the pair of messages that an affine permutation of all pairs of messages maps n to."""
    texts = [
        (json.dumps(pair.source, ensure_ascii=False)[1:-1], json.dumps(pair.target, ensure_ascii=False)[1:-1])
        for pair in catalogues.stream
    ]
    total = len(texts) ** 2
    step = next(n for n in range(total * 5 // 8 + seed, total) if np.gcd(n, total) == 1)
    at = seed
    number = 0
    while True:
        at = (at + step) % total
        (first, first_target), (second, second_target) = texts[at // len(texts)], texts[at % len(texts)]
        yield (
            f'{{"id": "p{number}-{at}", "src": "{first} {second}", "tgt": "{first_target} {second_target}"}}'
        ).encode()
        number += 1


def deployment(bootstrap: str, folder: Path) -> Deployment:
    """Topics, of which the input's forgets."""
    run = Deployment(bootstrap, folder, PARTITIONS, OVERRIDES, create=False)
    plans = kafka_admin.plans(run.settings.kafka, run.settings.record, PARTITIONS)
    plans = [
        dataclasses.replace(plan, configs={**plan.configs, **RETENTION})
        if plan.role == "input_topic"
        else plan
        for plan in plans
    ]
    with kafka_admin.connect(run.settings.kafka) as admin:
        admin.create(plans, 1)
    return run


def process(pid: int) -> tuple[float, int, int]:
    """Resident memory in MB, threads, open file descriptors."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))


def slope(hours: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Of a least-squares line."""
    return float(np.polyfit(hours, values, 1)[0]) if len(hours) > 2 else float("nan")


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000_000)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--output", type=Path, default=Path("endurance.csv"))
    arguments = parser.parse_args()
    catalogues = Catalogues.installed()
    with tempfile.TemporaryDirectory() as name, broker.cluster() as cluster:
        run = deployment(cluster.bootstrap, Path(name))
        run.publish_target(json.loads(pair.record()) for pair in catalogues.target)
        rows = endure(run, records(catalogues), arguments.records, arguments.minutes * 60, arguments.output)
    sys.stdout.write(summary(rows))


def summary(rows: list[tuple[float, ...]]) -> str:
    """What the samples say; the first third is warm-up."""
    hours, done, memory, threads, files, ledger, consumed = np.array(rows).T
    warm, half = len(rows) // 3, len(rows) // 2
    return (
        f"{done[-1]:,.0f} records in {hours[-1]:.2f} h; the first third is warm-up\n"
        f"memory {memory[warm]:.0f} -> {memory[-1]:.0f} MB, {slope(hours[warm:], memory[warm:]):+.1f} MB/h, "
        f"over the second half {slope(hours[half:], memory[half:]):+.1f} MB/h\n"
        f"threads {min(threads[warm:]):.0f}-{max(threads[warm:]):.0f}, "
        f"file descriptors {min(files[warm:]):.0f}-{max(files[warm:]):.0f}\n"
        f"ledger {ledger[-1] / consumed[-1]:.2%} of the input's bytes (values, before compression)\n"
    )


def endure(
    run: Deployment, stream: Iterator[bytes], most: int, seconds: float, output: Path
) -> list[tuple[float, ...]]:
    """Feed and sample; rows of hours, records, MB, threads, files, ledger's bytes, input's bytes."""
    kafka = run.settings.kafka
    sink = TopicSink(kafka, kafka.input_topic)
    rows: list[tuple[float, ...]] = []
    fed = 0
    with Fleet(run) as fleet, output.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["hours", "records", "mb", "threads", "files", "ledger_bytes", "input_bytes"])
        fleet.start("a")
        fleet.wait_log("a", "metrics and health")
        began, sampled, decided = time.monotonic(), 0.0, 0.0
        while decided < most and time.monotonic() - began < seconds:
            if fed < most and fed - decided < LAG:
                for number in range(fed, fed + PIECE):
                    sink.append(None, next(stream), partition=number % PARTITIONS)
                sink.flush()
                fed += PIECE
            else:
                time.sleep(0.5)
            if time.monotonic() - sampled >= SAMPLE_SECONDS:
                sampled = time.monotonic()
                decided = fleet.metric("a", "craft_decisions_total")
                row = (
                    (sampled - began) / 3600,
                    decided,
                    *process(fleet.processes["a"].pid),
                    fleet.metric("a", "craft_ledger_written_bytes_total"),
                    fleet.metric("a", "craft_consumed_bytes_total"),
                )
                rows.append(row)
                table.writerow(row)
                file.flush()
        sink.close()
        fleet.stop("a")
    return rows


if __name__ == "__main__":
    main()
