"""How the log is cut up and who reads it changes no decision; and what poison costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.checks import Expected, long_form, report, size
from tests.chaos.fleet import Fleet
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("workers", size([5], [1, 2, 5]))
def test_any_number_of_workers(bootstrap: str, tmp_path: Path, model: Path, workers: int) -> None:
    """One input, one pinned model: the same decisions and ledgers through 1, 2 and 5 workers."""
    run = Deployment(bootstrap, tmp_path, 5, {"kafka.max_poll_records": 500})
    records = pairs(size(10_000, 50_000))
    expected = Expected.of(run, records, model)
    run.feed(records)
    with Fleet(run, "--model", str(model)) as fleet:
        for number in range(workers):
            fleet.start(f"w{number}")
        fleet.wait_done()
        fleet.stop(*fleet.processes)
    expected.check(run, "workers", workers=workers)


@pytest.mark.parametrize("limit", size([7], [1, 7, 512, 4096]))
def test_any_poll_size(bootstrap: str, tmp_path: Path, model: Path, limit: int) -> None:
    """Transactions of 1, 7, 512 and 4,096 records: the same decisions and ledgers."""
    run = Deployment(
        bootstrap, tmp_path, 1, {"kafka.max_poll_records": limit, "kafka.commit_interval_ms": 1_000}
    )
    records = pairs(size(1_500, 12_000))
    expected = Expected.of(run, records, model)
    run.feed(records)
    with Fleet(run, "--model", str(model)) as fleet:
        fleet.start("a")
        fleet.wait_done(900)
        fleet.stop("a")
    expected.check(run, "poll size", limit=limit)


@long_form
def test_what_poison_costs(bootstrap: str, tmp_path: Path, model: Path) -> None:
    """Every record poison, or one in a hundred, is done at 90 % of the speed of clean ones at least."""
    count, rounds = 60_000, 3
    clean = pairs(count)
    inputs: dict[str, list[bytes | dict[str, str]]] = {
        "clean": [*clean],
        "1 % poison": [b"junk" if number % 100 == 0 else record for number, record in enumerate(clean)],
        "all poison": [b"{'src': 'single quotes are no JSON', 'tgt': 'neither here nor there'}"] * count,
    }
    spent: dict[str, list[float]] = {name: [] for name in inputs}
    for _ in range(rounds):
        for name, values in inputs.items():
            overrides = {
                "errors.dead_letter_limit": 1.0,
                "kafka.max_poll_records": 5_000,
                "decisions.rejected_sample": 0.01,
            }
            run = Deployment(bootstrap, tmp_path, 1, overrides)
            run.feed(values)
            with Fleet(run, "--model", str(model)) as fleet:
                fleet.start("a")
                run.wait_committed(1, 300)
                began, first = time.monotonic(), done(fleet)
                fleet.wait_done()
                spent[name].append((time.monotonic() - began) / (count - first))
                fleet.stop("a")
    best = {name: 1 / min(seconds) for name, seconds in spent.items()}
    report("throughput", **{name: f"{rate:,.0f}/s" for name, rate in best.items()})
    assert best["1 % poison"] >= 0.9 * best["clean"]
    assert best["all poison"] >= 0.9 * best["clean"]


def done(fleet: Fleet) -> float:
    """Records committed so far, by the worker's count."""
    return fleet.metric("a", "craft_decisions_total") + fleet.metric("a", "craft_dead_letters_total")
