"""What the ledger costs: bytes on its topic beside the input's, and time beside a worker that writes none.

`python -m tests.chaos.ledger_cost --records 200000 --rounds 3` runs one worker, with a pinned model and default settings but
for a budget of 10 %, over the demo's text in turn with and without the ledger's records in its transactions, and prints its
CPU time and wall clock of each. CPU time is the one to trust where others use the machine. Sizes are those of the segments on
the broker's disk, both topics compressed as they come, before any compaction.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from connectors.kafka.sink import TopicSink
from craft_stream.demo.catalogues import Catalogues
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.ports.messages import Message
from craft_stream.reading.records import read_pair
from craft_stream.text.batch import PairBatch
from tests import broker
from tests.chaos.endurance import OVERRIDES, records
from tests.integration.deployment import COMMAND, ROOT, Deployment

WITHOUT = (
    "from craft_stream.worker.committer import Committer; Committer._send_ledger = lambda *_: []; "
    "from craft_stream.cli import main; main()"
)
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(run: Deployment, catalogues: Catalogues, values: list[bytes]) -> Path:
    """A Model learned from the demo's target and the stream's first 20,000 records."""
    learner = Learner(run.settings.parameters(), load_encoder())
    target = catalogues.target
    learner.observe_target(
        [p.id for p in target], PairBatch.pack([p.source for p in target], [p.target for p in target])
    )
    decoded = [read_pair(Message(value, 0), run.settings.record) for value in values[:20_000]]
    learner.observe(PairBatch.pack([p.source for p in decoded], [p.target for p in decoded]))
    path = run.folder / "model"
    path.write_bytes(learner.publish().encode())
    return path


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def segments(data: Path, topic: str) -> int:
    """Bytes of a topic on the broker's disk."""
    return sum(path.stat().st_size for path in data.glob(f"{topic}-[0-9]*/*.log"))


def measure(run: Deployment, model: Path, values: list[bytes], ledger: bool) -> tuple[float, float]:
    """CPU seconds and seconds from the first commit to the last."""
    sink = TopicSink(run.settings.kafka, run.settings.kafka.input_topic)
    for value in values:
        sink.append(None, value, partition=0)
    sink.flush()
    sink.close()
    command = COMMAND if ledger else [sys.executable, "-c", WITHOUT]
    with (run.folder / f"{run.name}.log").open("wb") as log:
        worker = subprocess.Popen(
            [*command, "run", "--config", str(run.path), "--model", str(model)],
            cwd=ROOT, env=run.environment(), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        run.wait_committed(1, 120)
        began, used = time.monotonic(), cpu(worker.pid)
        run.wait_done([worker], 900)
        return cpu(worker.pid) - used, time.monotonic() - began
    finally:
        worker.terminate()
        worker.wait(30)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    catalogues = Catalogues.installed()
    values = list(itertools.islice(records(catalogues), arguments.records))
    spent: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name, broker.cluster() as cluster:
        folder = Path(name)
        model: Path | None = None
        for _, ledger in itertools.product(range(arguments.rounds), (True, False)):
            run = Deployment(cluster.bootstrap, folder, 1, OVERRIDES)
            model = model or pinned(run, catalogues, values)
            spent[ledger].append(measure(run, model, values, ledger))
            if ledger:
                kafka = run.settings.kafka
                sizes = [segments(cluster.data, topic) for topic in (kafka.input_topic, kafka.ledger_topic)]
        lines = [f"on disk: input {sizes[0]:,} bytes, ledger {sizes[1]:,}: {sizes[1] / sizes[0]:.2%}"]
    for ledger, runs in spent.items():
        used, took = (min(column) for column in zip(*runs, strict=True))
        lines.append(
            f"{'with' if ledger else 'without'} ledger: {used:.2f} s of CPU, {took:.2f} s, best of {len(runs)} "
            f"({', '.join(f'{a:.2f}' for a, _ in runs)})"
        )
    with_, without = (min(used for used, _ in spent[ledger]) for ledger in (True, False))
    lines.append(f"the ledger costs {with_ / without - 1:.1%} of CPU time")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
