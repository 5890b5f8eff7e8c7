"""Speed as a ratio of CPU times: a slower or busier machine changes nothing, a cost that doubles does."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import orjson
import pytest

from bench.throughput import Stage, bare, craft
from connectors.kafka.transport import KafkaTransport
from tests.integration.deployment import Deployment, pairs, pinned_model, target_pairs

PAIRS = 150_000
WARM = 60_000
# CPU time of a worker over that of a bare loop that consumes and produces as much, on the same broker: .65 measured beside
# other tests. (Records are short here, and few are accepted.)
MOST = 1.8

pytestmark = pytest.mark.integration


class GeneratedStage(Stage):
    """The tests' generated language in place of a corpus."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        super().__init__(bootstrap, folder, None, PAIRS, 1)
        self.target = target_pairs()

    def records(self, count: int) -> list[bytes]:
        """Generated pairs, each with an id of its own."""
        some, rng = pairs(20_000), random.Random(3)
        return [
            orjson.dumps({**rng.choice(some), "id": f"n{number}", "n": number}) for number in range(count)
        ]


def test_a_worker_costs_little_more_than_a_bare_loop(bootstrap: str, tmp_path: Path) -> None:
    """All that a worker does for a pair costs no more than so many times what consuming and producing it does."""
    stage = GeneratedStage(bootstrap, tmp_path)
    stage.feed()
    # A pinned-down learner: how often it publishes goes by the clock, and so by the machine's load.
    worker = craft(stage, WARM, **{"learner.publish_pairs": 1 << 30, "learner.prime_pairs": 20_000})
    loop = bare(stage, WARM, "produce-decisions")
    ratio = (worker["cpu"] / worker["pairs"]) / (loop["cpu"] / loop["pairs"])
    assert ratio < MOST, f"a worker {worker}, a bare loop {loop}"


def test_sixty_partitions_wait_for_nothing(bootstrap: str, tmp_path: Path) -> None:
    """A worker's 60 new ledgers, then the same again: waits of the client for each of them were 36 s together, and 6 s."""
    run = Deployment(bootstrap, tmp_path, 60)
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    for start, seed in ((0, 1), (1_200, 2)):
        run.feed(pairs(1_200, seed=seed), start=start)
        with run.worker("--model", str(model)) as worker:
            began = time.monotonic()
            run.wait_done([worker])
            seconds = time.monotonic() - began
        assert seconds < 20, f"{seconds:.1f} s from {start} on: 7.4 s and 5.5 s were seen at a load of 10"
    run.accounted(2_400)


def test_a_new_group_of_sixty_partitions_decides_soon(
    bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command to a decision that can be read, priming on 50,000 pairs and the first version of the Model between."""
    run = Deployment(bootstrap, tmp_path, 60, {"learner.prime_pairs": 50_000, "learner.prime_seconds": 30})
    run.publish_target(target_pairs())
    run.feed(pairs(80_000))
    topic = run.settings.kafka.decisions_topic
    reader = KafkaTransport(run.settings.kafka).reader()
    began = time.monotonic()
    process = run.start()
    seconds = list[float]()  # until the first decision, and until the first of each partition
    waiting = set(range(60))
    while waiting:
        for partition, (first, end) in reader.bounds(topic, sorted(waiting)).items():
            # A transaction's end alone, as that of a new ledger, is no decision.
            if end > first + 1 and any(reader.read(topic, partition, first, end)):
                waiting.discard(partition)
                seconds.append(time.monotonic() - began)
        assert process.poll() is None, run.log()
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) == 0, run.log()
    reader.close()
    with capsys.disabled():
        sys.stdout.write(
            f"\na first decision after {seconds[0]:.1f} s, one of each partition after {seconds[-1]:.1f} s\n"
        )
    assert seconds[0] < 30, f"{seconds[0]:.1f} s; 6.0 to 6.7 s were seen on a machine with nothing else to do"
