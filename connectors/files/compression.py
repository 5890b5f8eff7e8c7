"""What packs bytes: gzip, zstd, xz, bzip2 by their first bytes, and a member of a zip archive; all read as streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import IO, NamedTuple, cast

import zstandard

from connectors.files.blocks import Blocks
from connectors.files.zstd import HEADER, MAGIC, Frame, ZstdFrames
from craft_stream.errors import ConfigurationError, DataError

ENDINGS = (".gz", ".zst", ".xz", ".bz2", ".lzma")
# how often files were packed at most: what unpacks to itself would never end
_LAYERS = 4
_BLOCK = 1 << 17
# zstd packs zeros 32,000 : 1, so that this many bytes become 64 MiB at most
_ZSTD_BLOCK = 1 << 11
_SKIPPABLE = tuple(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))
ZSTD = (MAGIC, *_SKIPPABLE)
# what readers of packed files and archives raise where one is damaged
DAMAGE = (
    EOFError, OSError, ValueError, RuntimeError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    zstandard.ZstdError,
)  # fmt: skip
# what is not read, by the ending of its name: how it begins, and what unpacks it
_UNREAD = {
    "7z": (b"7z\xbc\xaf\x27\x1c", "7z e -so FILE"),
    "lz": (b"LZIP", "lzip -dc FILE"),
    "lz4": (b"\x04\x22\x4d\x18", "lz4 -dc FILE"),
    "rar": (b"Rar!\x1a\x07", "unrar p -inul FILE"),
    "sz": (b"\xff\x06\0\0sN", "snzip -dc FILE"),
    "tar": (b"", "tar -xOf FILE MEMBER"),
    "tgz": (b"", "tar -xOf FILE MEMBER"),
    "z": (b"\x1f\x9d", "gzip -dc FILE"),
    "zip": (b"", "unzip FILE"),  # within another compression
}
_POINTER = b"version https://git-lfs.github.com/"
# of an archive that holds one corpus: what stands beside it
_BESIDE = frozenset({"readme", "license", "licence", "copying", "info", "changelog"})


class Packing(NamedTuple):
    """What options say of how a file is packed.

    Attributes:
        member: of a zip archive; None: the only one.
        dictionary: the file of the dictionary that zstd was used with; None: that beside the file, if one is needed.
    """

    member: str | None = None
    dictionary: str | None = None


PLAIN = Packing()


def unpacked(
    path: str, raw: io.BufferedReader, packing: Packing = PLAIN, layers: int = _LAYERS
) -> io.BufferedReader:
    """A file's bytes, decompressed as long as their first bytes say that they are compressed.

    Reading raises DataError where the compressed data is damaged or ends too early.

    Args:
        path: for messages.
        raw: the file.
        packing: what is known of it.
        layers: how often it may have been packed.
    """
    raw, head = first_bytes(raw, len(_POINTER))
    if head == _POINTER:
        raise DataError(f"{path} is a pointer of Git LFS, not the file: git lfs pull fetches it")
    inside = packing._replace(member=None)
    if head.startswith(b"PK\x05\x06"):
        raise DataError(f"{path} is a zip archive that holds no file")
    if head.startswith(b"PK\x03\x04"):
        member = io.BufferedReader(_Checked(path, _member(path, raw, packing.member), raw), _BLOCK)
        return unpacked(path, cast(io.BufferedReader, member), inside, layers - 1)
    if packing.member is not None and layers == _LAYERS:
        raise ConfigurationError(f"{path}: only a zip archive has members")
    inner: io.RawIOBase
    if head.startswith(b"\x1f\x8b\x08"):
        inner = cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))
    elif head.startswith(ZSTD):
        inner = _Frames(raw, ZstdFrames(path, packing.dictionary))
    elif head.startswith(b"\xfd7zXZ\0"):
        inner = _Frames(raw, _xz_stream)
    elif head[:3] == b"BZh" and head[3:4].isdigit():
        inner = cast(io.RawIOBase, bz2.BZ2File(raw))
    elif head[:1] == b"\x5d" and head[1:3] == b"\0\0":  # no text begins so
        inner = cast(io.RawIOBase, lzma.LZMAFile(raw))  # noqa: SIM115  # closed with what reads it
    else:
        for name, (magic, _) in _UNREAD.items():
            if magic and head.startswith(magic):
                raise DataError(f"{path}: {how_to_unpack(name)}")
        if packing.dictionary is not None and layers == _LAYERS:
            raise ConfigurationError(f"{path}: only what zstd has packed has a dictionary")
        return raw
    if not layers:
        raise DataError(f"{path} was packed more than {_LAYERS} times")
    return unpacked(path, io.BufferedReader(_Checked(path, inner, raw), _BLOCK), inside, layers - 1)


def how_to_unpack(ending: str) -> str | None:
    """What to type for a file whose packing is not read, by its name's ending; None for any other."""
    known = _UNREAD.get(ending)
    return (
        known
        and f"this packing is not read here: {known[1]} | craft-stream ... --input - --input-format NAME"
    )


def first_bytes(file: io.BufferedReader, count: int) -> tuple[io.BufferedReader, bytes]:
    """A file from its beginning, and its first bytes; a pipe may give them one by one."""
    head = file.peek(count)[:count]
    if len(head) < count:
        head = file.read(count)
        file = io.BufferedReader(_Rejoined(head, file), _BLOCK)
    return file, head


class _Rejoined(Blocks):
    """What was read of a file, and then the file."""

    def __init__(self, head: bytes, file: io.BufferedReader) -> None:
        self._head, self._file = head, file

    def block(self, size: int) -> bytes:
        head, self._head = self._head, b""
        return head or self._file.read1(size)

    def close(self) -> None:
        self._file.close()
        super().close()


def members(path: str) -> list[str]:
    """Names of the files in a zip archive that may hold pairs.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except DAMAGE as error:
        raise DataError(f"cannot read {path}: {error}") from None
    return [
        name
        for name in names
        if PurePath(name).stem.lower() not in _BESIDE and not PurePath(name).name.startswith((".", "__"))
    ]


def _member(path: str, raw: io.BufferedReader, name: str | None) -> io.RawIOBase:
    if not raw.seekable():
        raise DataError(
            f"{path} is a zip archive, which cannot be read from a pipe: unzip -p FILE MEMBER | ..."
        )
    if name is None:
        found = members(path)
        if not found:
            raise DataError(f"{path} is a zip archive that holds no file")
        if len(found) > 1:
            raise ConfigurationError(f"{path} holds {', '.join(found)}: add ?member=NAME")
        name = found[0]
    try:
        return cast(io.RawIOBase, zipfile.ZipFile(raw).open(name))
    except KeyError:
        raise ConfigurationError(
            f"{path} has no member {name}: it holds {', '.join(members(path))}"
        ) from None
    except DAMAGE as error:
        raise DataError(f"cannot read {path}: {error}") from None


class _Frames(Blocks):
    """Unpacks frames one behind the other, and the zeros that xz allows between them; notices a last one that is cut off.

    zstandard's own reader does not notice that, and lzma's does not know the zeros.
    """

    def __init__(self, raw: IO[bytes], frame: Callable[[bytes], Frame]) -> None:
        self._raw, self._new = raw, frame
        self._frame: Frame | None = None

    def block(self, size: int) -> bytes:
        while packed := self._raw.read(_ZSTD_BLOCK):
            if found := self._decompress(packed):
                return found
        if self._frame is not None and not self._frame.eof:
            raise EOFError("the last frame is cut off")
        return b""

    def _decompress(self, block: bytes) -> bytes:
        parts = []
        while block:
            if self._frame is None or self._frame.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                if len(block) < HEADER:
                    block += self._raw.read(HEADER)
                self._frame = self._new(block[:HEADER])
            parts.append(self._frame.decompress(block))
            block = self._frame.unused_data if self._frame.eof else b""
        return b"".join(parts)


def _xz_stream(_: bytes) -> Frame:
    return lzma.LZMADecompressor()


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
        except DAMAGE as error:
            hint = (
                ", or was compressed with a dictionary: add ?dictionary=FILE"
                if "corruption" in str(error)
                else ""
            )
            raise DataError(f"{self._path} is damaged or cut off ({error}){hint}") from None

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._raw.close()
        super().close()
