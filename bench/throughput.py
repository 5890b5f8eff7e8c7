"""Pairs a second through a real broker: `craft-stream run` beside what it could be at best, in turn.

`python -m bench.throughput --corpus PATH/en-fr --output RESULTS.json` starts an Apache Kafka, writes the stream to one
partition and lets each contender read all of it, one after the other, `--runs` times: (a) `craft-stream run`, whole
craft-plus, hashing encoder, exactly once, learner included, budget 10 %; (b) a bare consume loop; (c) a bare loop of
consume and transactional produce of the same share, and the same with all that the worker writes; (d) with `--quix FOLDER`,
a Quix Streams application, in a virtual environment that is made there. What a contender does with its first `--warm` pairs
(start, priming, compiling) is not counted.
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
from contextlib import contextmanager
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
        self._corpus = corpus

    def records(self, count: int) -> list[bytes]:
        """The first so many records of the stream."""
        assert self._corpus is not None  # noqa: S101
        return list(stream(self._corpus, count))

    def feed(self) -> None:
        """Write the stream to the input topic that all contenders share."""
        source = self.deployment()
        self.input = source.settings.kafka.input_topic
        source.feed(self.records(self.pairs))

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
    def progress(self, settings: Any) -> Iterator[Callable[[], int]]:
        """How many pairs a group has committed."""
        reader = KafkaTransport(settings.kafka).reader()
        try:
            yield lambda: sum(
                p.offset for i in range(self.partitions) if (p := committed(reader, i)) is not None
            )
        finally:
            reader.close()


def watch(
    progress: Callable[[], int], pids: Sequence[int], warm: int, pairs: int, sampler: Sequence[str] = ()
) -> Figures:
    """Follow processes from the first commit at or after `warm` pairs to the last; wall and CPU seconds between."""
    deadline = time.monotonic() + WAIT_SECONDS
    first: tuple[int, float, float] | None = None
    while time.monotonic() < deadline:
        done = progress()
        now, cpu = time.perf_counter(), sum(map(machine.cpu_seconds, pids))
        if first is None and done >= warm:
            first = done, now, cpu
            if sampler:
                subprocess.Popen([*sampler, "-p", str(pids[0])], stdout=subprocess.DEVNULL)
        if first is not None and done >= pairs:
            return {
                "pairs": done - first[0],
                "wall": now - first[1],
                "cpu": cpu - first[2],
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
            return watch(progress, [process.pid for process in processes], warm, stage.pairs, sampler)
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
    parser.add_argument("--pairs", type=int, default=551_304)
    parser.add_argument("--warm", type=int, default=150_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="contenders, by the beginning of their names, with commas")
    parser.add_argument("--quix", type=Path, help="a virtual environment with Quix Streams; made if missing")
    parser.add_argument("--sampler", default="", help="py-spy, to sample craft-stream with into --output")
    parser.add_argument("--workers", action="store_true", help="instead: one and two workers, two partitions")
    parser.add_argument("--output", type=Path, help="JSON file that the figures are added to")
    arguments = parser.parse_args()
    with broker_with(arguments, 2 if arguments.workers else 1) as stage:
        stage.feed()
        for found in measure(contenders(stage, arguments), arguments):
            if arguments.output and not arguments.sampler:
                add(arguments.output, "workers" if arguments.workers else "throughput", found)


def contenders(stage: Stage, arguments: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    """What is run, by name."""
    warm, sampler = arguments.warm, []
    if arguments.sampler:
        sampler = [arguments.sampler, "record", "--gil", "-r", "200", "-d", "300", "-t", "-f", "raw", "-o"]
        sampler.append(str(arguments.output.with_suffix(".stacks")))
    if arguments.workers:
        return {
            "one worker": lambda: craft(stage, warm, 1),
            "two workers": lambda: craft(stage, warm, 2),
        }
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
