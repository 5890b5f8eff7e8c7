"""The fenced `sh` blocks of a document, run one after the other as a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: str) -> list[str]:
    """Of a document, by its path in the repository."""
    return BLOCK.findall((ROOT / document).read_text("utf-8"))


def run(document: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run all blocks of a document in a folder, in one shell that ends at the first command that fails.

    Returns:
        What they print on standard output.
    """
    own = Path(sys.executable).parent
    script = "\n".join(["set -eux", *blocks(document)])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{own}:{os.environ['PATH']}", "COLUMNS": "120"} | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{document}:\n{done.stderr[-3000:]}"
    return done.stdout
