"""What FastWARC does not know, as WARC that it knows: ARC, header lines of other writers, and other packings."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from connectors.files.compression import ZSTD, first_bytes, unpacked
from connectors.files.zstd import number_of
from craft_stream.errors import DataError

_HEAD = 1 << 12  # bytes that hold a first line, packed or not
_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 20
# URL, address, date, type, in version 2 five more fields, length; URLs may hold spaces
_ARC_RECORD = re.compile(
    rb"([a-z][a-z0-9+.-]*:.*?) ([0-9a-f.:]+|-) (\d{8,17}) (?:.* )?(\d{1,18})\s*", re.IGNORECASE
)

_OTHER_LENGTH = re.compile(rb"(?!Content-Length:)(?i:content-length)[ \t]*:")

Dialect = Callable[[io.BufferedReader], Iterator[bytes]]


def dialect_of(path: Path, raw: BinaryIO) -> tuple[io.BufferedReader, Dialect | None, bool]:
    """A file from its beginning; its dialect, None where FastWARC reads it; whether enough is there to tell."""
    file, head = first_bytes(cast(io.BufferedReader, raw), _HEAD)
    lines: list[bytes] = []
    try:
        inner = unpacked(str(path), io.BufferedReader(cast(io.RawIOBase, io.BytesIO(head))))
        while (line := inner.readline(_LONGEST_LINE)).strip() and not _ARC_RECORD.fullmatch(line):
            lines.append(line)
        lines.append(line)
    except DataError:  # the head ends within what is packed
        pass
    first, last = (lines[0], lines[-1]) if lines else (b"", b"")
    if _ARC_RECORD.fullmatch(last) and len(lines) == 1:
        return file, arc, True
    if not first.startswith(b"WARC/"):
        return file, None, first.endswith(b"\n")
    if not first.endswith(b"\r\n") or any(_OTHER_LENGTH.match(line) for line in lines):
        return file, header_lines, first.endswith(b"\n")
    packed = not head.startswith((b"WARC/", b"\x1f\x8b", *ZSTD)) or number_of(head)
    return file, as_it_is if packed else None, bool(last) and not last.strip()


class Translated:
    """The content of a file in a dialect, unpacked, as WARC; read forward.

    Args:
        path: of the file, for messages.
        raw: the file, from its beginning.
        dialect: how it is written.
    """

    def __init__(self, path: Path, raw: BinaryIO, dialect: Dialect) -> None:
        self._blocks = _blocks(path, raw, dialect)
        self._held = b""

    def read(self, size: int) -> bytes:
        """At most `size` next bytes; none at the end.

        Raises:
            OSError: the file is damaged, or cut off.
        """
        while not self._held and (block := next(self._blocks, None)) is not None:
            self._held = block
        taken, self._held = self._held[:size], self._held[size:]
        return taken


def _blocks(path: Path, raw: BinaryIO, dialect: Dialect) -> Iterator[bytes]:
    try:
        yield from dialect(unpacked(str(path), cast(io.BufferedReader, raw)))
    except DataError as error:
        raise OSError(str(error)) from None


def as_it_is(file: io.BufferedReader) -> Iterator[bytes]:
    """WARC as FastWARC knows it, once it is unpacked."""
    while block := file.read(_BLOCK):
        yield block


def header_lines(file: io.BufferedReader) -> Iterator[bytes]:
    """WARC whose header lines end by line feeds alone, as that of ClueWeb, or spell the length `content-length`, as Rust's."""
    while line := file.readline(_LONGEST_LINE):
        if not line.startswith(b"WARC/"):
            yield line.rstrip(b"\r\n") + b"\r\n"
            continue
        length = 0
        while line.strip():
            yield _OTHER_LENGTH.sub(b"Content-Length:", line.rstrip(b"\r\n")) + b"\r\n"
            line = file.readline(_LONGEST_LINE)
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
        yield b"\r\n" if line else b""
        yield from _body(file, length)


def arc(file: io.BufferedReader) -> Iterator[bytes]:
    """ARC, as the Internet Archive and Heritrix wrote it until 2009: a line about each answer, and the answer.

    Lines where a record should begin are counted as one of type `unreadable`.
    """
    lost = False
    while line := file.readline(_LONGEST_LINE):
        if not line.strip():
            continue
        found = _ARC_RECORD.fullmatch(line)
        if not line.endswith(b"\n"):
            yield _head(b"response", b"", b"", 1)  # cut off: of which nothing follows
        elif found is None:
            if not lost:
                yield _head(b"unreadable", b"", b"", 0)
            lost = True
        else:
            lost = False
            url, _, date, length = found.groups()
            scheme = url.partition(b":")[0].lower()
            kind = {b"http": b"response", b"https": b"response", b"filedesc": b"warcinfo"}.get(
                scheme, b"metadata"
            )
            yield _head(kind, url, date, int(length))
            yield from _body(file, int(length))
            yield b"\r\n\r\n"


def _head(kind: bytes, url: bytes, date: bytes, length: int) -> bytes:
    return (
        b"WARC/1.0\r\nWARC-Type: %b\r\nWARC-Target-URI: %b\r\nWARC-Date: %b\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n"
        % (kind, url, date, length)
    ) + (b"" if length else b"\r\n\r\n")


def _body(file: io.BufferedReader, length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block
