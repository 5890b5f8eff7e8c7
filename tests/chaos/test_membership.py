"""Workers that join and leave, and that are told to end, at any moment."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.chaos.checks import Expected, long_form, report, size, written
from tests.chaos.conftest import Proxied
from tests.chaos.fleet import Arrivals, Fleet, Stream, quantiles
from tests.chaos.proxy import Api
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(1800)]

OVERRIDES = {"kafka.max_poll_records": 500, "kafka.commit_interval_ms": 200}
CHANGES = size(6, 20)
SECONDS = size(24.0, 600.0)
RATE = 600.0
DELAY_SECONDS = 10.0


def test_joins_and_leaves(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """A stream that does not stop, workers that come, go and go again while they restore: no record waits for 10 s."""
    run = Deployment(bootstrap, tmp_path, 6, OVERRIDES)
    records = pairs(int(RATE * (SECONDS + 120)))
    stream, rng = Stream(run, records, RATE), random.Random(4)
    joined: list[str] = []
    made = hurried = 0
    # A static member that leaves is expected back, so its partitions wait for its session to end (6 s here).
    with (
        Fleet(run, "--model", str(model), kafka__instance_id=None) as fleet,
        Arrivals(run).running() as arrivals,
    ):
        fleet.start("base")
        fleet.wait_log("base", "assigned")
        stream.start()
        since = time.monotonic()
        while made < CHANGES:
            began = time.monotonic()
            if len(joined) < 2 and (not joined or rng.random() < 0.5):
                name = f"w{made}"
                fleet.start(name)
                fleet.wait_log(name, "assigned")
                if rng.random() < 0.4 and made + 1 < CHANGES:  # at once, while it restores
                    time.sleep(rng.uniform(0.0, 0.1))
                    fleet.stop(name)
                    fleet.processes.pop(name)
                    hurried += 1
                    made += 1
                else:
                    joined.append(name)
            else:
                name = joined.pop(rng.randrange(len(joined)))
                fleet.stop(name)
                fleet.processes.pop(name)
            made += 1
            time.sleep(max(0.0, SECONDS / CHANGES - (time.monotonic() - began)))
        minutes = (time.monotonic() - since) / 60
        fed = stream.stop()
        fleet.wait_done()
        time.sleep(1.0)
        delays = [arrivals.at[place] - sent for place, sent in stream.at.items()]
        first = first_decisions(sorted(fleet.assigned()), arrivals)
        fleet.stop(*fleet.processes)
    Expected.of(run, records[:fed], model).check(
        run,
        "joins and leaves",
        times=made,
        while_restoring=hurried,
        minutes=round(minutes, 1),
        delay=quantiles(delays),
        first_decision_after_assignment=quantiles(first),
    )
    assert len(delays) == fed
    assert max(delays) < DELAY_SECONDS


def first_decisions(assigned: list[tuple[float, int]], arrivals: Arrivals) -> list[float]:
    """Seconds from each assignment to the first decision of that partition that could be seen after it."""
    seen: dict[int, list[float]] = {}
    for place, at in arrivals.at.items():
        seen.setdefault(int(place.partition("/")[0]), []).append(at)
    found = []
    for at, partition in assigned:
        after = [moment - at for moment in seen.get(partition, []) if moment > at]
        if after:
            found.append(min(after))
    return found


def test_told_to_end_under_load(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """SIGTERM at random moments: exit code 0 in 30 s, and not one transaction was thrown away."""
    times = size(2, 20)
    run = Deployment(bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(times * 4_000)
    expected = Expected.of(run, records, model)
    rng, ends = random.Random(5), []
    with Fleet(run, "--model", str(model)) as fleet:
        for number in range(times):
            fleet.start("a")
            run.feed(records[number * 4_000 : (number + 1) * 4_000], start=number * 4_000)
            run.wait_committed(number * 4_000 + 1, 300)
            time.sleep(rng.uniform(0.0, 0.4))
            ends.append(fleet.stop("a"))
        fleet.start("a")
        fleet.wait_log("a", "assigned", times + 1)  # before that a signal ends it as it does any process
        fleet.wait_done()
        ends.append(fleet.stop("a"))
    redone = written(run, run.settings.kafka.decisions_topic) - len(records)
    expected.check(run, "SIGTERM under load", times=times, ended_in=quantiles(ends), redone=redone)
    assert redone == 0


def test_told_to_end_while_restoring(proxied: Proxied, tmp_path: Path, model: Path) -> None:
    """The ledger's records are held back, so the worker is restoring for certain: SIGTERM ends it, exit code 0."""
    times = size(1, 10)
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(8_000)
    expected = Expected.of(run, records, model)
    ends = []
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        run.feed(records[:4_000])
        fleet.start("a")
        fleet.wait_done()
        fleet.stop("a")
        run.feed(records[4_000:], start=4_000)
        for number in range(times):
            before = fleet.logged("a", "assigned")
            # Settings and versions are read before the group is joined: until then nothing is held back.
            with proxied.proxy.hold((Api.JOIN_GROUP,)):
                fleet.start("a")
                while not proxied.proxy.waiting:
                    time.sleep(0.02)
                with proxied.proxy.hold((Api.FETCH,)):
                    fleet.wait_log("a", "assigned", before + 1)
                    while "restoring" not in fleet.ask("a", "/readyz"):
                        time.sleep(0.02)
                    time.sleep(0.1 * number)
                    assert "restoring" in fleet.ask("a", "/readyz")
                    ends.append(fleet.stop("a"))
        fleet.start("a")
        fleet.wait_done()
        fleet.stop("a")
    redone = written(run, run.settings.kafka.decisions_topic) - len(records)
    expected.check(run, "SIGTERM while restoring", times=times, ended_in=quantiles(ends), redone=redone)
    assert redone == 0


@long_form
def test_how_long_an_assignment_takes(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """A worker that comes back to a stream decides again within 2 s of its assignment."""
    run = Deployment(bootstrap, tmp_path, 4, OVERRIDES)
    records = pairs(20_000)
    times = 10
    with Fleet(run, "--model", str(model)) as fleet, Arrivals(run).running() as arrivals:
        stream = Stream(run, records, RATE)
        stream.start()
        for _ in range(times):
            before = fleet.logged("a", "assigned")
            fleet.start("a")
            fleet.wait_log("a", "assigned", before + 1)
            time.sleep(3.0)
            fleet.kill("a")
        fleet.start("a")
        fed = stream.stop()
        fleet.wait_done()
        time.sleep(1.0)
        # all may have been done before it has started: not yet in `run`, it would end with 143
        assert fleet.joined("a")
        first = first_decisions(sorted(fleet.assigned()), arrivals)
        fleet.stop("a")
    run.accounted(fed)
    report("killed and started again", times=times, first_decision_after_assignment=quantiles(first))
