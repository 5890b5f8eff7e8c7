"""The table of errors, and that no error reaches a user as a traceback."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

import pytest

from craft_stream import cli, errors
from craft_stream.errors import CraftError

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def kinds(kind: type[CraftError] = CraftError) -> list[type[CraftError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


def test_every_error_stands_in_the_table_with_its_code() -> None:
    """docs/reference/errors.md has each class of the tree and the code that it ends with, and no other."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", TABLE.read_text("utf-8"), re.MULTILINE)
    own = [kind for kind in kinds() if kind.__module__ == errors.__name__]
    assert {(kind.__name__, kind.exit_code) for kind in own} == {(name, int(code)) for code, name in rows}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 1, "/x/y: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "cannot write: No space left on device"),
        (
            ZeroDivisionError("division\nby zero"),
            70,
            "a defect of craft-stream (ZeroDivisionError: division by zero)",
        ),
        (errors.AccessError("no"), 77, "no"),
    ],
)
def test_whatever_goes_wrong_is_one_line(
    error: Exception,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Errors of ours, of the system and defects end with their code and a line; CRAFT_TRACE=1 shows a defect's trace."""

    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(sys, "argv", ["craft-stream"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    told = capsys.readouterr().err
    assert told.startswith("craft-stream: ")
    assert said in told
    assert told.count("\n") == 1
    if code == 70:
        monkeypatch.setenv(cli.TRACE, "1")
        with pytest.raises(ZeroDivisionError):
            cli.main()


def test_client_errors_that_nobody_put_into_words_are_the_brokers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the client library ends with 75 and names `doctor`."""
    from kafka.errors import KafkaTimeoutError

    def broken() -> None:
        raise KafkaTimeoutError("late")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 75
    assert "craft-stream doctor" in capsys.readouterr().err
