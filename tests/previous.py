"""The release before this one, installed from its commit in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from tests.broker import cache

VERSION, REVISION = "0.1.0", "02cdc57"
_ROOT = Path(__file__).parents[1]


def has_history() -> bool:
    """Whether this clone holds that commit; a shallow one does not."""
    asked = subprocess.run(
        ["git", "cat-file", "-e", f"{REVISION}^{{commit}}"], cwd=_ROOT, capture_output=True, check=False
    )
    return asked.returncode == 0


def install() -> Path:
    """Its interpreter: some ten seconds, and a minute for its kernels, the first time; kept in the user's cache folder."""
    folder = cache().parent / f"release-{VERSION}-{REVISION}-{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    python, done = folder / "environment" / "bin" / "python", folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _install(folder, python)
            done.touch()
    return python


def _install(folder: Path, python: Path) -> None:
    source = folder / "source"
    packed = subprocess.run(["git", "archive", REVISION], cwd=_ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(source, filter="data")
    for command in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(folder / "environment")],
        # NumPy 2.5 is newer than that release, which reads no Model with it.
        ["pip", "install", "--quiet", "--python", str(python), str(source), "numpy<2.5"],
    ):
        subprocess.run([sys.executable, "-m", "uv", *command], check=True)
    subprocess.run([str(python.parent / "craft-stream"), "warm-up"], env=environment(), check=True)


def environment(settings: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which its code is found, not this one's."""
    return {name: value for name, value in settings.items() if name != "PYTHONPATH"}
