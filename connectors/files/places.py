"""Which files paths stand for, and that nothing that is read is written over."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from urllib.parse import parse_qsl

from connectors.files import ending
from connectors.files.fields import split_options, split_query
from connectors.files.moses import OTHER, sides_of, written_sides
from connectors.files.open import STANDARD
from connectors.files.zstd import dictionaries
from craft_stream.errors import ConfigurationError, DataError


def refuse_overwriting(written: Iterable[str | None], read: Iterable[str | None]) -> None:
    """Refuse outputs that are files which are read, or one another: by any spelling, link or hard link.

    What is no regular file, such as a terminal or `/dev/null`, is never written over.

    Args:
        written: paths of outputs as given, options and all; None: not asked for.
        read: paths of inputs.

    Raises:
        ConfigurationError: naming both.
    """
    inputs = {
        identity: name
        for path in read
        if path
        for name in read_files(path)
        if (identity := _identity(name, sys.stdin))
    }
    outputs: dict[tuple[object, ...], str] = {}
    for path in filter(None, written):
        for name in written_files(path):
            identity = _identity(name, sys.stdout)
            if identity is None:
                continue
            if identity in inputs:
                shown = "standard output" if name == STANDARD else name
                raise ConfigurationError(f"{shown} would be written over {inputs[identity]}, which is read")
            if identity in outputs:
                raise ConfigurationError(f"two outputs are the same file: {outputs[identity]} and {name}")
            outputs[identity] = name


def same_file(path: str, other: str) -> bool:
    """Whether two paths stand for a file that both read, by whatever names."""
    one, two = ({_identity(name, sys.stdin) for name in _sides(name)} - {None} for name in (path, other))
    return not one.isdisjoint(two)


def read_files(path: str) -> list[str]:
    """The files that are read for a path: itself without options, or two files that belong together; and dictionaries."""
    bare, query = split_query(path)
    given = [text for name, text in parse_qsl(query) if name == "dictionary"]
    beside = map(str, dictionaries(bare).values()) if bare.endswith(".zst") and not given else ()
    return [*_sides(path), *given, *beside]


def _sides(path: str) -> list[str]:
    try:
        if ending(path) == "moses" and not split_query(path)[0].endswith(".zip"):
            name, options = split_options(path, (OTHER, "langs"))
            return [name, options[OTHER]] if OTHER in options else [file for file, _ in sides_of(name)]
    except (ConfigurationError, DataError):
        pass  # what it is will be said when it is opened
    return [split_query(path)[0]]


def is_pipe(path: str) -> bool:
    """Whether a path stands for what can be read once only: standard input, a named pipe."""
    return any(
        name == STANDARD or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
        for name in _sides(path)
    )


def written_files(path: str) -> list[str]:
    """The files that are written for a path."""
    return written_sides(path) if ending(path) == "moses" else [split_query(path)[0]]


def _identity(name: str, standard: object) -> tuple[object, ...] | None:
    """What two names of one file have in common; None for what may be read and written at once."""
    try:
        status = os.fstat(standard.fileno()) if name == STANDARD else os.stat(name)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):  # not there yet; or no real standard stream
        return (name,) if name == STANDARD else (os.path.realpath(name),)
    if name == STANDARD and not stat.S_ISREG(status.st_mode):
        return (name, standard is sys.stdin)
    if stat.S_ISCHR(status.st_mode):
        return None
    return status.st_dev, status.st_ino
