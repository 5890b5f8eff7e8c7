"""Documents as data: the README's commands, and the tables made from the code, which `python -m tests.readme` writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from craft_stream import meanings
from craft_stream.cli.config import markdown

PATH = Path(__file__).parents[1] / "README.md"
REFERENCE = PATH.parent / "docs" / "reference"


def commands(document: Path = PATH) -> list[str]:
    """The fenced `sh` blocks, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _table(head: str, rows: Mapping[str, str]) -> str:
    lines = [f"| `{name}` | {text} |" for name, text in rows.items()]
    return "\n".join([f"| {head} | meaning |", "|---|---|", *lines, ""])


def _parts() -> str:
    lines = [f"| {part.title} | `{name}` | {part.meaning} |" for name, part in meanings.PARTS.items()]
    return "\n".join(["| part | name in JSON | meaning |", "|---|---|---|", *lines, ""])


TABLES: Final[dict[Path, dict[str, Callable[[], str]]]] = {
    REFERENCE / "settings.md": {"settings": markdown},
    REFERENCE / "reasons.md": {
        "reasons": lambda: _table("reason", meanings.REASONS),
        "refusals": lambda: _table("reason", meanings.REFUSALS),
        "parts": _parts,
        "features": lambda: _table("feature", meanings.FEATURES),
        "summary": lambda: _table("figure", meanings.SUMMARY),
    },
}
"""By document, the tables between `<!-- made: NAME -->` and `<!-- end -->`."""


def with_tables(document: Path) -> str:
    """A document with its tables as they should be."""
    text = document.read_text("utf-8")
    for name, table in TABLES[document].items():
        pattern = re.compile(rf"(?<=<!-- made: {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        place = pattern.search(text)
        assert place, f"{document.name} has no place for {name}"
        text = f"{text[: place.start()]}\n{table()}\n{text[place.end() :]}"
    return text


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(with_tables(path), "utf-8")
