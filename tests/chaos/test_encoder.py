"""An encoder that hangs for longer than the group waits for a poll."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.checks import long_form, report
from tests.chaos.fleet import Fleet
from tests.integration.deployment import ROOT, Deployment, pairs, target_pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(900)]

POLL_MS = 10_000  # the least that may be set


class Installed(Deployment):
    """A deployment whose processes find one more distribution on their path, with an encoder in it."""

    def environment(self, **settings: object) -> dict[str, str]:
        """As the parent's, and that path."""
        found = super().environment(**settings)
        return {**found, "PYTHONPATH": f"{self.folder / 'site'}:{ROOT}"}


def install(folder: Path) -> None:
    """What pip would leave there of a package with an encoder."""
    about = folder / "site" / "stalling-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stalling\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[craft_stream.encoders]\nstalling = tests.chaos.stalling:Stalling\n"
    )


@long_form
def test_an_encoder_stalls(bootstrap: str, tmp_path: Path) -> None:
    """Twice the poll interval without an answer: both workers keep their partitions, nothing is decided twice."""
    times = 3
    install(tmp_path)
    trigger = tmp_path / "stall"
    overrides = {
        "kafka.max_poll_interval_ms": POLL_MS,
        "kafka.max_poll_records": 500,
        "learner.prime_seconds": 2,
        "encoder.kind": "stalling",
    }
    run = Installed(bootstrap, tmp_path, 2, overrides)
    options = f'\n[encoder.options]\ntrigger = "{trigger}"\nseconds = {2 * POLL_MS / 1000}\n'
    run.path.write_text(run.path.read_text() + options)
    run.publish_target(target_pairs())
    count = 6_000
    run.feed(pairs(count))
    with Fleet(run) as fleet:
        fleet.start("a")
        fleet.start("b")
        fleet.wait_done()
        time.sleep(2.0)
        before = rebalances(fleet)
        took = []
        for number in range(times):
            trigger.touch()
            began = time.monotonic()
            run.feed(pairs(2_000, seed=20 + number), start=count)
            count += 2_000
            fleet.wait_done()
            took.append(time.monotonic() - began)
            assert not trigger.exists()
        changes = rebalances(fleet) - before
        fleet.stop("a", "b")
    run.accounted(count)
    report(
        "encoder stalls", times=times, stall=f"{2 * POLL_MS // 1000} s", rebalances=changes, lost=0, doubled=0
    )
    assert changes == 0
    assert max(took) > 1.5 * POLL_MS / 1000, f"no batch met the stall: {took}"


def rebalances(fleet: Fleet) -> int:
    """Changes of assignment that the workers have counted and logged."""
    counted = sum(fleet.metric(name, "craft_rebalances_total") for name in fleet.processes)
    return int(counted) + sum(fleet.logged(name, "] lost") for name in fleet.processes)
