"""Nothing that is read is written over, by whatever name; and what files a path stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connectors.files.places import is_pipe, read_files, refuse_overwriting
from craft_stream.errors import ConfigurationError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in.tsv").write_text("a\tb\n")
    Path("sub").mkdir()
    Path("c.en").write_text("a\n")
    Path("c.fr").write_text("b\n")
    Path("link.tsv").symlink_to("in.tsv")
    os.link("in.tsv", "hard.tsv")
    return tmp_path


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("in.tsv", "in.tsv"),
        ("./sub/../in.tsv", "in.tsv?src=1&tgt=2"),
        ("in.tsv?columns=src,tgt", "in.tsv"),
        ("link.tsv", "in.tsv"),
        ("in.tsv", "link.tsv"),
        ("hard.tsv", "in.tsv"),
        ("c.fr", "c.en-fr"),
        ("out.en?with=c.en", "c.en?with=c.fr"),
        ("out.en?with=c.fr", "c.en-fr"),
        ("in.tsv?format=jsonl", "in.tsv?format=tsv"),
    ],
)
def test_an_output_that_is_read_is_refused(here: Path, written: str, read: str) -> None:
    """By another spelling, with options, by a link of either kind, as one of two files, absolute or not."""
    before = Path("in.tsv").read_bytes()
    for path in (written, str(here / written)):
        with pytest.raises(ConfigurationError, match="which is read"):
            refuse_overwriting([None, path], ["sub/none.jsonl", read, None])
    assert Path("in.tsv").read_bytes() == before


def test_two_outputs_that_are_one_file_are_refused(here: Path) -> None:
    """Also when the file is not there yet."""
    with pytest.raises(ConfigurationError, match="two outputs"):
        refuse_overwriting(["new.jsonl", f"{here}/sub/../new.jsonl"], [])
    with pytest.raises(ConfigurationError, match="two outputs"):
        refuse_overwriting(["-", "-"], [])
    refuse_overwriting(["new.jsonl", "newer.jsonl", "-"], ["-", "in.tsv"])


def test_devices_may_be_read_and_written(here: Path) -> None:
    """`/dev/null` is never written over."""
    refuse_overwriting([os.devnull, os.devnull], [os.devnull])


def test_pipes_are_known(here: Path) -> None:
    """What can be read once only: standard input and named pipes; a link to one is one."""
    os.mkfifo("p.tsv")
    Path("q.tsv").symlink_to("p.tsv")
    assert all(map(is_pipe, ("-", "p.tsv", "q.tsv?src=1&tgt=2", "-?format=tsv")))
    assert not any(map(is_pipe, ("in.tsv", "c.en-fr", "none.tsv")))
    assert read_files("c.en-fr") == ["c.en", "c.fr"]
