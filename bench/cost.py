"""CPU time without a broker: by stage, over a long stream, from the start of the process, and of `craft-stream select`.

`python -m bench.cost stages --corpus PATH/en-fr`: CPU microseconds a pair of each stage of `craft-stream run`, one after the
other in one thread, on records as they come from a broker; and what one version of the Model costs.
`python -m bench.cost linear --corpus PATH/en-fr --pairs 5000000`: what a pair costs in each million of a long stream and what
learner, ledger and Model hold then, ids and sources made new in every round, so that nothing is a duplicate that was none.
`python -m bench.cost start --corpus PATH/en-fr`: imports, and the time to the first decision of `select`.
`python -m bench.cost select --corpus PATH/en-fr`: CPU time, rate and memory of `craft-stream select`, and with --dsir of the
DSIR package.
`python -m bench.cost jobs --corpus PATH/en-fr`: `select` with one job on one core and with two on two, in turn, in two passes
and in one; on a machine that does nothing else.
`python -m bench.cost encoder --corpus PATH/en-fr`: `select` with the Universal Sentence Encoder on one core, of the first
150,000 pairs and of all: how many further pairs a second it decides. All add to `--output RESULTS.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import TopicPartition
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from bench import machine
from bench.held import MIB, held_mib
from bench.main_job import lines
from bench.throughput import add
from connectors.kafka.fetched import messages
from craft_stream.cli.interpreter import lighten
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.writing.accepted import accepted_records
from craft_stream.writing.decisions import decision_lines
from tests.integration.deployment import COMMAND, ROOT

RATE = 0.1
BATCH = 10_000
WHERE = TopicPartition("crawl.pairs", 0)
MILLION = 1_000_000


class Stopwatch:
    """CPU seconds of this thread by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside to `name`."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - began


def batches(records: list[bytes]) -> Iterator[bytes]:
    """Records as a broker sends them: batches of some 256 kB with a key and a header each, compressed with lz4."""
    builder, first = None, 0
    for number, value in enumerate(records):
        if builder is None:
            builder, first = DefaultRecordBatchBuilder(2, 3, False, -1, -1, -1, 256 << 10), number
        if (
            builder.append(number - first, 1_700_000_000_000, b"k%d" % number, value, [("origin", b"test")])
            is None
        ):
            yield _at(builder.build(), first)
            builder, first = DefaultRecordBatchBuilder(2, 3, False, -1, -1, -1, 256 << 10), number
            builder.append(0, 1_700_000_000_000, b"k%d" % number, value, [("origin", b"test")])
    if builder is not None:
        yield _at(builder.build(), first)


def _at(batch: Any, offset: int) -> bytes:
    """A batch as it is stored at an offset, which is no part of its checksum."""
    return offset.to_bytes(8, "big") + bytes(batch)[8:]


def stages(arguments: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a pair by stage, after warm-up on the first `--warm` pairs."""
    settings = Settings.load(None, [f"budget.rate={RATE}"])
    parameters, encoder = settings.parameters(), load_encoder()
    records = lines(arguments.corpus / "stream.jsonl.zst")[: arguments.pairs]
    learner, selector, ledger = (
        Learner(parameters, encoder),
        Selector(parameters, encoder),
        Ledger(parameters),
    )
    observe_target(learner, arguments)
    watch = Stopwatch()
    buffered: list[Message] = []
    model, versions, counted = None, 0, 0
    for data in batches(records):
        with watch.stage("parse"):
            buffered += messages(DefaultRecordBatch(data), WHERE)
        if len(buffered) < BATCH:
            continue
        with watch.stage("read"):
            chunk = Chunk.read(buffered, settings.record)
        batch = chunk.pairs.batch
        if model is None or learner.due:
            if model is None:
                learner.observe(batch)
            with watch.stage("publish"):
                model = learner.publish()
            versions += 1
        with watch.stage("decide"):
            decisions = selector.decide(chunk.pairs, ledger, model)
        with watch.stage("write"):
            accepted_records(chunk, decisions)
            decision_lines(chunk, decisions, np.flatnonzero(decisions.accepted))
        with watch.stage("ledger"):
            ledger.delta()
        with watch.stage("learn"):
            learner.observe_accepted(batch.take(np.flatnonzero(decisions.accepted)))
            learner.observe(batch)
        counted += len(buffered)
        if counted >= arguments.warm and not watch.seconds.get("warm"):
            watch.seconds.clear()
            watch.seconds["warm"], versions, began = 1.0, 0, counted
        buffered = []
    pairs = counted - began
    us = {name: 1e6 * spent / pairs for name, spent in watch.seconds.items() if name != "warm"}
    us_version = us.pop("publish", 0.0) * pairs / 1e6 / max(versions, 1)
    return {"pairs": pairs, "us": us, "version_seconds": us_version, "versions": versions}


def observe_target(learner: Learner, arguments: argparse.Namespace) -> None:
    """Give the target's pairs to a learner."""
    target = [
        Message(line, n)
        for n, line in enumerate(lines(arguments.corpus / "target" / f"{arguments.domain}.jsonl.zst"))
    ]
    chunk = Chunk.read(target, Settings().record)
    learner.observe_target(chunk.identifiers(), chunk.pairs.batch)


def linear(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU microseconds a pair in every million, learner and versions included, and MiB held after it.

    Those of the engine are without reading the records: encoder, scores, decisions, learning.
    """
    settings = Settings.load(None, [f"budget.rate={arguments.rate}"])
    parameters, encoder = settings.parameters(), load_encoder()
    records = lines(arguments.corpus / "stream.jsonl.zst")
    learner, selector, ledger = (
        Learner(parameters, encoder),
        Selector(parameters, encoder),
        Ledger(parameters),
    )
    observe_target(learner, arguments)
    model, rows, spent, reading = None, [], 0.0, 0.0
    for start in range(0, arguments.pairs, BATCH):
        made = [fresh(records, number) for number in range(start, min(start + BATCH, arguments.pairs))]
        began = time.process_time()
        chunk = Chunk.read(made, settings.record)
        batch = chunk.pairs.batch
        reading += time.process_time() - began
        if model is None:
            learner.observe(batch)
        if model is None or learner.due:
            model = learner.publish()
        decisions = selector.decide(chunk.pairs, ledger, model)
        ledger.delta()
        ledger.closed_segments()
        learner.observe_accepted(batch.take(np.flatnonzero(decisions.accepted)))
        learner.observe(batch)
        spent += time.process_time() - began
        if (start + len(made)) % MILLION == 0:
            rows.append(
                {
                    "pairs": start + len(made),
                    "us": 1e6 * spent / MILLION,
                    "engine_us": 1e6 * (spent - reading) / MILLION,
                    "learner_mib": held_mib(learner),
                    "ledger_mib": held_mib(ledger, model) - held_mib(model),
                    "model_mib": held_mib(model),
                    "published_mib": len(model.encode()) / MIB,
                    "process_mib": machine.resident_mib(os.getpid()),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
            spent = reading = 0.0
    return {"rate": arguments.rate, "millions": rows, "last_over_first": rows[-1]["us"] / rows[0]["us"]}


def fresh(records: list[bytes], number: int) -> Message:
    """A record of the corpus as a new one: from the second round on with another id and a number in its source."""
    turn, place = divmod(number, len(records))
    if not turn:
        return Message(records[place], number, *WHERE)
    record = orjson.loads(records[place])
    record |= {
        "id": f"{record['id']}-{turn}",
        "src": f"{record['src']} {number}",
        "tgt": f"{record['tgt']} {number}",
    }
    return Message(orjson.dumps(record), number, *WHERE)


def timed(command: list[str]) -> dict[str, float]:
    """Run a command to its end: wall and CPU seconds, peak memory."""
    # as an installed package has it: else every start compiles its 80 modules, .1 s
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while True:
        # not ru_maxrss, which a child inherits from the process that started it
        peak = max(peak, machine.peak_mib(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": peak}


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds to import, and until `select` has decided a first block of 1,024 pairs and ended."""
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as name:
        head = Path(name) / "head.jsonl"
        head.write_bytes(b"\n".join(lines(arguments.corpus / "stream.jsonl.zst")[:1024]) + b"\n")
        ways = {
            "import craft_stream": [*python, "import craft_stream"],
            "import craft_stream.cli": [*python, "import craft_stream.cli"],
            "select 1,024 pairs": select_command(arguments, Path(name), head),
        }
        found: dict[str, Any] = {}
        for way, command in ways.items():
            timed(command)
            runs = [timed(command) for _ in range(arguments.runs)]
            found[way] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return found


def select_command(arguments: argparse.Namespace, folder: Path, stream: Path) -> list[str]:
    """`craft-stream select` of one stream."""
    target = arguments.corpus / "target" / f"{arguments.domain}.jsonl.zst"
    command = [*COMMAND, "select", "--input", str(stream), "--target", str(target), "--budget-rate", "0.0093"]
    return [*command, "--output", str(folder / "accepted.jsonl"), "--json"]


def select(arguments: argparse.Namespace) -> dict[str, Any]:
    """`craft-stream select` on the whole stream, start-up included, and the DSIR package's own way from file to file."""
    with tempfile.TemporaryDirectory() as name:
        command = select_command(arguments, Path(name), arguments.corpus / "stream.jsonl.zst")
        timed(command)
        runs = [timed(command) for _ in range((arguments.runs + 1) // 2)]
        pairs = len(lines(arguments.corpus / "stream.jsonl.zst"))
        # between the halves, as it takes minutes and the machine is not always the same
        package = {"dsir": dsir(arguments, pairs)} if arguments.dsir else {}
        runs += [timed(command) for _ in range(arguments.runs // 2)]
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {"pairs": pairs, "runs": runs, **medians, **package}


def jobs(arguments: argparse.Namespace) -> dict[str, Any]:
    """`select` of the whole stream on one core and on two, in turn: seconds, and whether both write the same bytes."""
    first, second, *_ = sorted(os.sched_getaffinity(0))
    ways = {
        "one core, --jobs 1": (f"{first}", ["--jobs", "1"]),
        "two cores, --jobs 2": (f"{first},{second}", ["--jobs", "2"]),
        "one core, --one-pass": (f"{first}", ["--one-pass"]),
        "two cores, --one-pass": (f"{first},{second}", ["--one-pass"]),
    }
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)
    written: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        plain = select_command(arguments, Path(name), arguments.corpus / "stream.jsonl.zst")
        timed(plain)
        for _ in range(arguments.runs):
            for way, (cores, options) in ways.items():
                runs[way].append(timed(["taskset", "--cpu-list", cores, *plain, *options]))
                accepted = (Path(name) / "accepted.jsonl").read_bytes()
                passes = options[-1] == "--one-pass"
                if written.setdefault(str(passes), accepted) != accepted:
                    raise AssertionError(f"{way} wrote other bytes")
    medians = {
        way: {key: statistics.median(run[key] for run in own) for key in own[0]} for way, own in runs.items()
    }
    one, two = (medians[way]["wall"] for way in list(ways)[:2])
    # Amdahl: of what one core does in 1 s two do s + (1 - s) / 2
    return {"ways": medians, "runs": runs, "faster": one / two, "serial": max(2 * two / one - 1, 0.0)}


def encoder(arguments: argparse.Namespace) -> dict[str, Any]:
    """`select` with an encoder on one core, in two passes and in one: CPU seconds of a head of the stream and of all."""
    core, ways = min(os.sched_getaffinity(0)), {"two passes": [], "one pass": ["--one-pass"]}
    records = lines(arguments.corpus / "stream.jsonl.zst")
    sizes = (arguments.warm, min(arguments.pairs, len(records)))
    options = ["--jobs", "1", "--set", "encoder.kind=universal-sentence-encoder"]
    runs: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            stream = Path(name) / f"{size}.jsonl"
            stream.write_bytes(b"\n".join(records[:size]) + b"\n")
            command = select_command(arguments, Path(name), stream)
            for way, own in ways.items():
                runs[way][size] = timed(["taskset", "--cpu-list", str(core), *command, *options, *own])
    short, long = sizes
    further = {way: (long - short) / (own[long]["cpu"] - own[short]["cpu"]) for way, own in runs.items()}
    return {"runs": runs, "further_pairs_per_cpu_second": further}


def dsir(arguments: argparse.Namespace, pairs: int) -> dict[str, float]:
    """The package on the same stream, both sides, one process: seconds from its JSON lines to its selection."""
    from bench.corpus import Corpus
    from bench.dsir import select as run
    from bench.scenarios import scenario

    with tempfile.TemporaryDirectory() as cache:
        corpus = Corpus(arguments.corpus, Path(cache))
        plain = scenario(corpus, "plain", arguments.domain)
        assert len(corpus.pairs) == pairs  # noqa: S101  # read before the clock starts
        began, cpu = time.perf_counter(), time.process_time()
        chosen = run(corpus, plain, both_sides=True)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"wall": chosen.seconds.get("select", wall), "cpu": cpu, "pairs": pairs}


WAYS = {
    "stages": stages,
    "linear": linear,
    "start": start,
    "select": select,
    "jobs": jobs,
    "encoder": encoder,
}


def main() -> None:
    """Parse the command line and run one of the ways."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--corpus", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--pairs", type=int, default=551_304)
    parser.add_argument("--warm", type=int, default=150_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=RATE, help="budget of the long stream")
    parser.add_argument("--dsir", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    lighten()
    work, idle = machine.busy()
    found = WAYS[arguments.way](arguments)
    work, idle = machine.busy()[0] - work, machine.busy()[1] - idle
    found["command"] = f"python -m bench.cost {' '.join(sys.argv[1:])}"
    found["cores_busy"] = round(work / (work + idle) * (os.cpu_count() or 1), 2)
    print(json.dumps(found, indent=1))
    if arguments.output:
        other = f" {arguments.rate}" if arguments.way == "linear" and arguments.rate != RATE else ""
        add(arguments.output, f"{arguments.way}{other}", found)


if __name__ == "__main__":
    main()
