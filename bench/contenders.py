"""What `craft-stream run` is compared with, each in a process of its own: `python -m bench.contenders consume ...`.

`consume` polls and does nothing. `produce` also forwards every tenth record, bytes and headers unchanged, in transactions
with the offsets: what any exactly-once filter on this client must do at least. `produce-decisions` writes what the worker
writes by default: the same tenth with six headers more, a decision for each of them and for 1 % of the others, and a ledger
record a transaction. All of them read and write with the very options that `connectors.kafka` sets, as many records
a transaction. Prints one line of JSON: pairs, wall and CPU seconds after `--warm` pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from connectors.kafka import clients
from craft_stream.settings import KafkaSettings, Settings

SHARE = 10  # one record in so many is forwarded
SAMPLE = 100  # and of one in so many others the decision is written
DECISION = json.dumps(
    {
        "decision_id": "t0123abcd.input/0/123456",
        "id": "s123456",
        "outcome": "accepted",
        "reason": "accepted",
        "score": 1.2345678,
        "threshold": 1.2345678,
        "cluster": 12,
        "domain": 1.2345678,
        "quality": -0.12345678,
        "dual": 0.1234567,
        "context": 0.1234567,
        "model_version": 3,
        "parameters": "0123456789abcdef",
    }
).encode()
HEADERS = [
    ("craft-decision-id", b"t0123abcd.input/0/123456"),
    ("craft-score", b"1.2345678"),
    ("craft-cluster", b"12"),
    ("craft-reason", b"accepted"),
    ("craft-model-version", b"3"),
    ("craft-params", b"0123456789abcdef"),
]
LEDGER = bytes(8_000)


class Loop:
    """Polls one partition from its start to `pairs` records."""

    def __init__(self, settings: KafkaSettings, pairs: int, warm: int) -> None:
        self.where = TopicPartition(settings.input_topic, 0)
        self.consumer = clients.consumer(settings)
        self.consumer.assign([self.where])
        self.consumer.seek(self.where, 0)
        self._batch = settings.max_poll_records
        self._pairs, self._warm = pairs, warm

    def run(self, handle: Any) -> dict[str, float]:
        """Hand every batch to `handle`; pairs, wall and CPU seconds after the warm-up."""
        done = counted = 0
        wall = cpu = 0.0
        while done < self._pairs:
            records = self.consumer.poll(timeout_ms=500, max_records=self._batch).get(self.where, [])
            if records:
                handle(records)
                done += len(records)
            if not counted and done >= self._warm:
                counted, wall, cpu = done, time.perf_counter(), time.process_time()
        return {
            "pairs": done - counted,
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
        }


class Transactions:
    """Forwards a share of the records in transactions with their offsets."""

    def __init__(self, settings: KafkaSettings, loop: Loop, decisions: bool) -> None:
        self._settings, self._loop, self._decisions = settings, loop, decisions
        self._producer = clients.producer(settings, transactional_id=f"{settings.group_id}-bare")
        self._producer.init_transactions()

    def forward(self, records: list[Any]) -> None:
        """One transaction."""
        producer, settings = self._producer, self._settings
        producer.begin_transaction()
        futures = []
        for record in records:
            if record.offset % SHARE == 0:
                headers = [*record.headers, *HEADERS] if self._decisions else record.headers
                futures.append(
                    producer.send(settings.accepted_topic, record.value, record.key, headers, partition=0)
                )
            if self._decisions and (record.offset % SHARE == 0 or record.offset % SAMPLE == 1):
                futures.append(
                    producer.send(
                        settings.decisions_topic, DECISION, str(record.offset).encode(), partition=0
                    )
                )
        if self._decisions:
            futures.append(producer.send(settings.ledger_topic, LEDGER, b"delta", partition=0))
        producer.flush(60)
        assert all(future.succeeded() for future in futures), "a record was not written"  # noqa: S101
        producer.send_offsets_to_transaction(
            {self._loop.where: OffsetAndMetadata(records[-1].offset + 1, "", -1)}, settings.group_id
        )
        producer.commit_transaction()


def main() -> None:
    """Parse the command line and run one loop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["consume", "produce", "produce-decisions"])
    parser.add_argument("--config", required=True, help="a configuration of craft-stream")
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--warm", type=int, required=True)
    arguments = parser.parse_args()
    settings = Settings.load(arguments.config).kafka
    loop = Loop(settings, arguments.pairs, arguments.warm)
    if arguments.kind == "consume":
        found = loop.run(lambda records: None)
    else:
        found = loop.run(Transactions(settings, loop, arguments.kind == "produce-decisions").forward)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
