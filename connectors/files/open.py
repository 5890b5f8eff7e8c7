"""Opening files: compressed or not, `-` for the standard streams; outputs appear only when they are whole."""

from __future__ import annotations

import bz2
import contextlib
import errno
import glob
import gzip
import io
import lzma
import os
import stat
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, Protocol, Self, cast

import zstandard

from connectors.files.blocks import Blocks
from connectors.files.compression import PLAIN, Packing, unpacked
from connectors.files.encoding import as_utf8
from craft_stream.errors import ConfigurationError, DataError, WriteError

STANDARD = "-"
_UNFINISHED = ".partial"
_BLOCK = 1 << 17
_LINKS = 40  # one behind another, as Linux follows


def is_standard_output(path: str | None) -> bool:
    """Whether a path is standard output: `-`, or another name of that pipe or file, such as `/dev/stdout`."""
    if path is None:
        return False
    if path == STANDARD:
        return True
    try:
        status = os.stat(path)
        return not stat.S_ISCHR(status.st_mode) and os.path.samestat(status, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # not there yet, or no real standard output
        return False


def descriptor(path: str) -> int | None:
    """The descriptor of this process that a path stands for; None: it stands for a file.

    That is any name of what standard output is (`/dev/stdout`, or the file it was sent to), and what lies in `/dev/fd`.
    """
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) == os.path.realpath("/dev/fd"):
            return int(name)
        if not os.path.islink(path):
            break
        path = os.path.join(folder, os.readlink(path))
    return sys.stdout.fileno() if is_standard_output(path) else None


def open_input(path: str, packing: Packing = PLAIN) -> io.BufferedReader:
    """Open a file, or standard input for `-`, decompressing what its first bytes say is compressed.

    Reading raises DataError where the compressed data is damaged or ends too early. Standard input stays open when what
    this returns is closed.

    Args:
        path: the file; a pipe is read once, from its beginning to its end.
        packing: what options say of it.

    Raises:
        DataError: the file cannot be opened.
        ConfigurationError: there is no such member.
    """
    try:
        opened: io.RawIOBase = _Standard() if path == STANDARD else io.FileIO(path)
        raw: io.BufferedReader = io.BufferedReader(opened, _BLOCK)
        with closed_on_error(raw):
            return unpacked(path, raw, packing)
    except IsADirectoryError:
        raise DataError(
            f"{path} is a folder: name the files in it, as {os.path.join(path, '*.parquet')}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


class Closing(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Release it."""


class _Standard(Blocks):
    """Standard input, which is not ours to close."""

    def __init__(self) -> None:
        self._file = cast(io.BufferedReader, sys.stdin.buffer)

    def block(self, size: int) -> bytes:
        return self._file.read1(size)


def open_text(path: str, packing: Packing = PLAIN, declared: str | None = None) -> io.BufferedReader:
    """Open a text, as UTF-8 without a byte order mark; `declared`: its encoding, unless a mark tells it."""
    file = open_input(path, packing)
    with closed_on_error(file):
        return as_utf8(file, declared)


@contextlib.contextmanager
def closed_on_error(file: Closing) -> Iterator[None]:
    """Close a file if what is done with it raises."""
    try:
        yield
    except BaseException:
        file.close()
        raise


def remove_unfinished(path: str) -> None:
    """Remove what a process that was killed left of a file that it wrote; nobody may be writing it now."""
    folder, name = os.path.split(os.path.realpath(path))
    for left in glob.glob(f"{glob.escape(os.path.join(folder, f'.{name}.'))}*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            os.unlink(left)


class WholeOrNothing(ABC):
    """What a `with` block closes, or discards when the block raises."""

    @abstractmethod
    def close(self) -> None:
        """Finish; safe to call twice."""

    @abstractmethod
    def discard(self) -> None:
        """Give up what was written; without effect after `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class OutputFile(WholeOrNothing):
    """A file that is written beside its place and moved there when it is closed; `-` is standard output.

    Compressed when the name ends in `.gz`, `.zst`, `.xz`, `.lzma` or `.bz2`. As a context manager it discards what was
    written when the block raises. What exists and is no regular file (a pipe, `/dev/null`) is written directly, and so is
    what a descriptor of this process stands for, from where that stands: `/dev/stdout` behind `>> all.jsonl`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary: str | None = None
        self._finished = False
        try:
            self._raw = self._open(path)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
        self._file: IO[bytes] = self._raw
        if path.endswith(".gz"):
            self._file = cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0))
        elif path.endswith(".zst"):
            self._file = zstandard.ZstdCompressor(write_checksum=True).stream_writer(self._raw, closefd=False)
        elif path.endswith(".xz"):
            self._file = cast(IO[bytes], lzma.LZMAFile(self._raw, "wb"))  # noqa: SIM115
        elif path.endswith(".lzma"):
            self._file = cast(IO[bytes], lzma.LZMAFile(self._raw, "wb", format=lzma.FORMAT_ALONE))  # noqa: SIM115
        elif path.endswith(".bz2"):
            self._file = cast(IO[bytes], bz2.BZ2File(self._raw, "wb"))

    def _open(self, path: str) -> IO[bytes]:
        if path == STANDARD:
            return sys.stdout.buffer
        if path.endswith(os.sep):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if (held := descriptor(path)) is not None:
            os.write(held, b"")  # an error where it is not open, or for reading only
            sys.stdout.flush()
            return open(os.dup(held), "wb", buffering=_BLOCK)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                return open(path, "wb", buffering=_BLOCK)
        self._path = os.path.realpath(path)
        folder, name = os.path.split(self._path)
        handle, self._temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=_UNFINISHED, dir=folder)
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)  # mkstemp's 0600 is for secrets
        return open(handle, "wb", buffering=_BLOCK)

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            WriteError: they cannot be written; the disk is full, perhaps.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Finish, make durable, and move to its place; safe to call twice.

        Raises:
            WriteError: what was written cannot be kept; then nothing is left of it.
        """
        if self._finished:
            return
        try:
            if self._file is not self._raw:
                self._file.close()
            self._raw.flush()
            if self._path != STANDARD:
                if self._temporary:
                    os.fsync(self._raw.fileno())
                self._raw.close()
            if self._temporary:
                os.replace(self._temporary, self._path)
        except OSError as error:
            self.discard()
            raise self._failed(error) from None
        self._finished = True

    def _failed(self, error: OSError) -> WriteError:
        return WriteError(f"cannot write {self._path}: {error.strerror}")

    def discard(self) -> None:
        """Give up what was written; what stood at its place before stays. Without effect after `close`."""
        if self._finished:
            return
        self._finished = True
        if self._path != STANDARD:
            with contextlib.suppress(OSError):  # what is buffered need not be written
                self._raw.close()
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)
