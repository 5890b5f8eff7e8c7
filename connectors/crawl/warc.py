"""WARC files, and ARC, read record by record, also while they are being written, and resumable at any record.

A record counts as there when all the bytes that its Content-Length promises can be read; the tail of a file that is
still being written is left for later. A damaged stretch is skipped up to the next record that can be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fastwarc import ArchiveIterator

from connectors.crawl.dialects import Dialect, Translated, dialect_of
from connectors.crawl.responses import Response, ResponseReader, has_length
from connectors.files.compression import DAMAGE
from craft_stream.errors import DataError

_MAGIC = (b"WARC/", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")
_NEXT_RECORD = re.compile(rb"\x1f\x8b\x08[\x00\x04]|\x28\xb5\x2f\xfd|(?<=[\n\0])WARC/\d\.\d+\r?\n(?=[\w-]+:)")
_SCAN = 1 << 20
_OVERLAP = 64  # no pattern above is longer


class Position(NamedTuple):
    """Where to go on: `ordinal` records from byte `offset` on are done."""

    offset: int = 0
    ordinal: int = 0


class WarcFile:
    """One WARC file, plain, gzip or zstd.

    Args:
        path: the file; it may grow between calls of `responses`.
        position: where to go on.
        max_bytes: largest record (and largest payload after decompression); a larger one is skipped.

    Attributes:
        position: after the last response that was handed out, and everything skipped before it.
        skipped: how many records were passed over, by reason: `damaged`, `truncated`, `too_large`, `not_http`, `not_response`,
            `no_date`.
        kinds: how many records there were, by type.
    """

    def __init__(self, path: Path, position: Position | None = None, *, max_bytes: int = 10 << 20) -> None:
        self.path = path
        self.position = position or Position()
        self._records = ResponseReader(max_bytes)
        self.skipped, self.kinds = self._records.skipped, self._records.kinds
        self._tail_counted = False
        self._suspect = False  # the last attempt failed: damage, or a record that is still being written
        self._counted = False
        self._dialect: Dialect | None = None
        self._known = False  # the dialect

    def responses(self, *, final: bool = True) -> Iterator[Response]:
        """Responses from `position` on, as far as the file holds whole records.

        Args:
            final: the file will not grow: what is cut off at its end is counted. Otherwise it is left for later.
        """
        self._suspect = self._suspect and self._counted
        while True:
            with self.path.open("rb") as stream:
                damaged = yield from self._stretch(stream, final)
            if not damaged or not self._skip_damage(final):
                return

    def _stretch(self, stream: BinaryIO, final: bool) -> Generator[Response, None, bool]:
        """Hand out responses up to the end or to damage; returns whether it was damage."""
        start, done = self.position
        size = os.fstat(stream.fileno()).st_size
        if start > size or (0 < start < size and not _is_start(stream, start)):
            start, done = 0, 0  # another file under the same name
        if start == size:
            return False
        if not self._known:
            with self.path.open("rb") as head:
                _, self._dialect, self._known = dialect_of(self.path, head)
        stream.seek(start)
        # what is translated has no places to go on from
        translation = self._dialect
        source = _Forward(Translated(self.path, stream, translation)) if translation else stream
        ordinal, last = 0, start
        try:
            for record in ArchiveIterator(source, parse_http=False, strict_mode=False):
                offset = record.stream_pos
                if offset != last and translation is None and _is_start(stream, offset):
                    last, ordinal = offset, 0
                ordinal += 1
                if last == start and ordinal <= done:
                    record.consume()
                    continue
                response, whole = self._records.read(record)
                if not whole:
                    if (
                        not has_length(record)
                        and translation is None
                        and self._next_start(max(offset, self.position.offset) + 1) is not None
                    ):
                        return True  # what is behind a header that is cut off is no record
                    self._count_tail("truncated", final)
                    return False
                self._recovered()
                self.position = Position(last, ordinal)
                if response is not None:
                    yield response
        except (OSError, ValueError):
            if translation:
                self._count_tail("damaged", final)
            return translation is None
        if translation:
            return False
        if (
            final
            and self.position.ordinal == 1
            and os.pread(stream.fileno(), 1, self.position.offset)
            != b"W"  # plain: a body may hold what is packed
            and self._next_start(self.position.offset + 1) is not None
        ):
            self._count_tail("truncated", final)  # a member so short that no line of it can be read
        return False

    def _skip_damage(self, final: bool) -> bool:
        """Move to the next place that looks like a record; whether there is one."""
        found = self._next_start(self.position.offset + 1)
        if found is None:
            self._count_tail("damaged", final and not self._counted)
            return False
        if self._suspect:
            self._count_damage()
        self._suspect = True
        self.position = Position(found, 0)
        return True

    def _recovered(self) -> None:
        if self._suspect:
            self._count_damage()
        self._suspect = self._counted = False

    def _count_damage(self) -> None:
        if not self._counted:
            self._counted = True
            self.skipped["damaged"] += 1

    def _count_tail(self, reason: str, final: bool) -> None:
        if final and not self._tail_counted:
            self._tail_counted = True
            self.skipped[reason] += 1

    def _next_start(self, offset: int) -> int | None:
        with self.path.open("rb") as stream:
            at = max(0, offset - _OVERLAP)
            stream.seek(at)
            held = b""
            while chunk := stream.read(_SCAN):
                held += chunk
                for match in _NEXT_RECORD.finditer(held):
                    if at + match.start() >= offset:
                        return at + match.start()
                at += max(0, len(held) - _OVERLAP)
                held = held[-_OVERLAP:]
        return None


class WarcStream:
    """A WARC that comes through a pipe: read once, not resumable; damage ends it.

    Attributes:
        path, position, skipped, kinds: as of `WarcFile`; the position stays where it is.
    """

    def __init__(self, stream: BinaryIO, *, max_bytes: int = 10 << 20, path: Path = Path("-")) -> None:
        self.path = path
        self.position = Position()
        self._records = ResponseReader(max_bytes)
        self.skipped, self.kinds = self._records.skipped, self._records.kinds
        self._stream = stream

    def responses(self, *, final: bool = True) -> Iterator[Response]:
        """All responses, as they come; `final` makes no difference, the end of a pipe is its end.

        Raises:
            DataError: it holds no WARC.
        """
        del final
        begun = False
        try:
            file, dialect, _ = dialect_of(self.path, self._stream)
            begun = bool(file.peek(1))
            source = _Forward(Translated(self.path, file, dialect) if dialect else file)
            for record in ArchiveIterator(source, parse_http=False, strict_mode=False):
                response, whole = self._records.read(record)
                if not whole:
                    self.skipped["truncated"] += 1
                    return
                if response is not None:
                    yield response
        except DAMAGE:
            self.skipped["damaged"] += 1
        if not self.kinds and begun:
            raise DataError(f"{self.path}: what comes through the pipe is no WARC")


class _Forward:
    """What FastWARC asks of a stream, of one that cannot be read twice: it asks for the place, and panics at none."""

    def __init__(self, stream: BinaryIO | Translated) -> None:
        self._stream, self._place = stream, 0

    def read(self, size: int = -1) -> bytes:
        read = getattr(self._stream, "read1", self._stream.read)
        block: bytes = read(size if size >= 0 else _SCAN)
        self._place += len(block)
        return block

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        if (offset, whence) not in ((self._place, 0), (0, 1)):
            raise OSError("a pipe is read forward")
        return self._place

    def close(self) -> None:
        """The pipe is not ours to close."""


def _is_start(stream: BinaryIO, offset: int) -> bool:
    """Whether a record can be read from here; not so inside a file that was compressed as one whole."""
    return os.pread(stream.fileno(), 5, offset).startswith(_MAGIC)
