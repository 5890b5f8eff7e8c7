"""The settings of a group change while it runs: published, shown, rolled back, audited; on a real broker."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.integration.deployment import Deployment, pairs, pinned_model

pytestmark = pytest.mark.integration

FOLLOWED_SECONDS = 2.5  # every second


def settings_of(run: Deployment) -> list[tuple[int, str]]:
    """Versions of the group's settings, with what each changed."""
    shown = run.command("settings", "ls", "--json")
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    return [(line["version"], "; ".join(line["changes"])) for line in lines]


def test_settings_change_under_a_worker(bootstrap: str, tmp_path: Path) -> None:
    """Rate, memory of duplicates and method change and go back, over a restart with another file; the audit is exact."""
    run = Deployment(bootstrap, tmp_path, 2, {"kafka.max_poll_records": 500})
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    run.feed(pairs(6_000))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
        applied = run.command(
            "settings", "apply", "--set", "budget.rate=0.3", "--set", "selection.seen_pairs=4096"
        )
        assert applied.returncode == 0, applied.stderr
        assert "budget.rate: 0.05 -> 0.3" in applied.stdout
        time.sleep(FOLLOWED_SECONDS)
        run.feed(pairs(6_000, seed=2), start=6_000)
        run.wait_done([worker])
    # Its file says .05 still: the group's version rules, and the log says so.
    with run.worker("--model", str(model), log="second") as worker:
        run.feed(pairs(4_000, seed=3), start=12_000)
        run.wait_done([worker])
        assert run.command("settings", "rollback").returncode == 0
        craft = run.command("settings", "apply", "--set", "selection.method=craft")
        assert craft.returncode == 0, craft.stderr
        time.sleep(FOLLOWED_SECONDS)
        run.feed(pairs(6_000, seed=4), start=16_000)
        run.wait_done([worker])
    assert "settings 2 of group" in run.log("second")
    assert "settings 4 take force" in run.log("second")
    assert [number for number, _ in settings_of(run)] == [1, 2, 3, 4]
    assert settings_of(run)[2][1] == "budget.rate: 0.3 -> 0.05; selection.seen_pairs: 4096 -> 65536"
    assert "rate = 0.3" in run.command("settings", "show", "2").stdout
    assert run.command("settings", "diff", "1", "3").stdout == "nothing is different\n"
    assert "selection.method: craft -> craft-plus" in run.command("settings", "diff").stdout
    run.accounted(22_000)
    for partition in ("0", "1"):
        shown = json.loads(run.command("ledger", "show", partition).stdout)
        assert [change["version"] for change in shown["settings"]] == [1, 2, 4]
        assert all(change["offset"] % 1024 == 0 for change in shown["settings"]), "changed within an epoch"
    decisions = run.decisions().values()
    assert {line["settings_version"] for line in decisions} == {1, 2, 4}
    rates = {
        version: sum(d["outcome"] == "accepted" for d in decisions if d["settings_version"] == version)
        / sum(d["settings_version"] == version for d in decisions)
        for version in (1, 2)
    }
    assert rates[1] < 0.09
    assert rates[2] > 0.1
    audit = run.command("audit", "--model", str(model))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "recomputed 22000 decisions" in audit.stdout
    assert " 0 differ" in audit.stdout
    assert run.command("ledger", "verify").returncode == 0


def test_what_cannot_change_is_refused_before_the_group_is_joined(bootstrap: str, tmp_path: Path) -> None:
    """One line and exit code 2, from `run` and from `settings apply`; nothing is assigned."""
    run = Deployment(bootstrap, tmp_path)
    run.feed(pairs(2_000))
    model = pinned_model(tmp_path, run.settings, pairs(3_000, seed=9))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
    for command in (["run", "--model", str(model)], ["settings", "apply"]):
        refused = run.command(*command, "--set", "record.source_field=text")
        assert refused.returncode == 2, refused.stderr
        last = refused.stderr.strip().splitlines()[-1]
        assert "record.source_field = text (it is src): put it back" in last
        assert "assigned" not in refused.stderr
    assert [number for number, _ in settings_of(run)] == [1]
