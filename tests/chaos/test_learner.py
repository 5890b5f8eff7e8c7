"""The learner dies, stays away, and learns another domain, while selectors are at work."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checks import long_form, report, size
from tests.chaos.fleet import Arrivals, Fleet, Stream
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(7200)]

OVERRIDES = {
    "kafka.max_poll_records": 500,
    "kafka.commit_interval_ms": 200,
    "learner.publish_pairs": 1024,
    "learner.prime_pairs": 2_000,
    "learner.prime_seconds": 2,
    "decisions.rejected_sample": 1.0,
}
IN_FORCE_SECONDS = 60.0
AWAY_SECONDS = float(os.environ.get("CRAFT_TEST_LEARNER_AWAY", "1200"))


def audited(run: Deployment, records: int) -> str:
    """The audit's last line; it must recompute so many decisions and find no difference."""
    audit = run.command("audit", timeout=900)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    last = audit.stdout.strip().splitlines()[-1]
    assert f"recomputed {records} decisions" in last
    return last


def versions(run: Deployment) -> list[dict[str, Any]]:
    """What `craft-stream model ls` knows, oldest first."""
    done = run.command("model", "ls", "--json")
    assert done.returncode == 0, done.stderr
    return sorted(map(json.loads, done.stdout.splitlines()), key=lambda line: int(line["version"]))


def test_the_learner_dies_and_stays_away(bootstrap: str, tmp_path: Path) -> None:
    """Killed again and again, then gone: no selector stops, the metric shows the age, and numbering goes on."""
    # a fifth of the rate in the long form: 300,000 records to generate, decide and audit
    kills, away, rate = size(1, 20), size(4.0, AWAY_SECONDS), size(800.0, 160.0)
    run = Deployment(bootstrap, tmp_path, 2, {**OVERRIDES, "learner.mode": "separate"})
    run.publish_target(target_pairs())
    stream, rng = Stream(run, pairs(int(rate * (kills * 20 + away + 200))), rate), random.Random(6)
    with Fleet(run) as fleet:
        fleet.start("a")
        fleet.start("b")
        fleet.learn()
        stream.start()
        fleet.wait_log("learner", "published model")
        for _ in range(kills):
            time.sleep(rng.uniform(1.0, size(4.0, 12.0)))
            assert fleet.kill("learner"), run.log("learner")
            fleet.learn()
        # until it has published once more than it had when it died last
        fleet.wait_log("learner", "published model", fleet.logged("learner", "published model") + 1)
        fleet.kill("learner")
        time.sleep(3.0)  # the followers look once a second
        published = fleet.metric("a", "craft_model_published_timestamp_seconds")
        before = [fleet.metric(name, "craft_decisions_total") for name in "ab"]
        time.sleep(away)
        after = [fleet.metric(name, "craft_decisions_total") for name in "ab"]
        assert fleet.metric("a", "craft_model_published_timestamp_seconds") == published
        age = time.time() - published
        assert age >= away
        assert all(fleet.processes[name].poll() is None for name in "ab")
        assert sum(after) - sum(before) > 0.5 * away * rate, "the selectors came to a halt"
        known = [line["version"] for line in versions(run)]
        fleet.processes.pop("learner")
        fleet.learn("again")
        fleet.wait_log("again", "published model")
        fed = stream.stop()
        fleet.wait_done()
        assert fleet.stop("a", "b", "again")
    found = [line["version"] for line in versions(run)]
    assert found == list(range(1, len(found) + 1))
    assert found[: len(known)] == known
    assert len(found) > len(known)
    run.accounted(fed)
    report(
        "learner killed, then gone",
        kills=kills,
        gone_for=f"{away:.0f} s",
        age_shown=f"{age:.0f} s",
        versions=len(found),
        lost=0,
        doubled=0,
        audit=audited(run, fed),
    )


@long_form
def test_the_target_is_swapped_while_workers_die(bootstrap: str, tmp_path: Path) -> None:
    """One boundary offset per partition for the swap and one for the roll-back, both in force within 60 s."""
    partitions, rate, times = 3, 900.0, 5
    run = Deployment(bootstrap, tmp_path, partitions, {**OVERRIDES, "learner.publish_pairs": 100_000})
    run.publish_target(target_pairs())
    stream, rng = Stream(run, pairs(int(rate * (times * 130 + 60))), rate), random.Random(7)
    workers = [f"w{number}" for number in range(3)]
    swapped: list[float] = []
    rolled: list[float] = []
    kills = 0
    boundaries: list[int] = []
    with Fleet(run) as fleet, Arrivals(run).running() as arrivals:
        for name in workers:
            fleet.start(name)
        stream.start()
        wait_version(arrivals, partitions, lambda version: version > 0, time.time())
        for number in range(times):
            began, old = time.time(), versions(run)[-1]["version"]
            run.publish_target([{**record, "id": f"o{number}-{record['id']}"} for record in other(number)])
            killed = kill_now_and_then(fleet, workers, rng, 3)
            swapped.append(wait_version(arrivals, partitions, lambda v, old=old: v > old, began))
            kills += killed
            began = time.time()
            newest = versions(run)[-1]["version"]
            assert run.command("model", "rollback").returncode == 0
            kills += kill_now_and_then(fleet, workers, rng, 2)
            rolled.append(wait_version(arrivals, partitions, lambda v, n=newest: v < n, began))
            boundaries.append(newest)
            assert run.command("model", "pin", "0").returncode == 0
        fed = stream.stop()
        fleet.wait_done()
        fleet.stop(*workers)
    run.accounted(fed)
    for partition in range(partitions):
        changes = json.loads(run.command("ledger", "show", str(partition)).stdout)["models"]
        assert all(change["offset"] % 1024 == 0 for change in changes), changes
        assert len({change["offset"] for change in changes}) == len(changes)
        assert {change["version"] for change in changes} >= set(boundaries)
        decided = {
            int(p.partition("/")[2]): v for p, v in arrivals.versions.items() if int(p[0]) == partition
        }
        seen = [0] + [decided[offset] for offset in sorted(decided)]
        observed = [(o, v) for o, (u, v) in enumerate(itertools.pairwise(seen)) if u != v]
        assert observed == [(change["offset"], change["version"]) for change in changes]
    report(
        "target swapped and rolled back under kills",
        times=times,
        kills=kills,
        swap_in_force=f"{max(swapped):.0f} s",
        rollback_in_force=f"{max(rolled):.0f} s",
        lost=0,
        doubled=0,
        audit=audited(run, fed),
    )
    assert max(swapped) < IN_FORCE_SECONDS
    assert max(rolled) < IN_FORCE_SECONDS


def other(number: int) -> list[dict[str, str]]:
    """Pairs of another domain."""
    return pairs(200, seed=80 + number, share=0)


def kill_now_and_then(fleet: Fleet, workers: list[str], rng: random.Random, times: int) -> int:
    """Kill workers at random and start them again; how many kills hit a live one."""
    struck = 0
    for _ in range(times):
        time.sleep(rng.uniform(0.5, 2.5))
        victim = rng.choice(workers)
        struck += fleet.kill(victim)
        fleet.start(victim)
    return struck


def wait_version(arrivals: Arrivals, partitions: int, wanted: Any, began: float) -> float:
    """Seconds until each partition has decided by a version that is `wanted`."""
    deadline = time.time() + 2 * IN_FORCE_SECONDS
    while True:
        latest: dict[int, float] = {}
        for place, version in arrivals.versions.copy().items():
            at = arrivals.at[place]
            if wanted(version) and at > began:
                partition = int(place.partition("/")[0])
                latest[partition] = min(at, latest.get(partition, at))
        if len(latest) == partitions:
            return max(latest.values()) - began
        assert time.time() < deadline, f"in force on partitions {sorted(latest)} only"
        time.sleep(0.5)
