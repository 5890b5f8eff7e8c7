"""Opening files: compressed or not, `-` for the standard streams; outputs appear only when they are whole."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import sys
import tempfile
import zlib
from abc import ABC, abstractmethod
from typing import IO, Self, cast

import zstandard

from craft_stream.errors import ConfigurationError, DataError

STANDARD = "-"
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 17
# zstd packs zeros 32,000 : 1, so that this many bytes become 64 MiB at most
_ZSTD_BLOCK = 1 << 11


def open_input(path: str) -> io.BufferedReader:
    """Open a file, or standard input for `-`, decompressing what its first bytes say is gzip or zstd.

    Reading raises DataError where the compressed data is damaged or ends too early.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        raw = sys.stdin.buffer if path == STANDARD else open(path, "rb", buffering=_BLOCK)  # noqa: SIM115
        head = cast(io.BufferedReader, raw).peek(4)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if head.startswith(_GZIP):
        unpacked = cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))
        return io.BufferedReader(_Checked(path, unpacked, raw), _BLOCK)
    if head.startswith(_ZSTD):
        return io.BufferedReader(_Checked(path, _ZstdReader(raw), raw), _BLOCK)
    return cast(io.BufferedReader, raw)


class _ZstdReader(io.RawIOBase):
    """Decompresses zstd frames and notices a last one that is cut off; zstandard's own reader does not."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            block = self._raw.read(_ZSTD_BLOCK)
            if not block:
                if self._begun and not self._frame.eof:
                    raise EOFError("the last zstd frame is cut off")
                return 0
            self._ready = memoryview(self._decompress(block))
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _decompress(self, block: bytes) -> bytes:
        parts = []
        while block:
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            parts.append(self._frame.decompress(block))
            block = self._frame.unused_data if self._frame.eof else b""
        return b"".join(parts)


class _Checked(io.RawIOBase):
    """Turns the errors of a decompressor into ours, and closes the file beneath."""

    def __init__(self, path: str, inner: io.RawIOBase, raw: IO[bytes]) -> None:
        self._path = path
        self._inner = inner
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            return self._inner.readinto(buffer) or 0
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            raise DataError(f"{self._path} is damaged or cut off: {error}") from None

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._raw.close()
        super().close()


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

    Compressed when the name ends in `.gz` or `.zst`. As a context manager it discards what was written when
    the block raises. What exists and is no regular file (a pipe, `/dev/null`) is written directly.
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

    def _open(self, path: str) -> IO[bytes]:
        if path == STANDARD:
            return sys.stdout.buffer
        self._path = os.path.realpath(path)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                return open(self._path, "wb", buffering=_BLOCK)
        folder, name = os.path.split(self._path)
        handle, self._temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=folder)
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)  # mkstemp's 0600 is for secrets
        return open(handle, "wb", buffering=_BLOCK)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)

    def close(self) -> None:
        """Finish, make durable, and move to its place; safe to call twice."""
        if self._finished:
            return
        self._finished = True
        if self._file is not self._raw:
            self._file.close()
        self._raw.flush()
        if self._path == STANDARD:
            return
        if self._temporary:
            os.fsync(self._raw.fileno())
        self._raw.close()
        if self._temporary:
            os.replace(self._temporary, self._path)

    def discard(self) -> None:
        """Give up what was written; what stood at its place before stays. Without effect after `close`."""
        if self._finished:
            return
        self._finished = True
        if self._path != STANDARD:
            self._raw.close()
        if self._temporary:
            os.unlink(self._temporary)
