"""A group goes from the release before to this one and back, installed from its commit: each record is decided once."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from craft_stream import __version__
from tests import previous
from tests.integration.deployment import ROOT, Deployment, pairs, pinned_model

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not previous.has_history(), reason=f"this clone lacks {previous.REVISION}"),
]

# A ledger that does not lead to the committed offset may be a commit under way: a worker waits 50 s for that, here 5 s.
OLD = "import craft_stream.worker.restorer as r; r.GRACE_SECONDS = -15.0; from craft_stream.cli import main; main()"


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the release before."""
    return previous.install()


@contextmanager
def old_worker(
    python: Path, run: Deployment, model: Path, log: str, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the release before."""
    with (run.folder / f"{run.name}-{log}.log").open("ab") as file:
        command = [
            str(python),
            "-c",
            OLD,
            "run",
            "--config",
            str(run.path),
            "--model",
            str(model),
            *arguments,
        ]
        process = subprocess.Popen(
            command, cwd=run.folder, stdout=file, stderr=file, env=previous.environment(run.environment())
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_release_before_is_what_runs(python: Path, tmp_path: Path) -> None:
    """Its code, not this one's, from wherever it is called."""
    asked = [str(python), "-c", "import craft_stream; print(craft_stream.__version__, craft_stream.__file__)"]
    told = subprocess.run(
        asked, cwd=tmp_path, env=previous.environment(), capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(f"{previous.VERSION} ")
    assert str(ROOT) not in told


def test_a_group_goes_on_with_this_release_and_back(bootstrap: str, tmp_path: Path, python: Path) -> None:
    """Old; old and new at once; new alone; and old again, which refuses the new ledgers and begins others by `--rebuild`."""
    run = Deployment(bootstrap, tmp_path, 2, {"kafka.max_poll_records": 500})
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    run.feed(pairs(4_000))
    with old_worker(python, run, model, "old") as old:
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
    with old_worker(python, run, model, "refused") as refused:
        assert refused.wait(60) == 1, run.log("refused")
    assert re.search(r"format 8, which a newer release wrote", run.log("refused")), run.log("refused")
    applied = run.command("settings", "apply", "--set", "budget.rate=0.2")
    assert applied.returncode == 0, applied.stderr
    with run.worker("--model", str(model), log="third") as new:
        time.sleep(2.0)
        run.feed(pairs(6_000, seed=3), start=10_000)
        run.wait_done([new])
    run.accounted(16_000)
    versions = {line.get("settings_version", 0) for line in run.decisions().values()}
    assert versions == {0, 1, 2}
    # What the release before has decided without contexts only it can audit; what this one has, from where it began.
    audit = run.command("audit", "--model", str(model))
    assert "recomputed 16000 decisions" in audit.stdout, audit.stdout + audit.stderr
    assert f"decisions of release {previous.VERSION} are not those" in audit.stdout, audit.stdout
    places = re.search(r"`craft-stream audit --from (\S+)`", audit.stdout)
    assert places is not None, audit.stdout
    own = run.command("audit", "--model", str(model), "--from", places[1])
    assert own.returncode == 0, own.stdout + own.stderr
    assert " 0 differ" in own.stdout
    made = sum(line.get("release") == __version__ for line in run.decisions().values())
    compared = re.search(r"compared (\d+): 0 differ", own.stdout)
    assert compared is not None
    assert made - 2 * 500 <= int(compared[1]) <= made, "all but those of each partition's first transaction"
    run.feed(pairs(4_000, seed=4), start=16_000)
    with old_worker(python, run, model, "back", "--rebuild") as old:
        run.wait_done([old])
        old.send_signal(signal.SIGTERM)
        assert old.wait(30) == 0
    assert run.log("back").count("a new ledger is begun") == 2
    run.accounted(20_000)
