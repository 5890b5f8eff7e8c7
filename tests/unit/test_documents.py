"""The documents: links lead somewhere, each page is in the site's contents, titles are one each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "examples" not in path.parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_and_title(page: Path) -> None:
    """Relative links are files of the repository; a page begins with its one title."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_every_page_is_in_the_contents() -> None:
    """mkdocs.yml names each page once; decisions are listed by the site itself."""
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    pages = [str(path.relative_to(DOCS)) for path in PAGES if not re.match(r"0\d+-", path.name)]
    assert sorted(named) == sorted(pages)


OWN_WORDS = (
    "audit", "cascade", "dead letter", "digest", "discriminant", "dual", "epoch", "gate", "ledger",
    "margin", "match certificate", "pacing", "priming", "quota", "relaxation", "replay", "reservoir",
    "retained snapshot", "segment", "signal", "tombstone",
)  # fmt: skip


def test_own_words_are_in_the_glossary() -> None:
    """What only this project calls so has an entry, in alphabetical order."""
    entries = re.findall(r"^- \*\*(.+?)\*\*:", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert set(OWN_WORDS) <= {word.strip() for entry in entries for word in entry.split(",")}
    assert [entry.lower() for entry in entries] == sorted(entry.lower() for entry in entries)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_words_that_are_gone(page: Path) -> None:
    """Words that nobody understood stand in no document for readers; decisions of their day keep theirs."""
    if page.parent.name != "adr":
        prose = re.sub(r"`[^`]*`", "", page.read_text("utf-8"))
        assert not re.search(r"\b(poison|in (other|any) company|twins?)\b|\b[Rr]ooms\b", prose)
