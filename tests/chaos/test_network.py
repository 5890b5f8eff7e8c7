"""Connections that break and replies that never come: what the broker has done is neither lost nor done again."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.chaos.checks import Expected, long_form, size
from tests.chaos.conftest import Proxied
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Api
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(1800)]

COMMIT = (Api.END_TXN, Api.TXN_OFFSET_COMMIT)
ANY = tuple(Api)
# A transaction every 100 records, so that many commits can go wrong in few seconds.
OVERRIDES = {"kafka.max_poll_records": 100, "kafka.commit_interval_ms": 50}
PIECE = 400


@pytest.mark.parametrize(
    ("apis", "share", "most"),
    [
        ((Api.END_TXN,), 0.4, size(20, 100)),
        pytest.param(COMMIT, 0.4, 100, marks=long_form),
        pytest.param(ANY, 0.05, 100, marks=long_form),
    ],
    ids=["commit", "offsets-and-commit", "any"],
)
def test_replies_are_dropped(
    proxied: Proxied, tmp_path: Path, model: Path, apis: tuple[Api, ...], share: float, most: int
) -> None:
    """The broker commits and the worker is never told, its connection is reset: 0 lost, 0 doubled."""
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(most * 700)
    expected = Expected.of(run, records, model)
    before = dict(proxied.proxy.swallowed)
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        for name in "ab":
            fleet.start(name)
        run.feed(records[:PIECE])
        fleet.wait_done()
        began = time.monotonic()
        proxied.proxy.swallow(apis, share, most)
        run.feed(records[PIECE:], start=PIECE)
        fleet.wait_done(600)
        seconds = time.monotonic() - began
        left = proxied.proxy.left
        proxied.proxy.swallow((), 0.0, 0)
        for name in "ab":
            assert fleet.joined(name), f"{name} has not joined"
        fleet.stop("a", "b")
    swallowed = {Api(api).name: count - before.get(api, 0) for api, count in proxied.proxy.swallowed.items()}
    asked = "+".join(f"{count} {name}" for name, count in swallowed.items() if count)
    expected.check(run, "replies dropped", dropped=most - left, of=asked, seconds=round(seconds))
    assert left == 0, f"only {most - left} replies were dropped"


@long_form  # each costs the client's 30 s
def test_replies_that_stay_away(proxied: Proxied, tmp_path: Path, model: Path) -> None:
    """The commit's reply is swallowed and the connection stays: the client waits in vain, then asks again."""
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 2, OVERRIDES)
    records = pairs(8_000)
    expected = Expected.of(run, records, model)
    most = 5
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        fleet.start("a")
        run.feed(records[:PIECE])
        fleet.wait_done()
        proxied.proxy.swallow((Api.END_TXN,), 0.3, most, silent=True)
        began = time.monotonic()
        run.feed(records[PIECE:], start=PIECE)
        fleet.wait_done(600)
        seconds = time.monotonic() - began
        assert proxied.proxy.left == 0
        fleet.stop("a")
    expected.check(run, "commit's reply swallowed, connection kept", times=most, seconds=round(seconds))


def test_connections_are_cut(proxied: Proxied, tmp_path: Path, model: Path) -> None:
    """All connections reset at random, again and again, also while workers start: none ends, 0 lost, 0 doubled."""
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 2, OVERRIDES)
    cuts = size(10, 60)
    records = pairs(cuts * 800)
    expected = Expected.of(run, records, model)
    rng = random.Random(3)
    before = proxied.proxy.cuts
    with Fleet(run, "--model", str(model), kafka__bootstrap_servers=proxied.workers) as fleet:
        for name in "ab":  # they start amid the cuts
            fleet.start(name)
        for number in range(cuts):
            run.feed(records[number * 800 : (number + 1) * 800], start=number * 800)
            time.sleep(rng.uniform(0.1, 1.0))
            proxied.proxy.cut()
        began = time.monotonic()
        fleet.wait_done()
        seconds = time.monotonic() - began
        for name in "ab":
            assert fleet.joined(name), f"{name} has not joined"
        fleet.stop("a", "b")
    connections = proxied.proxy.cuts - before
    expected.check(
        run, "connections cut", times=cuts, connections=connections, caught_up_after=f"{seconds:.1f} s"
    )
