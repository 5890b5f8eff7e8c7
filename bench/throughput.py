"""Pairs a second through a real broker: `craft-stream run` beside what it could be at best, in turn.

`python -m bench.throughput --corpus PATH/en-fr --output RESULTS.json` starts an Apache Kafka, writes the stream to one
partition and lets each contender read all of it, one after the other, `--runs` times: (a) `craft-stream run`, whole
craft-plus, hashing encoder, exactly once, learner included, budget 10 %; (b) a bare consume loop; (c) a bare loop of
consume and transactional produce of the same share, and the same with all that the worker writes; (d) with `--quix FOLDER`,
a Quix Streams application, in a virtual environment that is made there. What a contender does with its first `--warm` pairs
(start, priming, compiling) is not counted. Nor is what is less than a transaction at the end of the stream: a worker leaves it
for `kafka.commit_interval_ms`, as more may come.

`--workers 1,2,4` compares so many workers of `craft-stream run` instead, each number on a topic of as many partitions with
`--pairs` on each, `--warm` of them a worker's warm-up, until one of them has come to the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from bench import machine
from bench.main_job import lines
from connectors.kafka.transport import KafkaTransport
from craft_stream.parameters import LearningParameters
from craft_stream.settings import DecisionsSettings, KafkaSettings
from tests.broker import cluster
from tests.integration.deployment import ROOT, Deployment, committed

RATE = 0.1
WAIT_SECONDS = 300.0
_KAFKA, _LEARNING = KafkaSettings(), LearningParameters()
# As `run` has them by default.
DEFAULTS = {
    "kafka.commit_interval_ms": _KAFKA.commit_interval_ms,
    "kafka.max_poll_records": _KAFKA.max_poll_records,
    "kafka.session_timeout_ms": _KAFKA.session_timeout_ms,
    "learner.prime_pairs": _LEARNING.prime_pairs,
    "learner.prime_seconds": _LEARNING.prime_seconds,
    "decisions.rejected_sample": DecisionsSettings().rejected_sample,
    "budget.rate": RATE,
}
Figures = dict[str, float]


def stream(corpus: Path, count: int) -> Iterator[bytes]:
    """So many records of a corpus; from the second round on with other ids."""
    records = lines(corpus / "stream.jsonl.zst")
    for number in range(count):
        turn, place = divmod(number, len(records))
        if not turn:
            yield records[place]
            continue
        record = orjson.loads(records[place])
        yield orjson.dumps({**record, "id": f"{record['id']}-{turn}"})


class Stage:
    """A broker with the stream on it, and topics for each contender."""

    def __init__(
        self, bootstrap: str, folder: Path, corpus: Path | None, pairs: int, partitions: int
    ) -> None:
        self.bootstrap, self.folder, self.pairs, self.partitions = bootstrap, folder, pairs, partitions
        self.input: str | None = None
        self.target: list[dict[str, str]] = []
        self.corpus = corpus

    def records(self, count: int) -> list[bytes]:
        """The first so many records of the stream."""
        assert self.corpus is not None  # noqa: S101
        return list(stream(self.corpus, count))

    def feed(self) -> None:
        """Write the stream to each partition of the input topic that all contenders share."""
        feed([self])

    def spread(self, partitions: int) -> Stage:
        """A stage with as many pairs on each of so many partitions; to be fed."""
        found = Stage(self.bootstrap, self.folder, self.corpus, self.pairs * partitions, partitions)
        found.target = self.target
        return found

    def deployment(self, **overrides: Any) -> Deployment:
        """New topics beside the one input."""
        values = {**DEFAULTS, **overrides}
        if self.input is not None:
            values["kafka.input_topic"] = self.input
        return Deployment(self.bootstrap, self.folder, partitions=self.partitions, overrides=values)

    def targeted(self, **overrides: Any) -> Deployment:
        """New topics with the target on them."""
        found = self.deployment(**overrides)
        found.publish_target(self.target)
        return found

    @contextmanager
    def progress(self, settings: Any) -> Iterator[Callable[[], list[int]]]:
        """How many pairs a group has committed, by partition."""
        reader = KafkaTransport(settings.kafka).reader()
        try:
            yield lambda: [p.offset if (p := committed(reader, i)) else 0 for i in range(self.partitions)]
        finally:
            reader.close()


def feed(stages: Sequence[Stage]) -> None:
    """Write the stream to each partition of the stages' inputs, by as many processes as there are cores."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        parts = []
        for stage in stages:
            source = stage.deployment()
            stage.input = source.settings.kafka.input_topic
            count = stage.pairs // stage.partitions
            parts += [pool.submit(_fill, stage, source, count, i) for i in range(stage.partitions)]
        for part in parts:
            part.result()


def _fill(stage: Stage, source: Deployment, count: int, partition: int) -> None:
    source.feed(stage.records(count), partition=partition)


def watch(
    progress: Callable[[], list[int]], pids: Sequence[int], warm: int, pairs: int, sampler: Sequence[str] = ()
) -> Figures:
    """Follow processes from the first commit at or after `warm` pairs until one of equal partitions is at its last transaction.

    Returns:
        Pairs, wall and CPU seconds between; `cores` busy, everything on the machine included; the largest process's memory.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    first: tuple[int, float, float, float] | None = None
    while time.monotonic() < deadline:
        offsets = progress()
        done, now, cpu = sum(offsets), time.perf_counter(), sum(map(machine.cpu_seconds, pids))
        if first is None:
            if done >= warm:
                first = done, now, cpu, machine.busy()[0]
                if sampler:
                    subprocess.Popen([*sampler, "-p", str(pids[0])], stdout=subprocess.DEVNULL)
        elif max(offsets) > pairs // len(offsets) - _KAFKA.max_poll_records:
            return {
                "pairs": done - first[0],
                "wall": now - first[1],
                "cpu": cpu - first[2],
                "cores": (machine.busy()[0] - first[3]) / (now - first[1]),
                "peak_mib": max(map(machine.peak_mib, pids)),
            }
        time.sleep(0.05)
    raise TimeoutError(f"{done} of {pairs} pairs were committed in {WAIT_SECONDS:.0f} s")


def craft(
    stage: Stage, warm: int, workers: int = 1, sampler: Sequence[str] = (), **overrides: Any
) -> Figures:
    """`craft-stream run` from an empty ledger to the end of the stream."""
    run = stage.targeted(**overrides)
    processes = [run.start(log=f"worker{number}") for number in range(workers)]
    try:
        with stage.progress(run.settings) as progress:

            def alive() -> list[int]:
                for number, process in enumerate(processes):
                    if process.poll() is not None:
                        raise RuntimeError(f"worker {number} ended: {run.log(f'worker{number}')}")
                return progress()

            return watch(alive, [process.pid for process in processes], warm, stage.pairs, sampler)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def bare(stage: Stage, warm: int, kind: str) -> Figures:
    """One of `bench.contenders`."""
    run = stage.deployment()
    command = [sys.executable, "-m", "bench.contenders", kind, "--config", str(run.path)]
    command += ["--pairs", str(stage.pairs), "--warm", str(warm)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=run.environment(), check=True
    )
    return dict(json.loads(done.stdout))


def quix_python(folder: Path) -> Path:
    """The interpreter of an environment with Quix Streams, made on the first call."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "quixstreams"], check=True)
    return python


def quix(stage: Stage, warm: int, python: Path) -> Figures:
    """The Quix Streams application."""
    run = stage.deployment()
    kafka = run.settings.kafka
    with tempfile.TemporaryDirectory(dir=stage.folder) as state:
        command = [str(python), str(ROOT / "bench" / "quix_filter.py"), stage.bootstrap, kafka.group_id]
        command += [kafka.input_topic, kafka.accepted_topic, state]
        with (stage.folder / "quix.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=stage.folder, stdout=log, stderr=log)
        try:
            with stage.progress(run.settings) as progress:
                return watch(progress, [process.pid], warm, stage.pairs)
        finally:
            process.terminate()
            process.wait(60)


def summary(runs: Sequence[Figures]) -> dict[str, float]:
    """Median, least and most pairs a second; CPU microseconds a pair likewise."""
    rates = [run["pairs"] / run["wall"] for run in runs]
    costs = [1e6 * run["cpu"] / run["pairs"] for run in runs]
    return {
        "rate": statistics.median(rates),
        "rate_least": min(rates),
        "rate_most": max(rates),
        "us": statistics.median(costs),
        "us_least": min(costs),
        "us_most": max(costs),
        "cores": statistics.median(run.get("cores", 0.0) for run in runs),
        "peak_mib": max(run.get("peak_mib", 0.0) for run in runs),
    }


@contextmanager
def broker_with(arguments: argparse.Namespace, partitions: int) -> Iterator[Stage]:
    """A broker of our own with the stream on it."""
    with tempfile.TemporaryDirectory() as name, cluster() as broker:
        corpus = arguments.corpus.resolve()
        stage = Stage(broker.bootstrap, Path(name), corpus, arguments.pairs, partitions)
        stage.target = [
            json.loads(line) for line in lines(corpus / "target" / f"{arguments.domain}.jsonl.zst")
        ]
        yield stage


def main() -> None:
    """Parse the command line, run everything in turn and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder with stream.jsonl.zst and target/")
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--pairs", type=int, default=551_304, help="on each partition")
    parser.add_argument("--warm", type=int, default=150_000, help="of them, by each worker, before it counts")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="contenders, by the beginning of their names, with commas")
    parser.add_argument("--quix", type=Path, help="a virtual environment with Quix Streams; made if missing")
    parser.add_argument("--sampler", default="", help="py-spy, to sample craft-stream with into --output")
    parser.add_argument("--workers", type=numbers, help="instead: so many workers, numbers with commas")
    parser.add_argument("--output", type=Path, help="JSON file that the figures are added to")
    parser.add_argument("--label", default="", help="of these figures there, as those of another machine")
    arguments = parser.parse_args()
    name = " ".join(filter(None, ["workers" if arguments.workers else "throughput", arguments.label]))
    with broker_with(arguments, 1) as stage:
        for found in measure(contenders(stage, arguments), arguments):
            if arguments.output and not arguments.sampler:
                add(arguments.output, name, found)


def numbers(text: str) -> list[int]:
    """Numbers with commas."""
    return [int(part) for part in text.split(",")]


def contenders(stage: Stage, arguments: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    """What is run, by name, its input written."""
    warm, sampler = arguments.warm, []
    if arguments.workers:
        stages = {count: stage.spread(count) for count in arguments.workers}
        feed(list(stages.values()))
        return {
            f"{count} workers": partial(craft, spread, warm * count, count)
            for count, spread in stages.items()
        }
    stage.feed()
    if arguments.sampler:
        sampler = [arguments.sampler, "record", "--gil", "-r", "200", "-d", "300", "-t", "-f", "raw", "-o"]
        sampler.append(str(arguments.output.with_suffix(".stacks")))
    found: dict[str, Callable[[], Figures]] = {
        "craft-stream run": lambda: craft(stage, warm, 1, sampler),
        "consume": lambda: bare(stage, warm, "consume"),
        "produce": lambda: bare(stage, warm, "produce"),
        "produce-decisions": lambda: bare(stage, warm, "produce-decisions"),
    }
    if arguments.quix:
        python = quix_python(arguments.quix.resolve())
        found["quix-streams"] = lambda: quix(stage, warm, python)
    chosen = tuple(filter(None, arguments.only.split(",")))
    return {name: run for name, run in found.items() if not chosen or name.startswith(chosen)}


def measure(
    named: dict[str, Callable[[], Figures]], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Run all in turn, as often as asked for; the figures so far after each turn, so that an end loses none."""
    runs: dict[str, list[Figures]] = {name: [] for name in named}
    worked, idled = machine.busy()
    for turn in range(arguments.runs):
        for name, run in named.items():
            figures = run()
            runs[name].append(figures)
            rate, cost = figures["pairs"] / figures["wall"], 1e6 * figures["cpu"] / figures["pairs"]
            print(f"{turn + 1} {name:20} {rate:9,.0f} pairs/s {cost:6.2f} us a pair", flush=True)
        work, idle = machine.busy()[0] - worked, machine.busy()[1] - idled
        yield {
            "command": f"python -m bench.throughput {' '.join(sys.argv[1:])}",
            "machine": machine.machine(),
            "cores_busy": round(work / (work + idle) * (machine.machine()["cores"] or 1), 2),
            "contenders": {name: {**summary(of), "runs": of} for name, of in runs.items()},
        }
    for name, of in runs.items():
        row = summary(of)
        print(
            f"  {name:20} {row['rate']:9,.0f} pairs/s {row['us']:6.2f} us a pair, {row['peak_mib']:.0f} MiB"
        )


def add(path: Path, name: str, found: dict[str, Any]) -> None:
    """Put figures into a JSON file beside those that are there."""
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
