"""Settings that change while workers die: each record once, and every decision as the audit has it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from craft_stream.cli import app
from tests.chaos.checks import report, size
from tests.chaos.fleet import Fleet
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(7200)]

KILLS = size(5, 25)
CHANGES = size(4, 20)
RECORDS = size(16_000, 100_000)
PARTITIONS = 3
WORKERS = ("w0", "w1", "w2")
OVERRIDES = {"kafka.max_poll_records": 400, "kafka.commit_interval_ms": 100, "learner.publish_pairs": 10_000}
DONE_SECONDS = size(300.0, 3_000.0)
PLAN = (
    ["budget.rate=0.2"], ["selection.gate=2", "selection.quality_weight=2"], ["learner.clusters=16"],
    ["selection.seen_pairs=4096", "budget.rate=0.1"], [], ["selection.method=craft"], ["learner.publish_pairs=20000"],
    ["selection.relaxation=0", "selection.horizon=4096"], ["encoder.options.dimensions=64"], [],
)  # fmt: skip


def change(run: Deployment, number: int) -> None:
    """Apply the next of the plan, or go back where it says nothing."""
    overrides = [part for value in PLAN[number % len(PLAN)] for part in ("--set", value)]
    command = ["settings", "apply", *overrides] if overrides else ["settings", "rollback"]
    done = CliRunner().invoke(app, [*command, "--config", str(run.path)])
    assert done.exit_code == 0, (done.exception, done.output)
    assert "published settings" in done.output


def test_settings_change_under_kills(bootstrap: str, tmp_path: Path) -> None:
    """Over three workers whose files differ, with a live learner: 0 lost, 0 doubled, the audit exact, all changes in force."""
    run = Deployment(bootstrap, tmp_path, PARTITIONS, OVERRIDES)
    run.publish_target(target_pairs())
    rng, struck, changed = random.Random(5), 0, 0
    records = pairs(RECORDS)
    with Fleet(run) as fleet:
        for number, name in enumerate(WORKERS):
            fleet.start(name, budget__rate=0.05 + 0.01 * number)
        for number in range(KILLS):
            start, stop = (edge * RECORDS // KILLS for edge in (number, number + 1))
            run.feed(records[start:stop], start=start)
            if number == 0:
                run.wait_committed(1, DONE_SECONDS)  # there is a model
            victim = rng.choice(WORKERS)
            struck += fleet.joined(victim, 20.0)
            time.sleep(rng.uniform(0.1, 1.0))
            while changed < (number + 1) * CHANGES // KILLS:
                change(run, changed)
                changed += 1
            time.sleep(rng.uniform(0.1, 1.0))
            fleet.kill(victim)
            fleet.start(victim, budget__rate=rng.choice([0.05, 0.3]))
        fleet.wait_done(DONE_SECONDS)
        for name in WORKERS:
            assert fleet.joined(name), f"{name} has not joined"
        fleet.stop(*WORKERS)
    run.accounted(RECORDS)
    audit = run.command("audit", timeout=DONE_SECONDS)
    last = audit.stdout.strip().splitlines()[-1]
    in_force = {line["settings_version"] for line in run.decisions().values()}
    report(
        "settings changed under SIGKILL", kills=struck, changes=changed, versions_that_decided=len(in_force),
        records=RECORDS, lost=0, doubled=0, audit=last,
    )  # fmt: skip
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert f"recomputed {RECORDS} decisions" in audit.stdout
    assert " 0 differ" in audit.stdout
    assert len(in_force) > 1
