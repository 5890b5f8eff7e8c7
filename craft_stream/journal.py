"""Journals: what was computed of a stream, block by block, so that whoever was interrupted need not compute it again.

Who works through a stream in a fixed order asks the journal first (`recall`), and notes what it does not hold (`record`).
Blocks are asked for in the order in which they were noted; behind the last one all is computed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from craft_stream import codec
from craft_stream.errors import ConfigurationError, IntegrityError, WriteError

MAGIC = b"CRAFTJNL"
_LENGTH = 4  # bytes before each block that say how long it is


class Block(NamedTuple):
    """What was noted.

    Attributes:
        header: JSON values.
        arrays: by name.
    """

    header: dict[str, Any]
    arrays: codec.Arrays


class Journal(Protocol):
    """Remembers what was computed."""

    def recall(self, stage: str, start: int) -> Block | None:
        """What was noted next; None behind the last block.

        Args:
            stage: name of what would be computed now.
            start: position in the stream that it would be computed at.

        Raises:
            IntegrityError: the next block is of something else.
        """

    def record(
        self, stage: str, start: int, arrays: codec.Arrays, header: Mapping[str, Any] | None = None
    ) -> None:
        """Note what was computed; without effect on what `recall` returns."""


class NoJournal:
    """Remembers nothing."""

    def recall(self, stage: str, start: int) -> Block | None:
        """Nothing."""

    def record(
        self, stage: str, start: int, arrays: codec.Arrays, header: Mapping[str, Any] | None = None
    ) -> None:
        """Note nothing."""


NO_JOURNAL = NoJournal()


class FileJournal:
    """A journal in a file. A block that was not written to its end, as the process was killed, does not count.

    Args:
        path: where it is, or shall be.
        subject: JSON values that say what is computed: a journal of another subject is refused.
        resume: go on from the blocks that the file holds; False: begin anew.

    Attributes:
        found: whether the file was there, as an interrupted process leaves it.
        resumed: whether there was a block to go on from.
        dropped: whether there was one that was not asked for.

    Raises:
        ConfigurationError: the file is something else, in use, or of another subject (named), or it cannot be written.
    """

    def __init__(self, path: str, subject: Mapping[str, Any], resume: bool) -> None:
        self._path, self.found = path, os.path.lexists(path)
        try:
            self._file = open(path, "r+b" if self.found else "x+b")  # noqa: SIM115  # until `close`
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
        try:
            self._begin(json.loads(json.dumps(subject)), resume)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, subject: dict[str, Any], resume: bool) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"{self._path} is in use: another selection writes there") from None
        known = self._next()
        if known is None and (rest := os.fstat(self._file.fileno()).st_size):
            self._file.seek(_LENGTH)
            if rest >= _LENGTH + len(MAGIC) and self._file.read(len(MAGIC)) != MAGIC:
                raise ConfigurationError(f"{self._path} is no state of a selection: move it elsewhere")
        if known and resume and known.header != subject:
            raise ConfigurationError(
                f"{self._path} is of another selection ({', '.join(_differences(known.header, subject))}): "
                "begin anew without --resume"
            )
        start = self._file.tell()
        self.resumed = self.dropped = known is not None and self._next() is not None
        self._ended = not (self.resumed and resume)
        if self._ended:
            self.resumed = False
            self._file.seek(0)
            self._file.truncate()
            self._write(subject, {})
        else:
            self.dropped = False
            self._file.seek(start)

    def recall(self, stage: str, start: int) -> Block | None:
        """See `Journal.recall`."""
        if self._ended:
            return None
        block = self._next()
        if block is None:
            self._ended = True
            self._file.truncate()
        elif (block.header["stage"], block.header["start"]) != (stage, start):
            raise IntegrityError(
                f"{self._path} goes on with {block.header['stage']} at {block.header['start']} where {stage} at {start} is "
                "due: begin anew without --resume"
            )
        return block

    def record(
        self, stage: str, start: int, arrays: codec.Arrays, header: Mapping[str, Any] | None = None
    ) -> None:
        """See `Journal.record`.

        Raises:
            WriteError: it cannot be written; the disk is full, perhaps.
        """
        self._write({**(header or {}), "stage": stage, "start": start}, arrays)

    def _next(self) -> Block | None:
        """The block at the file's place; None, and the place stays, where no whole one is."""
        start = self._file.tell()
        size = int.from_bytes(self._file.read(_LENGTH), "little")
        data = self._file.read(size)
        with contextlib.suppress(IntegrityError):
            if len(data) == size:  # with a damaged length the last block would count, but none behind it
                return Block(*codec.decode(MAGIC, data))
        self._file.seek(start)
        return None

    def _write(self, header: Mapping[str, Any], arrays: codec.Arrays) -> None:
        data = codec.encode(MAGIC, header, arrays, 1)
        try:
            self._file.write(len(data).to_bytes(_LENGTH, "little") + data)
            self._file.flush()
        except OSError as error:
            raise WriteError(f"cannot write {self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Leave it, to go on from."""
        with contextlib.suppress(OSError):  # what is buffered does not count
            self._file.close()

    def remove(self) -> None:
        """All was computed: take the file away."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self.close()


def _differences(one: dict[str, Any], other: dict[str, Any], name: str = "") -> list[str]:
    """Names of the values that differ, dotted, with what they were."""
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        before, now = one.get(key), other.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{name}{key}.")
        elif before != now:
            found.append(f"{name}{key} was {str(before)[:80]}")
    return found
