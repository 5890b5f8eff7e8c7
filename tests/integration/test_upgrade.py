"""A group that the release before has begun goes on with this one. CRAFT_TEST_PREVIOUS names a checkout of that."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.deployment import COMMAND, Deployment, pairs, pinned_model

PREVIOUS = os.environ.get("CRAFT_TEST_PREVIOUS")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        PREVIOUS is None, reason="CRAFT_TEST_PREVIOUS names no checkout of the release before"
    ),
]


def old_worker(run: Deployment, model: Path, log: str) -> subprocess.Popen[bytes]:
    """A worker of the release before, from its checkout."""
    environment = {**run.environment(), "PYTHONPATH": str(PREVIOUS)}
    with (run.folder / f"{run.name}-{log}.log").open("ab") as file:
        return subprocess.Popen(
            [*COMMAND, "run", "--config", str(run.path), "--model", str(model)],
            cwd=PREVIOUS,
            stdout=file,
            stderr=file,
            env=environment,
        )


def test_a_group_goes_on_with_this_release(bootstrap: str, tmp_path: Path) -> None:
    """Old, then old and new at once, then new alone: each record decided once; an old one refuses what a new one wrote."""
    run = Deployment(bootstrap, tmp_path, 2, {"kafka.max_poll_records": 500})
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    run.feed(pairs(4_000))
    old = old_worker(run, model, "old")
    try:
        run.wait_done([old])
        with run.worker("--model", str(model), log="new") as new:
            deadline = time.monotonic() + 60
            while "] assigned" not in run.log("new"):
                assert time.monotonic() < deadline, run.log("new")
                time.sleep(0.1)
            run.feed(pairs(6_000, seed=2), start=4_000)
            run.wait_done([new, old])  # a partition each
        old.send_signal(signal.SIGTERM)
        assert old.wait(30) in (0, 1)
        refused = old_worker(run, model, "refused")
        try:
            assert refused.wait(150) == 1, run.log("refused")
        finally:
            refused.kill()
        assert re.search(r"format 7, which a newer release wrote", run.log("refused")), run.log("refused")
    finally:
        old.kill()
    applied = run.command("settings", "apply", "--set", "budget.rate=0.2")
    assert applied.returncode == 0, applied.stderr
    with run.worker("--model", str(model), log="third") as new:
        time.sleep(2.0)
        run.feed(pairs(6_000, seed=3), start=10_000)
        run.wait_done([new])
    run.accounted(16_000)
    versions = {line.get("settings_version", 0) for line in run.decisions().values()}
    assert versions == {0, 1, 2}
    audit = run.command("audit", "--model", str(model))
    assert "recomputed 16000 decisions" in audit.stdout, audit.stdout + audit.stderr
    assert audit.returncode == 0, audit.stdout + audit.stderr
