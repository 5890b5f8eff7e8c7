"""The tutorial on files: what it tells the reader to type works, and shows what it says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.blocks import run


def test_the_tutorial_on_files(tmp_path: Path) -> None:
    """Its commands run one after the other in an empty folder; what they leave is as the text says."""
    shown = run("docs/tutorial/files.md", tmp_path)
    stream = (tmp_path / "demo" / "stream.jsonl").read_bytes().splitlines()
    selected = (tmp_path / "selected.jsonl").read_bytes().splitlines()
    assert abs(len(selected) - 0.05 * len(stream)) <= 1
    assert set(selected) <= set(stream)
    assert len((tmp_path / "best.tsv").read_bytes().splitlines()) == 100
    assert len((tmp_path / "rejected.tsv").read_bytes().splitlines()) == len(stream) - len(selected)
    decided = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_bytes().splitlines()]
    assert len(decided) == len(stream)
    for words in ("the budget was 5%", "nearness to the domain", "misaligned", "Nearest pairs of the target"):
        assert words in shown
