"""Faults of the client library that would strand a partition or lose a record, each with what we do about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.kafka.transport import KafkaTransport
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


def test_a_partition_that_was_paused_delivers_again(bootstrap: str, tmp_path: Path) -> None:
    """Paused in the midst of what was fetched of it, while another one is read to its end, then resumed: all arrives."""
    run = Deployment(bootstrap, tmp_path, 2)
    run.feed(pairs(4_000))
    group = KafkaTransport(run.settings.kafka).group()
    counts = [0, 0]

    def read(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline, f"stranded after {counts} of 2,000 each"
            for message in group.poll(10, 0.1):
                counts[message.partition] += 1
            for change in group.changes():
                for partition in change.partitions:
                    group.start(partition, 0)

    try:
        read(lambda: sum(counts) > 0)
        first = 0 if counts[0] else 1
        group.pause([first])
        read(lambda: counts[1 - first] == 2_000)
        assert counts[first] < 2_000
        group.resume([first])
        read(lambda: counts == [2_000, 2_000])
    finally:
        group.leave()
