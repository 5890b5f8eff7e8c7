"""`select` goes on where it was interrupted: same bytes, whatever was kept by then."""

from __future__ import annotations

import os
import random
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_cli import Run, folder, line, run
from toy import Toy

from craft_stream.cli.progress import Progress
from craft_stream.cli.resumption import _command, state_of
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.journal import NO_JOURNAL, FileJournal

__all__ = ["folder", "run"]
MODES = {"twice": [], "once": ["--one-pass"]}
KEPT = ("accepted.jsonl", "rejected.tsv", "decisions.jsonl", "model")
# So that versions follow one another within a short stream; of short vectors, which are learned and kept sooner.
SMALL = [
    "--set", "learner.prime_pairs=1024", "--set", "learner.publish_pairs=1024",
    "--set", "encoder.options.dimensions=32",
]  # fmt: skip


def command(folder: Path, into: Path, *more: str) -> list[str]:
    options = ["--output", "--rejected", "--decisions", "--save-model"]
    named = [str(part) for pair in zip(options, KEPT, strict=True) for part in (pair[0], into / pair[1])]
    stream, target = str(folder / "stream.jsonl"), str(folder / "target.jsonl")
    return ["select", "--input", stream, "--target", target, "--budget-rate", "0.1", *SMALL, *named, *more]


def contents(into: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in into.iterdir()}


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> list[str]:
    return MODES[request.param]


@pytest.fixture(scope="module")
def kept() -> dict[tuple[str, ...], tuple[dict[str, bytes], bytes]]:
    return {}


@pytest.fixture
def whole(
    run: Run,
    folder: Path,
    mode: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    kept: dict[tuple[str, ...], tuple[dict[str, bytes], bytes]],
) -> tuple[dict[str, bytes], bytes]:
    """What an undisturbed selection writes, and its state just before that was taken away."""
    if tuple(mode) not in kept:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileJournal, "remove", FileJournal.close)
            into = tmp_path_factory.mktemp("whole")
            code, _, err = run(*command(folder, into, *mode))
            assert code == 0, err
            written = contents(into)
            kept[tuple(mode)] = written, written.pop("accepted.jsonl.state")
    return kept[tuple(mode)]


@pytest.mark.parametrize("share", [0, 0.002, 0.35, 0.85, 1])
def test_a_state_cut_anywhere_gives_the_same_bytes(
    run: Run,
    folder: Path,
    mode: list[str],
    tmp_path: Path,
    whole: tuple[dict[str, bytes], bytes],
    share: float,
) -> None:
    """As a process that was killed leaves it; with other threads than before."""
    written, state = whole
    (tmp_path / "accepted.jsonl.state").write_bytes(state[: round(share * len(state))])
    (tmp_path / ".decisions.jsonl.x1y2z3.partial").write_bytes(b"what a killed process left")
    code, _, err = run(*command(folder, tmp_path, *mode, "--resume", "--jobs", "3"))
    assert code == 0, err
    if share in (0, 1):
        assert ("holds nothing to go on from" in err) == (share == 0)
    assert contents(tmp_path) == written


def test_signals_say_what_to_type(
    run: Run,
    folder: Path,
    mode: list[str],
    tmp_path: Path,
    whole: tuple[dict[str, bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Interrupted, and the next time ended, it leaves the state alone; what it says to type ends with the same bytes."""
    asked: Iterator[int] = iter(range(1 << 20))

    def shown(*_: object) -> None:
        if next(asked) == 2:
            os.kill(os.getpid(), number)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where tests run in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    typed = command(folder, tmp_path, *mode)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "stage", shown)
        patch.setattr(Progress, "show", shown)
        for number in (signal.SIGINT, signal.SIGTERM):
            asked = iter(range(1 << 20))
            code, _, err = run(*typed)
            assert code == 128 + number
            assert [*contents(tmp_path)] == ["accepted.jsonl.state"]
            typed = shlex.split(err.rpartition("goes on from there: ")[2])[1:]
            assert typed[-1] == "--resume"
            assert typed.count("--resume") == 1
    assert run(*typed)[0] == 0
    assert contents(tmp_path) == whole[0]


def test_a_command_called_by_its_bare_name_is_told_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a caller's first argument is a name that stands in no folder, what to type is still said."""
    (tmp_path / "craft-stream").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for called, shown in (
        ("craft-stream", "craft-stream"),
        (str(tmp_path / "craft-stream"), "craft-stream"),
        ("/nowhere/craft-stream", "/nowhere/craft-stream"),
    ):
        monkeypatch.setattr("sys.argv", [called, "select", "--resume"])
        assert _command() == f"{shown} select --resume"


def test_what_has_changed_is_named(run: Run, folder: Path, tmp_path: Path) -> None:
    """Other settings, or a stream that was written to: the state is refused, and stays; without --resume it goes."""
    own = tmp_path / "in"
    own.mkdir()
    for name in ("stream.jsonl", "target.jsonl"):
        (own / name).write_bytes((folder / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileJournal, "remove", FileJournal.close)
        assert run(*command(own, tmp_path))[0] == 0
    state = tmp_path / "accepted.jsonl.state"
    code, _, err = run(*command(own, tmp_path, "--resume", "--set", "selection.gate=4"))
    assert code == 2
    assert "settings.selection.gate was" in err
    with open(own / "stream.jsonl", "ab") as file:
        file.write(line("new", *Toy().pair(random.Random(1), True)))
    code, _, err = run(*command(own, tmp_path, "--resume"))
    assert code == 2
    assert "stream.jsonl was" in err
    assert state.exists()
    code, _, err = run(*command(own, tmp_path))
    assert code == 0
    assert "begins anew" in err
    assert not state.exists()


def test_a_state_of_other_runs_is_not_gone_on_from(
    run: Run,
    folder: Path,
    tmp_path: Path,
    whole: tuple[dict[str, bytes], bytes],
    mode: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept is of so many records at a time; another release may read others."""
    (tmp_path / "accepted.jsonl.state").write_bytes(whole[1])
    monkeypatch.setattr("craft_stream.cli.select._RUN_RECORDS", 200)
    code, _, err = run(*command(folder, tmp_path, *mode, "--resume"))
    assert code == 2, err
    assert "runs" in err
    assert not (tmp_path / "accepted.jsonl").exists()


def test_a_file_that_changes_while_it_is_read_is_told(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it has as many records as before: what was scored would not be what is written."""
    stream = tmp_path / "stream.jsonl"
    stream.write_bytes((folder / "stream.jsonl").read_bytes())
    lines = stream.read_bytes().splitlines(keepends=True)

    def shown(_: Progress, stage: str, *rest: object) -> None:
        if stage == "scored" and lines:
            stream.write_bytes(b"".join(reversed(lines)))
            lines.clear()

    monkeypatch.setattr(Progress, "stage", shown)
    words = command(folder, tmp_path)
    words[words.index("--input") + 1] = str(stream)
    code, _, err = run(*words)
    assert code != 0
    assert "was written to while it was read" in err
    assert not (tmp_path / "accepted.jsonl").exists()


def test_what_has_ended_is_not_resumed(run: Run, folder: Path, tmp_path: Path) -> None:
    """Without state and outputs it begins; with outputs and no state nothing was interrupted, and they stay as they are."""
    code, _, err = run(*command(folder, tmp_path, "--resume"))
    assert code == 0
    assert "nothing was interrupted" in err
    written = contents(tmp_path)
    code, _, err = run(*command(folder, tmp_path, "--resume", "--set", "selection.gate=4"))
    assert code == 2
    assert "nothing was interrupted" in err
    assert "without --resume" in err
    assert contents(tmp_path) == written


def test_pipes_cannot_be_resumed(run: Run, folder: Path, tmp_path: Path) -> None:
    """Neither a stream nor an output that is one; and a file of another kind is not written over."""
    data = (folder / "stream.jsonl").read_bytes()
    for stream, output in (("-", tmp_path / "a.jsonl"), (folder / "stream.jsonl", "-")):
        code, _, err = run(
            "select", "--input", stream, "--target", folder / "target.jsonl", "--output", output, "--resume",
            stdin=data,
        )  # fmt: skip
        assert code == 2
        assert "--resume needs files" in err
    (tmp_path / "accepted.jsonl.state").write_text("a list of states, of someone's own")
    code, _, err = run(*command(folder, tmp_path))
    assert code == 2
    assert "no state of a selection" in err
    assert (tmp_path / "accepted.jsonl.state").read_text() == "a list of states, of someone's own"


ABOUT = {"input": "a", "settings": {"rate": 0.1}}


def noted(path: Path, blocks: int) -> bytes:
    journal = FileJournal(str(path), ABOUT, resume=False)
    for number in range(blocks):
        assert journal.recall("scores", number) is None
        journal.record("scores", number, {"values": np.arange(number)}, {"text": "é"})
    journal.close()
    return path.read_bytes()


def gone_on_from(path: Path) -> None:
    """Go on from a file, checking what it holds: five blocks are there in the end."""
    journal = FileJournal(str(path), ABOUT, resume=True)
    for number in range(5):
        block = journal.recall("scores", number)
        if block is None:
            journal.record("scores", number, {"values": np.arange(number)}, {"text": "é"})
        else:
            assert block.header["text"] == "é"
            assert block.arrays["values"].tolist() == [*range(number)]
    journal.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_whole_blocks_count_and_are_gone_on_from(tmp_path: Path, damaged: bool) -> None:
    """Cut or damaged at any byte: the blocks before are recalled, those behind are noted again, and the file is as it was."""
    path = tmp_path / "state"
    written = noted(path, 5)
    for cut in range(len(written) + (not damaged)):
        path.write_bytes(
            written[:cut] + bytes([written[cut] ^ 0xFF]) + written[cut + 1 :] if damaged else written[:cut]
        )
        try:
            gone_on_from(path)
        except ConfigurationError:  # what stands at its beginning is no longer ours
            assert cut < 12
        else:
            assert path.read_bytes() == written, cut


def test_a_journal_is_of_one_at_a_time_and_of_one_thing(tmp_path: Path) -> None:
    """A second process is refused, and so is a journal that goes on with something else."""
    path = tmp_path / "state"
    noted(path, 2)
    journal = FileJournal(str(path), ABOUT, resume=True)
    assert journal.resumed
    with pytest.raises(ConfigurationError, match="in use"):
        FileJournal(str(path), ABOUT, resume=True)
    with pytest.raises(IntegrityError, match="goes on with scores at 0 where scores at 7 is due"):
        journal.recall("scores", 7)
    journal.remove()
    assert not path.exists()
    assert NO_JOURNAL.recall("scores", 0) is None


def test_nothing_is_kept_beside_a_descriptor(tmp_path: Path) -> None:
    """What the shell has opened is no file of ours to go on with; the file's own name is, and one behind a link."""
    (tmp_path / "out.jsonl").touch()
    (tmp_path / "link").symlink_to("out.jsonl")
    with (tmp_path / "out.jsonl").open("ab") as opened:
        assert state_of(f"/dev/fd/{opened.fileno()}", True) is None
    assert state_of(str(tmp_path / "out.jsonl"), True) == f"{tmp_path / 'out.jsonl'}.state"
    assert state_of(str(tmp_path / "link"), True) == f"{tmp_path / 'link'}.state"
