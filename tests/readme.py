"""Documents as data: the README's commands, and the table of settings, which `python -m tests.readme` writes."""

from __future__ import annotations

import re
from pathlib import Path

from craft_stream.cli.config import markdown

PATH = Path(__file__).parents[1] / "README.md"
SETTINGS = PATH.parent / "docs" / "reference" / "settings.md"
TABLE = re.compile(r"(?<=<!-- settings: craft-stream config table -->\n).*(?=<!-- end -->)", re.DOTALL)


def commands() -> list[str]:
    """The fenced `sh` blocks, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", PATH.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def with_table() -> str:
    """The settings' page with the table as it should be."""
    return TABLE.sub(lambda _: f"\n{markdown()}\n", SETTINGS.read_text("utf-8"))


if __name__ == "__main__":
    SETTINGS.write_text(with_table(), "utf-8")
