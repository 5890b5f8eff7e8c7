"""A stream in the order of a crawl, through files and through a real Kafka: how much orders, partitions and keys cost.

`python -m bench.crawl_job --corpus PATH/en-fr --domain finance --order ids --partitions 1,4 --key source,host` selects from
the stream on files, read once and read again, and on a broker with each number of partitions, keyed by the source side (as
`craft-stream crawl` and `publish` do) or by host. With `--context page+host` the records name a page and a host, by
`bench.orders`. Labels are looked at only afterwards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench.corpus import Corpus
from bench.downstream import figures
from bench.main_job import lines, select, through_kafka
from bench.metrics import quality, twins
from bench.orders import CONTEXTS, ORDERS, contexts
from bench.scenarios import Scenario, scenario
from connectors.kafka.publisher import source_key
from tests.broker import cluster

KEYS = ("source", "host")


class Judge:
    """Knows the labels of the stream."""

    def __init__(self, corpus: Corpus, setting: Scenario, records: Sequence[bytes]) -> None:
        self._corpus, self._setting = corpus, setting
        self._rows = {orjson.loads(record)["id"]: row for row, record in enumerate(records)}

    def judge(self, accepted: Iterable[bytes]) -> dict[str, Any]:
        """Shares of what was accepted, as `bench.metrics` and `bench.downstream` have them."""
        chosen = np.array([self._rows[orjson.loads(value)["id"]] for value in accepted])
        domain, corpus = self._setting.domain, self._corpus
        found = quality(chosen, corpus.labels, domain, self._setting.budget, corpus.clusters(domain))
        found |= twins(chosen, corpus.pairs) | figures(corpus, domain, chosen)
        names = ("selected", "of_budget", "realised", "noise", "dup", "near", "bits")
        return {name: float(f"{found[name]:.4g}") for name in names}


def _with_urls(corpus: Corpus, records: Iterable[bytes], context: str) -> list[bytes]:
    if context in ("none", "neighbours"):
        return list(records)
    page, host = contexts(corpus, context)
    return [
        orjson.dumps({**orjson.loads(record), "url": f"http://{host[row]}.example/{page[row]}"})
        for row, record in enumerate(records)
    ]


def _partition(record: bytes, host: int, key: str, partitions: int) -> int:
    digest = source_key(record, "src") if key == "source" else blake2b(b"%d" % host, digest_size=8).digest()
    return int.from_bytes(digest, "little") % partitions


def main() -> None:
    """Parse the command line and print a line of JSON for each way."""
    parser = argparse.ArgumentParser("python -m bench.crawl_job", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with stream.jsonl.zst and target/")
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--order", default="ids", choices=ORDERS)
    parser.add_argument("--context", default="neighbours", choices=CONTEXTS)
    parser.add_argument(
        "--files", default="1,2", help="passes over a file, comma-separated; nothing for none"
    )
    parser.add_argument(
        "--partitions", default="1,4", help="of the input topic, comma-separated; nothing for none"
    )
    parser.add_argument("--key", default="source", help=f"comma-separated, of {', '.join(KEYS)}")
    arguments = parser.parse_args()
    corpus = Corpus(arguments.corpus.resolve())
    setting = scenario(corpus, "plain", arguments.domain, order=arguments.order)
    plain = lines(corpus.folder / "stream.jsonl.zst")
    judge = Judge(corpus, setting, plain)
    told = _with_urls(corpus, plain, arguments.context)
    records = [told[row] for row in setting.order]
    hosts = contexts(corpus, "host")[1][setting.order].tolist()
    target = lines(corpus.folder / "target" / f"{setting.domain}.jsonl.zst")

    def report(way: str, accepted: Iterable[bytes], seconds: float) -> None:
        row = {
            "way": way,
            "domain": setting.domain,
            "order": arguments.order,
            "context": arguments.context,
            **judge.judge(accepted),
            "pairs_per_second": round(len(records) / seconds),
        }
        print(json.dumps(row), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stream = folder / "stream.jsonl"
        stream.write_bytes(b"\n".join(records) + b"\n")
        for passes in filter(None, arguments.files.split(",")):
            way = {"1": ["--one-pass"], "2": []}[passes]
            seconds = select(corpus.folder, setting.domain, setting.rate, folder, *way, stream=stream)
            report(f"files, {passes}", (folder / "accepted.jsonl").read_bytes().splitlines(), seconds)
        counts = [int(count) for count in filter(None, arguments.partitions.split(","))]
        if not counts:
            return
        with cluster() as broker:
            for count, key in product(counts, arguments.key.split(",")):
                if count == 1 and key != arguments.key.split(",")[0]:
                    continue
                parts: list[list[bytes]] = [[] for _ in range(count)]
                for record, host in zip(records, hosts, strict=True):
                    parts[_partition(record, host, key, count)].append(record)
                run, seconds = through_kafka(
                    broker.bootstrap, folder, parts, target, setting.rate, sample=0.01
                )
                accepted = [message.value or b"" for message in run.read(run.settings.kafka.accepted_topic)]
                report(f"Kafka, {count} by {key}" if count > 1 else "Kafka, 1", accepted, seconds)


if __name__ == "__main__":
    main()
