"""docs/how-to/other-tools.md: each tool, in an environment of its own, does what the page says.

CRAFT_OTHER_TOOLS names the folder of the environments, one a tool, as `make other-tools` makes them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.blocks import ROOT, run

PAGE = "docs/how-to/other-tools.md"
EXAMPLES = ROOT / "docs" / "examples"
TOOLS = Path(os.environ.get("CRAFT_OTHER_TOOLS", ROOT / ".venv-tools"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stream, target, model and their plain text, as the page begins."""
    folder = tmp_path_factory.mktemp("tools")
    run("docs/tutorial/files.md", folder)
    for name in ("stream", "target"):
        shutil.copy(folder / "demo" / f"{name}.jsonl", folder)
    run(PAGE, folder, section="Work with other tools")
    return folder


def do(section: str, folder: Path) -> None:
    """Run a section with its tool's environment in front."""
    tool = TOOLS / section.lower()
    if not tool.exists():
        pytest.fail(f"{tool} is not there: make other-tools")
    run(PAGE, folder, {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}, section, tool / "bin")


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_opusfilter(folder: Path) -> None:
    """Our filter stands in its pipeline and keeps some pairs, both sides alike."""
    shutil.copy(EXAMPLES / "opusfilter" / "craft_opusfilter.py", folder)
    shutil.copy(EXAMPLES / "opusfilter" / "opusfilter.yaml", folder)
    do("OpusFilter", folder)
    kept = lines(folder / "filtered.en")
    assert 50 < len(kept) == len(lines(folder / "filtered.fr")) < 3000


def test_opuscleaner(folder: Path) -> None:
    """Our definition is a filter of its pipelines; a tenth of the pairs is kept."""
    for name in ("craft.json", "stream.filters.json"):
        shutil.copy(EXAMPLES / "opuscleaner" / name, folder)
    do("OpusCleaner", folder)
    every = len(lines(folder / "stream.en"))
    assert 0.05 * every < len(lines(folder / "cleaned.tsv")) < 0.12 * every


def test_opustrainer(folder: Path) -> None:
    """The trainer is handed the selected pairs twice."""
    do("OpusTrainer", folder)
    assert len(lines(folder / "trained-on.tsv")) >= 2 * len(lines(folder / "selected.tsv"))


def test_datatrove(folder: Path) -> None:
    """Kept and dropped are the whole stream; what is dropped has a reason."""
    shutil.copy(EXAMPLES / "datatrove" / "craft_datatrove.py", folder)
    do("datatrove", folder)
    kept, dropped = (
        [line for path in (folder / "trove" / part).glob("*.jsonl") for line in lines(path)]
        for part in ("kept", "dropped")
    )
    assert len(kept) + len(dropped) == len(lines(folder / "stream.jsonl"))
    assert all("filter_reason" in line for line in dropped)


@pytest.mark.parametrize("section", ["mozilla/translations", "Bitextor"])
def test_layouts(folder: Path, section: str) -> None:
    """Their files go in and come out as they are."""
    run(PAGE, folder, section=section)
    if section == "Bitextor":
        assert all(len(line.split("\t")) >= 5 for line in lines(folder / "selected.tsv")[1:])
    else:
        assert (folder / "corpus.en.zst").stat().st_size > 1000
