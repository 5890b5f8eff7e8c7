"""What every chaos test asks at its end: each record once, each decision and each ledger as without the fault."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from connectors.kafka.clients import consumer
from craft_stream.encoders import load_encoder
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.writing.decisions import decision_lines
from tests.integration.deployment import Deployment

T = TypeVar("T")
LONG = os.environ.get("CRAFT_TEST_CHAOS") == "long"
long_form = pytest.mark.skipif(
    not LONG, reason="the long form only (make chaos): CI has four minutes for all"
)


def size(short: T, long: T) -> T:
    """What CI can pay for, or what `make chaos` does."""
    return long if LONG else short


def report(name: str, **facts: object) -> None:
    """One line for docs/explanation/reliability.md, in the file that CRAFT_TEST_CHAOS_REPORT names."""
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    if path := os.environ.get("CRAFT_TEST_CHAOS_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{name}: {told}\n")


def plain(run: Deployment) -> dict[str, dict[str, Any]]:
    """Decisions by partition and offset, without the topic's name."""
    return {
        identity.partition("/")[2]: {**line, "decision_id": ""} for identity, line in run.decisions().items()
    }


def digests(run: Deployment) -> list[str]:
    """Of all partitions' ledgers as they are on their topic."""
    return [ledger["digest"] for ledger in run.ledger()]


@dataclass(frozen=True)
class Expected:
    """What an undisturbed run decides, and the ledgers that it ends with.

    The engine computes it, partition by partition in one piece; that a worker left in peace writes the same is what
    test_batches and test_kills show.

    Attributes:
        decisions: by partition and offset.
        digests: of the ledgers.
    """

    decisions: dict[str, dict[str, Any]]
    digests: list[str]

    @classmethod
    def of(cls, run: Deployment, records: Sequence[dict[str, str]], model: Path) -> Expected:
        """For records fed to this deployment in turn over its partitions, and a pinned model."""
        parameters = run.settings.parameters().numbered(1)  # as the first worker publishes them
        selector = Selector(parameters, load_encoder())
        pinned = Model.decode(model.read_bytes())
        found, ends = {}, []
        for partition in range(run.partitions):
            mine = records[partition :: run.partitions]
            messages = [
                Message(json.dumps(record).encode(), row, run.settings.kafka.input_topic, partition)
                for row, record in enumerate(mine)
            ]
            chunk, ledger = Chunk.read(messages, run.settings.record), Ledger(parameters)
            decisions = selector.decide(chunk.pairs, ledger, pinned)
            lines = decision_lines(chunk, decisions, np.arange(len(mine)))
            for row, line in enumerate(lines):
                found[f"{partition}/{row}"] = {**json.loads(line), "decision_id": ""}
            ends.append(ledger.digest())
        return cls(found, ends)

    def check(self, run: Deployment, name: str, **facts: object) -> None:
        """Fail unless the deployment's topics say just this; report."""
        run.accounted(len(self.decisions))
        decisions = plain(run)
        lost, extra = self.decisions.keys() - decisions.keys(), decisions.keys() - self.decisions.keys()
        differ = [place for place in self.decisions if self.decisions[place] != decisions.get(place)]
        report(name, records=len(self.decisions), lost=len(lost), doubled=0, differ=len(differ), **facts)
        assert not lost
        assert not extra
        assert not differ
        assert digests(run) == self.digests


def written(run: Deployment, topic: str) -> int:
    """Records on a topic, those of aborted transactions too."""
    found = consumer(run.settings.kafka, isolation_level="read_uncommitted", group_id=None)
    try:
        from kafka import TopicPartition

        places = [TopicPartition(topic, number) for number in sorted(found.partitions_for_topic(topic))]
        ends = found.end_offsets(places)
        found.assign(places)
        found.seek_to_beginning(*places)
        count = 0
        while any(found.position(place) < ends[place] for place in places):
            count += sum(map(len, found.poll(timeout_ms=500, max_records=10_000).values()))
        return count
    finally:
        found.close(autocommit=False)
