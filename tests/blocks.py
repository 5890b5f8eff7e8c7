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


def blocks(document: str, section: str | None = None) -> list[str]:
    """Of a document, by its path in the repository; of one section, that is of the text under its heading alone."""
    text = (ROOT / document).read_text("utf-8")
    if section is not None:
        text = re.split(rf"^#+ {re.escape(section)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
        text = re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return BLOCK.findall(text)


def run(
    document: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    section: str | None = None,
    path: Path | None = None,
) -> str:
    """Run the blocks of a document in a folder, in one shell that ends at the first command that fails.

    Args:
        document: its path in the repository.
        folder: where.
        environment: variables beside those of this process.
        section: only the blocks under this heading.
        path: a folder of programs before all others.

    Returns:
        What they print on standard output.
    """
    own = Path(sys.executable).parent
    places = ":".join(map(str, filter(None, (path, own, os.environ["PATH"]))))
    script = "\n".join(["set -eux", *blocks(document, section)])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": places, "COLUMNS": "120"} | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{document}:\n{done.stderr[-3000:]}"
    return done.stdout
