"""The main job on real input: a labelled stream through files and through a real broker, and both compared.

`python -m bench.main_job --corpus PATH/en-fr --domain finance` selects from the stream (1) on files with a live learner,
(2) on files with that learner's last version pinned, (3) on a real Apache Kafka, one partition, with the same version
pinned, and (4) on Kafka with a live learner. It prints accepted, good, noise and pairs a second of each, and whether (2)
and (3) decided alike, id by id. The labels are looked at only afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zstandard

from tests.broker import cluster
from tests.integration.deployment import COMMAND, ROOT, Deployment

# Large transactions and few commits, as `run` has them by default; every decision is written, to compare them.
DEFAULTS = {
    "kafka.commit_interval_ms": 1000,
    "kafka.max_poll_records": 10_000,
    "learner.prime_pairs": 50_000,
    "learner.prime_seconds": 30.0,
}
SECONDS = 900.0


def lines(path: Path) -> list[bytes]:
    """Lines of a zstd file."""
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()


def digest(decisions: Iterable[dict[str, Any]]) -> str:
    """16 hexadecimal digits over all decisions by id, without where they were read."""
    sha = hashlib.sha256()
    for line in sorted(decisions, key=lambda line: str(line["id"])):
        sha.update(json.dumps({**line, "decision_id": ""}, sort_keys=True).encode())
    return sha.hexdigest()[:16]


class Judge:
    """Knows the labels of the stream."""

    def __init__(self, records: Iterable[bytes], domain: str) -> None:
        self._domain = domain
        self._labels = {r["id"]: (r["domain"], r["noise"]) for r in map(json.loads, records)}

    def judge(self, accepted: Iterable[bytes]) -> dict[str, Any]:
        """Accepted, share in the domain and clean, share of noise (a repeated record is neither)."""
        found = [self._labels[json.loads(value)["id"]] for value in accepted]
        clean = [domain for domain, noise in found if noise in (None, "duplicate")]
        return {
            "accepted": len(found),
            "good": round(sum(domain == self._domain for domain in clean) / len(found), 4),
            "noise": round(1 - len(clean) / len(found), 4),
        }


def select(
    corpus: Path, domain: str, rate: float, folder: Path, *arguments: str, stream: Path | None = None
) -> float:
    """Run `craft-stream select` over the corpus's stream or another; seconds."""
    began = time.perf_counter()
    command = [*COMMAND, "select", "--target", str(corpus / "target" / f"{domain}.jsonl.zst")]
    command += ["--input", str(stream or corpus / "stream.jsonl.zst")]
    command += ["--output", str(folder / "accepted.jsonl")]
    subprocess.run(
        [*command, "--budget-rate", str(rate), *arguments], cwd=ROOT, check=True, capture_output=True
    )
    return time.perf_counter() - began


def through_kafka(
    bootstrap: str,
    folder: Path,
    partitions: Sequence[list[bytes]],
    target: list[bytes],
    rate: float,
    *arguments: str,
    sample: float,
) -> tuple[Deployment, float]:
    """Run `craft-stream run` until every record is committed; the deployment and the seconds, start-up included.

    `partitions` are records by partition.
    """
    overrides = {**DEFAULTS, "budget.rate": rate, "decisions.rejected_sample": sample}
    run = Deployment(bootstrap, folder, len(partitions), overrides)
    run.publish_target(map(json.loads, target))
    for partition, records in enumerate(partitions):
        run.feed(records, partition=partition)
    began = time.perf_counter()
    with run.worker(*arguments) as worker:
        run.wait_done([worker], seconds=SECONDS)
        seconds = time.perf_counter() - began
    return run, seconds


def main() -> None:
    """Parse the command line and print a line of JSON for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder with stream.jsonl.zst and target/")
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--rate", type=float, default=0.0093)
    arguments = parser.parse_args()
    corpus, domain, rate = arguments.corpus.resolve(), arguments.domain, arguments.rate
    records, target = lines(corpus / "stream.jsonl.zst"), lines(corpus / "target" / f"{domain}.jsonl.zst")
    judge = Judge(records, domain)

    def report(way: str, accepted: Iterable[bytes], seconds: float, **more: Any) -> None:
        row = {"way": way, **judge.judge(accepted), "pairs_per_second": round(len(records) / seconds), **more}
        print(json.dumps(row), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, decided = folder / "model", folder / "decisions.jsonl"
        seconds = select(corpus, domain, rate, folder, "--save-model", str(model))
        report("files, live", (folder / "accepted.jsonl").read_bytes().splitlines(), seconds)
        seconds = select(corpus, domain, rate, folder, "--model", str(model), "--decisions", str(decided))
        by_file = digest(map(json.loads, decided.read_bytes().splitlines()))
        report(
            "files, pinned", (folder / "accepted.jsonl").read_bytes().splitlines(), seconds, digest=by_file
        )
        with cluster() as broker:
            run, seconds = through_kafka(
                broker.bootstrap, folder, [records], target, rate, "--model", str(model), sample=1.0
            )
            by_run = digest(run.decisions().values())
            accepted = [message.value or b"" for message in run.read(run.settings.kafka.accepted_topic)]
            report("Kafka, pinned", accepted, seconds, digest=by_run, equal=by_run == by_file)
            run, seconds = through_kafka(broker.bootstrap, folder, [records], target, rate, sample=0.01)
            accepted = [message.value or b"" for message in run.read(run.settings.kafka.accepted_topic)]
            report("Kafka, live", accepted, seconds)
    sys.exit(by_run != by_file)


if __name__ == "__main__":
    main()
