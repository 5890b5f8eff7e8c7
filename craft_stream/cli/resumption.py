"""What `select` keeps of its work: a state file beside the output, to go on from where it was interrupted."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from connectors.files.open import STANDARD, descriptor, remove_unfinished
from connectors.files.places import read_files, written_files
from craft_stream import __version__
from craft_stream.cli.tell import tell
from craft_stream.errors import ConfigurationError, WriteError
from craft_stream.journal import NO_JOURNAL, FileJournal, Journal
from craft_stream.settings import Settings

_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def state_of(output: str, rereads: bool) -> str | None:
    """The path of the state file: that of the output's first file and `.state`; None where nothing can be kept.

    Args:
        output: path of the accepted records.
        rereads: the stream can be read again.
    """
    name = written_files(output)[0]
    regular = (os.path.isfile(name) or not os.path.exists(name)) and descriptor(name) is None
    writable = os.access(os.path.dirname(name) or ".", os.W_OK)  # else the output's own error says so
    return f"{name}.state" if rereads and name != STANDARD and regular and writable else None


def subject(
    settings: Settings, inputs: Sequence[str], target: Sequence[str], **others: str | bool | None
) -> dict[str, Any]:
    """What a selection depends on; a state of anything else is of no use to it.

    Args:
        settings: in force.
        inputs, target: paths; of each file its size and when it was changed.
        others: by name.
    """
    return {
        "version": __version__,
        "settings": settings.model_dump(mode="json"),
        "input": {path: stamps(path) for path in inputs},
        "target": {path: stamps(path) for path in target},
        **others,
    }


@contextmanager
def resumable(
    path: str | None, about: dict[str, Any], resume: bool, outputs: Sequence[str | None]
) -> Iterator[Journal]:
    """A journal for what a `with` block computes.

    It stays where the block is interrupted, or where something cannot be written, and how to go on is said on standard error.
    Otherwise it goes when the block ends.

    Args:
        path: from `state_of`.
        about: from `subject`.
        resume: go on from what it holds.
        outputs: paths; what an interrupted selection left of them is removed.

    Raises:
        ConfigurationError: it is of another selection, cannot be written, there can be none to resume, or there is none and
            an output is there: the selection has ended.
    """
    if path is None:
        if resume:
            raise ConfigurationError(
                "--resume needs files: what comes from a pipe, or goes to one, is not kept"
            )
        yield NO_JOURNAL
        return
    if resume and not os.path.lexists(path):
        _refuse_finished(path, outputs)
    journal = FileJournal(path, about, resume)
    if resume and not journal.found:
        tell(f"nothing was interrupted, as there is no {path}: begins anew")
    elif resume and not journal.resumed:
        tell(f"{path} holds nothing to go on from: begins anew")
    elif journal.dropped:
        tell(f"begins anew, without what {path} held of an interrupted selection (--resume goes on from it)")
    if journal.found:
        for name in {name for output in filter(None, outputs) for name in written_files(output)}:
            remove_unfinished(name)
    try:
        yield journal
    except (WriteError, OSError):
        journal.close()
        tell(f"make room; this goes on from there: {_command()}")
        raise
    except (KeyboardInterrupt, SystemExit) as stopped:
        journal.close()
        tell(f"interrupted; this goes on from there: {_command()}")
        raise SystemExit(stopped.code if isinstance(stopped, SystemExit) else _INTERRUPTED) from None
    except BaseException:
        journal.remove()
        raise
    journal.remove()


def _refuse_finished(path: str, outputs: Sequence[str | None]) -> None:
    for name in (name for output in filter(None, outputs) for name in written_files(output)):
        if os.path.isfile(name):
            raise ConfigurationError(
                f"nothing was interrupted: {name} is there, and no {path}; without --resume it is made anew"
            )


def stamps(path: str) -> list[list[int]]:
    """Size in bytes, and when it was changed in nanoseconds, of each file that a path stands for."""
    return [
        [os.stat(name).st_size, os.stat(name).st_mtime_ns]
        for name in read_files(path)
        if os.path.exists(name)
    ]


def _command() -> str:
    """What was typed, and `--resume`."""
    called, *rest = sys.argv
    name = os.path.basename(called)
    found = shutil.which(name)
    # a bare name was looked up by the shell, and need not stand in this folder
    same = found and (called == name or (os.path.exists(called) and os.path.samefile(found, called)))
    short = name if same else called
    return shlex.join([short, *(arg for arg in rest if arg != "--resume"), "--resume"])
