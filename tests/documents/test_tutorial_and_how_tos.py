"""The tutorial on files and the how-tos: their commands work, the how-tos' on the data of the tutorial."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from connectors.files import open_sink
from tests.blocks import run

TUTORIAL = "docs/tutorial/files.md"


class Followed(NamedTuple):
    """A tutorial that was followed.

    Attributes:
        folder: in which.
        shown: what its commands printed.
    """

    folder: Path
    shown: str


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The tutorial on files, in an empty folder."""
    folder = tmp_path_factory.mktemp("tutorial")
    return Followed(folder, run(TUTORIAL, folder))


@pytest.fixture(scope="module")
def folder(tutorial: Followed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stream, a target, both as TMX files, and texts of the domain."""
    folder = tmp_path_factory.mktemp("how-tos")
    shutil.copytree(tutorial.folder, folder, dirs_exist_ok=True)
    for name in ("stream", "target"):
        (folder / f"{name}.jsonl").write_bytes((folder / "demo" / f"{name}.jsonl").read_bytes())
    (folder / "corpora").mkdir()
    lines = (folder / "stream.jsonl").read_bytes().splitlines()
    half = len(lines) // 2
    targets = (folder / "target.jsonl").read_bytes().splitlines()
    (folder / "documents.txt").write_text(
        "\n".join(" ".join(orjson.loads(line)["src"].split()) for line in targets), "utf-8"
    )
    for name, part in (
        ("corpora/one.tmx", lines[:half]),
        ("corpora/two.tmx", lines[half:]),
        ("target.tmx", targets),
    ):
        with open_sink(str(folder / name)) as sink:
            sink.write([orjson.dumps(orjson.loads(x) | {"src_lang": "en", "tgt_lang": "fr"}) for x in part])
    return folder


def test_the_tutorial_on_files(tutorial: Followed) -> None:
    """Its commands run one after the other in an empty folder; what they leave is as the text says."""
    stream, selected, best, rejected, decisions = (
        (tutorial.folder / name).read_bytes().splitlines()
        for name in ("demo/stream.jsonl", "selected.jsonl", "best.tsv", "rejected.tsv", "decisions.jsonl")
    )
    assert abs(len(selected) - 0.05 * len(stream)) <= 1
    assert set(selected) <= set(stream)
    assert len(best) == 100
    assert len(rejected) == len(stream) - len(selected)
    assert len(decisions) == len(stream)
    assert all(orjson.loads(line)["reason"] for line in decisions)
    for words in ("the budget was 5%", "nearness to the domain", "misaligned", "Nearest pairs of the target"):
        assert words in tutorial.shown


def test_a_folder_of_tmx(folder: Path) -> None:
    """Both ways select from all files, into TMX and JSON lines."""
    run("docs/how-to/tmx.md", folder)
    assert b"<tu" in (folder / "selected.tmx").read_bytes()
    records = [orjson.loads(line) for line in (folder / "selected.jsonl").read_bytes().splitlines()]
    assert len(records) > 300
    assert all(record["src"] and record["tgt"] for record in records)


def test_why_a_pair_was_refused(folder: Path) -> None:
    """The reason is found in the outputs, and `explain` names the target's own pair."""
    shown = run("docs/how-to/refused.md", folder)
    assert "rejected as in_target" in shown


def test_is_the_target_too_small(folder: Path) -> None:
    """Halves of the target are compared by what they select."""
    shown = run("docs/how-to/target.md", folder)
    both, _, every, *_ = shown.strip().splitlines()[-1].split()
    assert 0 < int(both) < int(every)


def test_the_edge_of_a_budget(folder: Path) -> None:
    """What was scored once is taken from by number and by a threshold."""
    run("docs/how-to/budget.md", folder)
    generous, strict = (
        set((folder / name).read_bytes().splitlines()) for name in ("generous.jsonl", "strict.jsonl")
    )
    assert len(generous) == 2000
    assert 0 < len(strict) < 2000
