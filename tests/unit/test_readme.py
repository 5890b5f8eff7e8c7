"""The README: its commands are those that CI runs, its links lead somewhere; the table of settings is theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from craft_stream.cli import COMMANDS
from tests import readme

ROOT = readme.PATH.parent


def test_ci_runs_the_first_two_commands() -> None:
    """`.ci/run` executes the first two sh blocks as they stand in the README, and no copy of them."""
    script = (ROOT / ".ci/run").read_text()
    assert re.findall(r"^readme (\d)$", script, re.MULTILINE) == ["1", "2"]
    extract = re.search(r"^block\(\) \{\n(.*?)^\}$", script, re.DOTALL | re.MULTILINE)
    assert extract
    for number, expected in enumerate(readme.commands()[:2], 1):
        code = f"block() {{\n{extract[1]}}}\nblock {number}"
        shown = subprocess.run(
            ["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert shown == expected


def test_the_first_command_is_the_demo_and_the_second_the_tests() -> None:
    """A newcomer meets the main job first and the tests second."""
    first, second = readme.commands()[:2]
    assert "craft-stream demo" in first
    assert "-m pytest" in second


# `make docs` writes these anew; here only the headings of commands are held.
COMMAND_LINE, METRICS = (readme.REFERENCE / name for name in ("command-line.md", "metrics.md"))


def test_every_command_has_its_section() -> None:
    """The page of the command line has a heading for each command."""
    assert re.findall(r"^## (.+)$", COMMAND_LINE.read_text("utf-8"), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("document", set(readme.TABLES) - {COMMAND_LINE, METRICS}, ids=lambda path: path.name)
def test_tables_made_from_the_code(document: Path) -> None:
    """Settings, reasons, parts and features are what the code says (`make reference` writes them)."""
    assert readme.with_tables(document) == document.read_text("utf-8")


def test_the_first_page_is_short_and_shows_the_report() -> None:
    """Fewer than 150 lines, a picture of the report among them, and no table of settings."""
    text = readme.PATH.read_text("utf-8")
    assert text.count("\n") < 150
    assert "](docs/pictures/report.png)" in text
    assert "| setting |" not in text


def test_commands_exist() -> None:
    """Every `craft-stream NAME` in the README is a command."""
    named = set(re.findall(r"craft-stream ([a-z]+)", readme.PATH.read_text("utf-8")))
    there = {path.stem for path in (ROOT / "craft_stream/cli").glob("*.py")}
    assert named <= set(COMMANDS) & there


def test_links_lead_somewhere() -> None:
    """Every relative link is a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", readme.PATH.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def test_versions_agree() -> None:
    """The package, its metadata and how to cite it name one version."""
    named = {
        re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)[1]  # type: ignore[index]
        for name, pattern in (
            ("craft_stream/__init__.py", r'^__version__ = "(.+)"$'),
            ("pyproject.toml", r'^version = "(.+)"$'),
            ("CITATION.cff", r"^version: (.+)$"),
        )
    }
    assert len(named) == 1


def test_extras_are_told_as_a_clone_installs_them() -> None:
    """No index has this project yet: what is typed works where the README's commands do."""
    code = (
        "import sys\n"
        "from craft_stream.cli import main\n"
        "for package, *arguments in (\n"
        "    ('pyarrow', 'select', '--target', 'x.parquet', '--input', 'x', '--output', 'o'),\n"
        "    ('fastwarc', 'crawl', '--warc', 'x', '--langs', 'en,fr', '--output', 'o'),\n"
        "):\n"
        "    sys.modules[package] = None\n"
        "    sys.argv = ['craft-stream', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as end: print(end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests"
    )
    assert done.stdout == "2\n2\n", done.stderr
    told = re.findall(r"pip install '\.\[(.+?)\]' in a clone of craft_stream", done.stderr)
    assert told == ["parquet", "crawl"]
