"""Scores beside text: `select --scores`, `--texts`, `score`, `take`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from test_cli import Run, folder, run
from typer.testing import CliRunner

from craft_stream.cli import app
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.settings import RecordSettings
from craft_stream.writing.scores import scored_records

__all__ = ["folder", "run"]  # fixtures

PIN = ("--set", "budget.count=100")


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(row) for row in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def scored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version, `select`'s accepted pairs by it, and the whole stream scored by it."""
    made, stream = tmp_path_factory.mktemp("scored"), folder / "stream.jsonl"
    model = ("--model", made / "model")
    for arguments in (
        ("select", "--input", stream, "--output", made / "first.jsonl", *PIN,
         "--target", folder / "target.jsonl", "--save-model", made / "model"),
        ("select", "--input", stream, "--output", made / "selected.jsonl", *PIN, "--scores", *model),
        ("score", stream, "--output", made / "scored.jsonl", *model),
    ):  # fmt: skip
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
    return made


def test_score_and_take_give_what_select_accepts(run: Run, folder: Path, scored: Path) -> None:
    """The same pairs with the same scores; every pair has one, and what is no pair is left out and told."""
    everything = read(scored / "scored.jsonl")
    assert len(everything) > 1_150
    assert all(np.isfinite([row["score"], row["domain"], row["quality"]]).all() for row in everything)
    taking = ("take", scored / "scored.jsonl", "--model", scored / "model", "--top", 100, "--json")
    code, out, err = run(*taking, "--output", scored / "taken.jsonl", "--rejected", scored / "rest.tsv")
    assert code == 0, err
    told = json.loads(out)
    assert (told["accepted"], told["missing"]) == (100, 0)
    taken, selected = read(scored / "taken.jsonl"), read(scored / "selected.jsonl")
    assert {row["id"] for row in taken} == {row["id"] for row in selected}
    by_id = {row["id"]: row["score"] for row in selected}
    assert all(row["score"] == pytest.approx(by_id[row["id"]], abs=1e-5) for row in taken)
    assert told["threshold"] == pytest.approx(min(by_id.values()), abs=1e-5)
    rest = (scored / "rest.tsv").read_bytes().splitlines()
    assert len(rest) == len(everything) - 100


def test_a_pipe_by_any_name_holds_records_alone(tmp_path: Path) -> None:
    """What is said of a run goes to standard error, where the records go to standard output."""
    (tmp_path / "s.jsonl").write_text('{"src": "a b", "tgt": "c d", "score": 1}\n')
    code = (
        "import sys\n"
        "from craft_stream.cli import main\n"
        "for output in ('/dev/stdout', '/dev/fd/1', '-'):\n"
        "    sys.argv = ['craft-stream', 'take', 's.jsonl', '--top', '1', '--output', output]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == 3 * '{"src": "a b", "tgt": "c d", "score": 1}\n'
    assert done.stderr.count("taken") == 3


def test_a_file_behind_standard_output_keeps_what_it_held(tmp_path: Path) -> None:
    """`>> all.jsonl` adds, and in one redirection of several commands each writes behind the one before."""
    record = '{"src": "a b", "tgt": "c d", "score": 1}\n'
    (tmp_path / "s.jsonl").write_text(record)
    (tmp_path / "all.jsonl").write_text("before\n")
    craft = f"{shlex.quote(sys.executable)} -c 'from craft_stream.cli import main; main()'"
    take = f"{craft} take s.jsonl --top 1 --output /dev/stdout"
    shell = f"{take} >> all.jsonl; {{ {take}; echo behind; }} > f"
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (tmp_path / "all.jsonl").read_text() == f"before\n{record}"
    assert (tmp_path / "f").read_text() == f"{record}behind\n"
    assert done.stderr.count("taken") == 2
    assert sorted(os.listdir(tmp_path)) == ["all.jsonl", "f", "s.jsonl"]


def test_a_threshold_takes_all_that_reach_it_once(run: Run, scored: Path) -> None:
    """No pair below, none that something speaks against, no pair twice though the file is given twice."""
    everything = read(scored / "scored.jsonl")
    able = sorted(row["score"] for row in everything if row["reason"] == "accepted")
    bar = able[-80]
    files = (scored / "scored.jsonl", scored / "scored.jsonl")
    code, _, err = run("take", *files, "--threshold", bar, "--output", scored / "taken.jsonl")
    assert code == 0, err
    taken = read(scored / "taken.jsonl")
    assert 60 < len(taken) <= 80
    assert all(row["score"] >= bar and row["reason"] == "accepted" for row in taken)
    assert len({row["id"] for row in taken}) == len(taken)


def test_other_scores_and_formats_are_taken_from(run: Run, tmp_path: Path) -> None:
    """A number in a column of TSV, by its name; what has none is not taken; too few are told."""
    rows = [f"a word number {k}\tun mot {k}\t{k / 10 if k else ''}" for k in range(20)]
    (tmp_path / "in.tsv").write_text("src\ttgt\tbicleaner\n" + "\n".join(rows) + "\n", "utf-8")
    taking = ("take", tmp_path / "in.tsv", "--by", "bicleaner", "--set", "selection.near_duplicate=1.1")
    code, out, err = run(*taking, "--top", 3, "--output", tmp_path / "out.jsonl")
    assert code == 0, err
    assert [row["bicleaner"] for row in read(tmp_path / "out.jsonl")] == ["1.7", "1.8", "1.9"]
    assert "down to a score of 1.7" in out
    code, out, err = run(*taking, "--top", 30, "--output", tmp_path / "out.jsonl")
    assert len(read(tmp_path / "out.jsonl")) == 19
    assert "11 pairs fewer" in err


def test_what_cannot_be_taken_from_is_said(run: Run, folder: Path, scored: Path) -> None:
    """No measure, no scores, a pipe, a reason that is none: in words, and nothing is written."""
    out = scored / "none.jsonl"
    for arguments, said in (
        ([scored / "scored.jsonl"], "give --top"),
        ([folder / "stream.jsonl", "--top", 3], 'has a number "score"'),
        (["-", "--top", 3], "can be read once only"),
    ):
        code, _, err = run("take", *arguments, "--output", out)
        assert (code > 0, said in err) == (True, True), err
    for reason, shown in ((b'"bored"', "'bored'"), (b"[1]", "[1]")):
        (scored / "odd.jsonl").write_bytes(
            b'{"src": "a b", "tgt": "c d", "score": 1, "reason": %b}\n' % reason
        )
        code, _, err = run("take", scored / "odd.jsonl", "--top", 3, "--output", out)
        assert (code, f"{shown}, which is none of accepted" in err) == (1, True)
    assert not out.exists()


def test_a_pipe_is_scored_without_contexts(run: Run, folder: Path, scored: Path) -> None:
    """As a file is with both weights at 0, and that is said."""
    names = ("--model", scored / "model", "--output")
    stream = (folder / "stream.jsonl").read_bytes()
    code, _, err = run("score", "-", *names, scored / "pipe.jsonl", stdin=stream)
    assert code == 0
    assert "pages and hosts are left out" in err
    weights = ("--set", "selection.page_weight=0", "--set", "selection.host_weight=0")
    assert run("score", folder / "stream.jsonl", *names, scored / "file.jsonl", *weights)[0] == 0
    assert (scored / "pipe.jsonl").read_bytes() == (scored / "file.jsonl").read_bytes()


def test_accepted_records_say_what_settings_name(run: Run, folder: Path, tmp_path: Path) -> None:
    """Two fields, behind the record's own, whose bytes stay; decisions hold both texts where asked to."""
    code, _, err = run(
        "select", "--target", folder / "target.jsonl", "--input", folder / "stream.jsonl",
        "--output", tmp_path / "out.jsonl", "--decisions", tmp_path / "decisions.jsonl", "--scores", "--texts",
        "--set", "record.score_fields=quality,reason",
    )  # fmt: skip
    assert code == 0, err
    rows = (tmp_path / "out.jsonl").read_bytes().splitlines()
    given = set((folder / "stream.jsonl").read_bytes().splitlines())
    for row in rows:
        own, _, added = row.partition(b',"quality":')
        assert own + b"}" in given
        assert orjson.loads(b'{"quality":' + added).keys() == {"quality", "reason"}
    decided = read(tmp_path / "decisions.jsonl")
    assert all(row["src"] and row["tgt"] and row["reason"] for row in decided)
    assert sum(row["outcome"] == "accepted" for row in decided) == len(rows) > 0


def test_a_field_that_is_there_already_is_kept() -> None:
    """Under its name and `_`, however often that is taken; spaces at a record's end are no obstacle."""
    values = [b'{"src":"a","tgt":"b","score":1,"score_":2}', b'{"src":"a","tgt":"b"} ']
    chunk = Chunk.read([Message(value, k) for k, value in enumerate(values)], RecordSettings(), 0)
    single = np.array([1.5, np.inf], np.float32)
    decisions = Decisions.of(
        np.arange(2),
        reason=np.array([Reason.ACCEPTED, Reason.COPY], np.uint8),
        score=single,
        threshold=single,
        cluster=np.array([3, -1], np.int16),
        domain=single,
        quality=single,
        dual=single,
        context=single,
        model_version=1,
    )
    first, second = scored_records(chunk, decisions, np.arange(2), ("score", "cluster", "reason"))
    assert orjson.loads(first) == {
        "src": "a", "tgt": "b", "score_": 2, "score__": 1, "score": 1.5, "cluster": 3, "reason": "accepted",
    }  # fmt: skip
    assert second == b'{"src":"a","tgt":"b","score":null,"cluster":null,"reason":"copy"}'
