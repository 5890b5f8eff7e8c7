"""Workers killed or stopped at random points: nothing lost, nothing doubled, every decision as it must be."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.checks import LONG, Expected, report, size
from tests.chaos.fleet import Fleet
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(7200)]

KILLS = size(10, 100)
RECORDS = size(30_000, 500_000)
PARTITIONS = 6
WORKERS = ("w0", "w1", "w2")
# Small transactions, so that a kill finds one open as often as not.
OVERRIDES = {"kafka.max_poll_records": 400, "kafka.commit_interval_ms": 100, "learner.publish_pairs": 10_000}
DONE_SECONDS = size(300.0, 3_000.0)


def disturb(fleet: Fleet, records: Sequence[dict[str, str]], seed: int) -> int:
    """Feed records piece by piece and kill a worker at random within each; how many of the kills hit one at work."""
    rng, struck = random.Random(seed), 0
    for name in WORKERS:
        fleet.start(name)
    for number in range(KILLS):
        # the next piece comes while the one before is still at work, and the kill comes into the midst of it
        start, stop = (edge * len(records) // KILLS for edge in (number, number + 1))
        fleet.run.feed(records[start:stop], start=start)
        if number == 0:
            fleet.run.wait_committed(1, DONE_SECONDS)  # there is a model
        victim = rng.choice(WORKERS)
        struck += fleet.joined(victim, 20.0)  # one that still starts has nothing that could be lost
        time.sleep(rng.uniform(0.1, 1.5))
        fleet.kill(victim)
        fleet.start(victim)
    fleet.wait_done(DONE_SECONDS)
    for name in WORKERS:
        # the others may be done before the one killed last has started: not yet in `run`, it would end with 143
        assert fleet.joined(name), f"{name} has not joined"
    fleet.stop(*WORKERS)
    return struck


def test_kills_with_a_pinned_model(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """Decisions and final ledgers equal those of an undisturbed run of the same input, id by id."""
    run = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
    records = pairs(RECORDS)
    expected = Expected.of(run, records, model)
    if LONG:  # CI's is in tests/integration
        peace = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
        peace.feed(records)
        with peace.worker("--model", str(model)) as worker:
            peace.wait_done([worker], DONE_SECONDS)
        expected.check(peace, "undisturbed")
    began = time.monotonic()
    with Fleet(run, "--model", str(model)) as fleet:
        struck = disturb(fleet, records, seed=1)
    seconds = round(time.monotonic() - began)
    expected.check(run, "SIGKILL, pinned model", kills=struck, seconds=seconds)


def test_kills_with_a_live_learner(bootstrap: str, tmp_path: Path) -> None:
    """Versions change while workers die: every record once, and the audit finds every decision as it must be."""
    run = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
    run.publish_target(target_pairs())
    with Fleet(run) as fleet:
        struck = disturb(fleet, pairs(RECORDS), seed=2)
    run.accounted(RECORDS)
    audit = run.command("audit", timeout=DONE_SECONDS)
    last = audit.stdout.strip().splitlines()[-1]
    report("SIGKILL, live learner", kills=struck, records=RECORDS, lost=0, doubled=0, audit=last)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert f"recomputed {RECORDS} decisions" in audit.stdout


def test_a_stopped_worker_is_fenced(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """SIGSTOP past the session time-out, its partitions taken over, SIGCONT: its transaction does not count."""
    times, piece = size(1, 5), 20_000
    run = Deployment(bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(times * piece)
    expected = Expected.of(run, records, model)
    with Fleet(run, "--model", str(model)) as fleet:
        fleet.start("sleeper")
        fleet.wait_log("sleeper", "assigned")
        for number in range(times):
            cut = number * piece + 16_000
            run.feed(records[number * piece : cut], start=number * piece)
            run.wait_committed(number * piece + 2_000, 300)
            fleet.processes["sleeper"].send_signal(signal.SIGSTOP)
            fleet.start("other")
            fleet.wait_done(120)
            fleet.processes["sleeper"].send_signal(signal.SIGCONT)
            run.feed(records[cut : (number + 1) * piece], start=cut)
            fleet.wait_done(120)
            fleet.stop("other")
        fleet.stop("sleeper")
    expected.check(run, "SIGSTOP, then SIGCONT", times=times)
