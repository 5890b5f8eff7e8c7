"""Which default dependencies have wheels, so that nothing is compiled: by Python and machine. Asks the package index.

python deploy/wheels.py [EXTRA...]      # exit code 1 where one has none
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
GLIBC = range(5, 37)  # 2.5 to 2.36, Debian 12's


def resolve(requirements: list[str], python: str, machine: str) -> str:
    """What pip would install from wheels alone, as "N packages"; or what it says."""
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--report",
            "-",
        ),
        *("--only-binary", ":all:", "--python-version", python, "--implementation", "cp"),
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in reversed(GLIBC)),
        f"--platform=manylinux2014_{machine}",
        *requirements,
    ]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command, "--target", folder], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        return next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr)
    return f"{len(json.loads(done.stdout)['install'])} packages"


def main() -> None:
    """Print a line for each Python and machine."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"]]
    for extra in sys.argv[1:]:
        requirements += project["optional-dependencies"][extra]
    failed = False
    for python in PYTHONS:
        for machine in MACHINES:
            found = resolve(requirements, python, machine)
            failed = failed or found.startswith("ERROR")
            print(f"{python:5} {machine:8} {found}", flush=True)  # noqa: T201
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
