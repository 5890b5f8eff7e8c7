"""WARC files, read record by record, also while they are being written, and resumable at any record.

A record counts as there when all the bytes that its Content-Length promises can be read; the tail of a file that is
still being written is left for later. A damaged stretch is skipped up to the next record that can be read.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fastwarc import ArchiveIterator, WarcRecord, WarcRecordType

_MAGIC = (b"WARC/", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")
_NEXT_RECORD = re.compile(rb"\x1f\x8b\x08[\x00\x04]|\x28\xb5\x2f\xfd|(?<=\r\n\r\n)WARC/1\.")
_SCAN = 1 << 20
_OVERLAP = 8  # no pattern above is longer


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        url: the target URI without the angle brackets that wget puts around it.
        date: when it was fetched, seconds since 1970.
        status: HTTP status code.
        content_type: media type in lower case, without parameters; empty when none was sent.
        charset: as the server declared it; None when it did not.
        robots: the X-Robots-Tag header, lower case.
        digest: of the payload, as `sha1:...`; from the WARC header where it has one.
        body: the payload, content and transfer encodings undone.
    """

    url: str
    date: int
    status: int
    content_type: str
    charset: str | None
    robots: str
    digest: str
    body: bytes


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
        skipped: how many records were passed over, by reason: `damaged`, `truncated`, `too_large`, `not_http`.
    """

    def __init__(self, path: Path, position: Position | None = None, *, max_bytes: int = 10 << 20) -> None:
        self.path = path
        self.position = position or Position()
        self.skipped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._tail_counted = False
        self._suspect = False  # the last attempt failed: damage, or a record that is still being written
        self._counted = False

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
        if start > size or (start < size and not _is_start(stream, start)):
            start, done = 0, 0  # another file under the same name
        if start == size:
            return False
        stream.seek(start)
        ordinal, last = 0, start
        try:
            for record in ArchiveIterator(stream, parse_http=False, strict_mode=False):
                offset = record.stream_pos
                if offset != last and _is_start(stream, offset):
                    last, ordinal = offset, 0
                ordinal += 1
                if last == start and ordinal <= done:
                    record.consume()
                    continue
                response, whole = _response(record, self._max_bytes, self.skipped)
                if not whole:
                    self._count_tail("truncated", final)
                    return False
                self._recovered()
                self.position = Position(last, ordinal)
                if response is not None:
                    yield response
        except (OSError, ValueError):
            return True
        if final and self.position.ordinal == 1 and self._next_start(self.position.offset + 1) is not None:
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
        path, position, skipped: as of `WarcFile`; the position stays where it is.
    """

    def __init__(self, stream: BinaryIO, *, max_bytes: int = 10 << 20) -> None:
        self.path = Path("-")
        self.position = Position()
        self.skipped: Counter[str] = Counter()
        self._stream, self._max_bytes = stream, max_bytes

    def responses(self, *, final: bool = True) -> Iterator[Response]:
        """All responses, as they come; `final` makes no difference, the end of a pipe is its end."""
        del final
        try:
            for record in ArchiveIterator(self._stream, parse_http=False, strict_mode=False):
                response, whole = _response(record, self._max_bytes, self.skipped)
                if not whole:
                    self.skipped["truncated"] += 1
                    return
                if response is not None:
                    yield response
        except (OSError, ValueError):
            self.skipped["damaged"] += 1


def _is_start(stream: BinaryIO, offset: int) -> bool:
    """Whether a record can be read from here; not so inside a file that was compressed as one whole."""
    return os.pread(stream.fileno(), 5, offset).startswith(_MAGIC)


def _response(record: WarcRecord, max_bytes: int, skipped: Counter[str]) -> tuple[Response | None, bool]:
    """The record's response, if it holds one, and whether all its bytes are there."""
    promised = record.content_length
    if not (record.headers.get("Content-Length") or "").strip().isdigit():
        return None, False  # the header itself is cut off, perhaps in the middle of this line
    if record.record_type != WarcRecordType.response:
        return None, record.consume() == promised
    if promised > max_bytes:
        whole = record.consume() == promised
        skipped["too_large"] += whole
        return None, whole
    block = record.reader.read(promised)
    if len(block) < promised:
        return None, False
    try:
        response = _parse(record, block, max_bytes + 1)
    except (OSError, ValueError):
        response = None
    if response is None:
        skipped["not_http"] += 1
    elif len(response.body) > max_bytes:
        skipped["too_large"] += 1
        response = None
    return response, True


def _parse(record: WarcRecord, block: bytes, limit: int) -> Response | None:
    """The HTTP message in a record's block; None when it is none."""
    http = WarcRecord()
    http.init_headers(WarcRecordType.response)
    http.is_http = True
    http.set_bytes_content(block)
    http.parse_http(auto_decode="all", strict_mode=False)
    status = http.http_headers.status_code
    if status is None:
        return None
    headers, body = record.headers, http.reader.read(limit)
    return Response(
        url=(headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">"),
        date=int(record.record_date.timestamp()),
        status=status,
        content_type=(http.http_content_type or "").lower(),
        charset=http.http_charset,
        robots=",".join(http.http_headers.get_multiple("X-Robots-Tag")).lower(),
        digest=headers.get("WARC-Payload-Digest") or _digest(body),
        body=body,
    )


def _digest(body: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode("ascii")
