"""Brokers that go away and come back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import broker
from tests.chaos.checks import Expected, long_form, report, size
from tests.chaos.conftest import Proxied
from tests.chaos.fleet import Fleet
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(1800)]

OVERRIDES = {"kafka.max_poll_records": 200, "kafka.commit_interval_ms": 100}
AWAY = size(12.0, 70.0)  # both longer than a session's 6 s
RESUME_SECONDS = 60.0


def test_the_single_broker_is_away(proxied: Proxied, tmp_path: Path, model: Path) -> None:
    """Killed under load and started again: the workers go on by themselves within 60 s of its return."""
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(40_000)
    expected = Expected.of(run, records, model)
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        run.feed(records)
        for name in "ab":
            fleet.start(name)
        run.wait_committed(2_000, 300)
        proxied.cluster.kill(0)
        time.sleep(AWAY)
        proxied.cluster.start(0)
        proxied.cluster.wait()
        began = time.monotonic()
        before = decided(fleet)
        while decided(fleet) == before:
            assert time.monotonic() - began < RESUME_SECONDS, "nothing was decided after the broker's return"
            time.sleep(0.2)
        seconds = time.monotonic() - began
        fleet.wait_done()
        fleet.stop("a", "b")
    expected.check(run, "single broker away", away=f"{AWAY:.0f} s", resumed_after=f"{seconds:.1f} s")


@long_form
def test_away_for_too_long(proxied: Proxied, tmp_path: Path, model: Path) -> None:
    """Exit code 75, not before `kafka.unavailable_seconds` have passed; its successor goes on where it was."""
    patience = 30.0
    run = Deployment(
        proxied.cluster.bootstrap, tmp_path, 2, {**OVERRIDES, "kafka.unavailable_seconds": patience}
    )
    records = pairs(30_000)
    expected = Expected.of(run, records, model)
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        run.feed(records)
        fleet.start("a")
        run.wait_committed(2_000, 300)
        proxied.cluster.kill(0)
        began = time.monotonic()
        code = fleet.processes["a"].wait(patience + 30)
        seconds = time.monotonic() - began
        proxied.cluster.start(0)
        proxied.cluster.wait()
        assert code == 75, fleet.run.log("a")
        assert seconds >= patience
        fleet.start("a")
        fleet.wait_done()
        fleet.stop("a")
    expected.check(
        run, "broker away for too long", allowed=f"{patience:.0f} s", exit_75_after=f"{seconds:.1f} s"
    )


@long_form
def test_brokers_killed_in_turn(tmp_path: Path, model: Path) -> None:
    """Each of three brokers is killed and comes back: the worker goes on, nothing is lost or doubled."""
    with broker.cluster(3) as cluster:
        run = Deployment(cluster.bootstrap, tmp_path, 3, OVERRIDES, replication=3)
        records = pairs(60_000, seed=10)
        expected = Expected.of(run, records, model)
        with run.worker("--model", str(model)) as worker:
            for victim in range(3):
                count = 20_000 * victim
                run.feed(records[count : count + 20_000], start=count)
                run.wait_committed(count + 2_000, 300)
                cluster.kill(victim)
                began = time.monotonic()
                run.wait_done([worker], 180)
                report("broker killed", broker=victim, caught_up_after=f"{time.monotonic() - began:.0f} s")
                cluster.start(victim)
                cluster.wait()
        expected.check(run, "each of three brokers killed")


def decided(fleet: Fleet) -> float:
    """Decisions committed, by the workers' own count."""
    return sum(fleet.metric(name, "craft_decisions_total") for name in fleet.processes)
