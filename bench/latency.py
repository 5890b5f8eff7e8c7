"""Milliseconds from a record's timestamp to its committed decision, at a steady rate, on a real broker.

`python -m bench.latency --corpus PATH/en-fr --output RESULTS.json` feeds `--rate` pairs a second for `--seconds` to one
partition and follows the decisions topic in read_committed; every decision is written. The time of a decision is when this
reader has it, so a reader's own fetch is included. Run at the default commit interval and at a short one, in turn.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import TopicPartition

from bench import machine
from bench.throughput import Stage, add, broker_with
from connectors.kafka import clients
from connectors.kafka.transport import KafkaTransport
from tests.integration.deployment import Deployment, committed

# What a worker needs to be fast at the cost of more and smaller transactions.
LOW = {"kafka.commit_interval_ms": 50}
HEAD = 60_000  # pairs that are there from the start, so that the learner is primed
FLUSH_SECONDS = 15.0  # not counted: the backlog of the head, compiling


def feed(run: Deployment, records: list[bytes], rate: float, seconds: float) -> None:
    """Write records at a steady rate, twenty times a second."""
    kafka = run.settings.kafka
    producer = clients.producer(kafka, linger_ms=0)
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        due = min(int(elapsed * rate), len(records))
        for number in range(sent, due):
            producer.send(kafka.input_topic, records[number], b"%d" % number, partition=0)
        sent = due
        time.sleep(0.02)
    producer.flush(30)
    producer.close()


def decided(run: Deployment, stop: threading.Event) -> list[tuple[int, float]]:
    """(offset, milliseconds since the epoch when its decision was seen), until told to stop."""
    kafka = run.settings.kafka
    consumer = clients.reader(kafka, clients.SafeClient)
    where = TopicPartition(kafka.decisions_topic, 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    seen: list[tuple[int, float]] = []
    while not stop.is_set():
        messages = consumer.poll(timeout_ms=100, max_records=20_000).get(where, [])
        now = time.time() * 1000
        seen += [(int(message.key.rpartition(b"/")[2]), now) for message in messages]
    consumer.close(autocommit=False)
    return seen


def first_commit(run: Deployment, records: list[bytes]) -> float:
    """Seconds from the start of a worker's process to its first commit, its kernels cached and a model on the topic."""
    reader = KafkaTransport(run.settings.kafka).reader()
    try:
        position = committed(reader, 0)
        assert position is not None  # noqa: S101
        run.feed(records)
        began = time.monotonic()
        with run.worker(log="again"):
            while (now := committed(reader, 0)) is None or now.offset == position.offset:
                time.sleep(0.02)
            return time.monotonic() - began
    finally:
        reader.close()


def measure(
    stage: Stage, records: list[bytes], rate: float, seconds: float, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Percentiles of one setting."""
    run = stage.deployment(**{"decisions.rejected_sample": 1.0, **overrides})
    kafka = run.settings.kafka
    run.publish_target(stage.target)
    run.feed(records[:HEAD])
    seen: list[tuple[int, float]] = []
    stop = threading.Event()
    reader = threading.Thread(target=lambda: seen.extend(decided(run, stop)))
    with run.worker() as worker:
        run.wait_committed(HEAD, 300)
        reader.start()
        began = time.time() * 1000
        cpu = machine.cpu_seconds(worker.pid)
        feed(run, records[HEAD:], rate, seconds)
        run.wait_done([worker])
        cpu = machine.cpu_seconds(worker.pid) - cpu
        time.sleep(1)
        stop.set()
        reader.join()
    restart = first_commit(run, records[:1024])
    stamps = {message.offset: message.timestamp_ms for message in run.read(kafka.input_topic)}
    late = np.array([at - stamps[o] for o, at in seen if stamps[o] >= began + 1000 * FLUSH_SECONDS])
    found = {f"p{q}": float(np.percentile(late, q)) for q in (50, 95, 99)}
    return {
        **found,
        "worst": float(late.max()),
        "pairs": len(late),
        "cores": cpu / seconds,
        "restart": restart,
        **overrides,
    }


def main() -> None:
    """Parse the command line and run both settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    arguments.pairs = 1
    with broker_with(arguments, 1) as stage:
        records = stage.records(HEAD + int(arguments.rate * arguments.seconds))
        found: dict[str, Any] = {
            "command": f"python -m bench.latency {' '.join(sys.argv[1:])}",
            "rate": arguments.rate,
        }
        for name, overrides in (("default", {}), ("low", LOW)):
            found[name] = measure(stage, records, arguments.rate, arguments.seconds, overrides)
            print(name, orjson.dumps(found[name]).decode(), flush=True)
    if arguments.output:
        add(arguments.output, "latency", found)


if __name__ == "__main__":
    main()
