"""Workers killed at random points: nothing lost, nothing doubled, every decision as it must be.

CRAFT_TEST_CHAOS_KILLS and CRAFT_TEST_CHAOS_RECORDS make the long form (`make chaos`): 100 and 500,000; the default is CI's.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import broker
from tests.integration.deployment import Deployment, pairs, pinned_model, target_pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("CRAFT_TEST_CHAOS_KILLS", "10"))
RECORDS = int(os.environ.get("CRAFT_TEST_CHAOS_RECORDS", "60000"))
WORKERS = 3
PARTITIONS = 6
# Small transactions, so that a kill finds one open as often as not.
OVERRIDES = {"kafka.max_poll_records": 400, "kafka.commit_interval_ms": 100, "learner.publish_pairs": 10_000}


def plain(run: Deployment) -> dict[str, dict[str, Any]]:
    """Decisions by place, without the topic's name."""
    return {
        identity.partition("/")[2]: {**line, "decision_id": ""} for identity, line in run.decisions().items()
    }


def report(name: str, **facts: object) -> None:
    """One line for docs/reliability.md."""
    if path := os.environ.get("CRAFT_TEST_CHAOS_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{name}: {', '.join(f'{key} {value}' for key, value in facts.items())}\n")


def disturb(
    run: Deployment, records: Sequence[dict[str, str]], arguments: tuple[str, ...], kills: int, seed: int
) -> int:
    """Feed records piece by piece and kill a worker at random within each piece; how many kills hit a live one."""
    rng = random.Random(seed)
    workers = [run.start(*arguments, log=f"w{i}", kafka__instance_id=f"w{i}") for i in range(WORKERS)]
    struck = 0
    try:
        for number in range(kills):
            # the next piece comes while the one before is still at work, and the kill comes into the midst of it
            piece = records[number * len(records) // kills : (number + 1) * len(records) // kills]
            run.feed(piece, start=number * len(records) // kills)
            time.sleep(rng.uniform(0.2, 2.5))
            victim = rng.randrange(WORKERS)
            struck += workers[victim].poll() is None
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = run.start(*arguments, log=f"w{victim}", kafka__instance_id=f"w{victim}")
        run.wait_done(workers, 300)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(30) for worker in workers] == [0] * WORKERS
    finally:
        end(workers)
    return struck


def end(workers: list[subprocess.Popen[bytes]]) -> None:
    """Leave no process behind."""
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def test_kills_with_a_pinned_model(bootstrap: str, tmp_path: Path) -> None:
    """Decisions and final ledgers equal those of an undisturbed run of the same input, id by id."""
    runs = [Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES) for _ in range(2)]
    records = pairs(RECORDS)
    model = pinned_model(tmp_path, runs[0].settings, pairs(5_000, seed=9))
    runs[0].feed(records)
    with runs[0].worker("--model", str(model)) as worker:
        runs[0].wait_done([worker], 300)
    began = time.monotonic()
    struck = disturb(runs[1], records, ("--model", str(model)), KILLS, seed=1)
    seconds = time.monotonic() - began
    runs[1].accounted(RECORDS)
    undisturbed, disturbed = plain(runs[0]), plain(runs[1])
    lost, extra = undisturbed.keys() - disturbed.keys(), disturbed.keys() - undisturbed.keys()
    differ = [place for place in undisturbed if undisturbed[place] != disturbed.get(place)]
    report(
        "kills, pinned model", kills=struck, records=RECORDS, lost=len(lost), doubled=0, seconds=int(seconds)
    )
    assert not lost
    assert not extra
    assert not differ
    digests = [[ledger["digest"] for ledger in run.ledger()] for run in runs]
    assert digests[0] == digests[1]


def test_kills_with_a_live_learner(bootstrap: str, tmp_path: Path) -> None:
    """Versions change while workers die: every record once, and the audit finds every decision as it must be."""
    run = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
    run.publish_target(target_pairs())
    struck = disturb(run, pairs(RECORDS), (), KILLS, seed=2)
    run.accounted(RECORDS)
    audit = run.command("audit", timeout=600)
    report("kills, live learner", kills=struck, records=RECORDS, audit=audit.stdout.strip().splitlines()[-1])
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_stopped_worker_is_fenced(bootstrap: str, tmp_path: Path) -> None:
    """SIGSTOP past the session time-out, its partitions taken over, SIGCONT: its transaction does not count."""
    run = Deployment(bootstrap, tmp_path, 2, OVERRIDES)
    count = max(20_000, RECORDS // 10)
    run.feed(pairs(count))
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    sleeper = run.start("--model", str(model), log="sleeper")
    try:
        run.wait_committed(2_000)
        sleeper.send_signal(signal.SIGSTOP)
        with run.worker("--model", str(model), log="other") as other:
            run.wait_done([other], 120)
            sleeper.send_signal(signal.SIGCONT)
            run.feed(pairs(4_000, seed=5), start=count)
            run.wait_done([other], 120)
            time.sleep(2)
            sleeper.send_signal(signal.SIGTERM)
            assert sleeper.wait(30) == 0
    finally:
        end([sleeper])
    run.accounted(count + 4_000)
    report("stopped worker", records=count + 4_000, lost=0, doubled=0)


@pytest.mark.skipif("CRAFT_TEST_CHAOS_KILLS" not in os.environ, reason="the long form only (make chaos)")
def test_brokers_killed_in_turn(tmp_path: Path) -> None:
    """Each of three brokers is killed and comes back: the worker goes on, nothing is lost or doubled."""
    with broker.cluster(3) as cluster:
        run = Deployment(cluster.bootstrap, tmp_path, 3, OVERRIDES, replication=3)
        model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
        count = 0
        with run.worker("--model", str(model)) as worker:
            for victim in range(3):
                run.feed(pairs(20_000, seed=10 + victim), start=count)
                count += 20_000
                run.wait_committed(count - 18_000)
                cluster.kill(victim)
                began = time.monotonic()
                run.wait_done([worker], 180)
                report("broker killed", broker=victim, seconds=int(time.monotonic() - began))
                cluster.start(victim)
                cluster.wait()
        run.accounted(count)
