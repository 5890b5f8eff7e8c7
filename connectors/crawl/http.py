"""An HTTP message as crawlers keep it: the header may speak of codings that its writer has undone already."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import zstandard
from fastwarc.stream_io import BrotliReader

_STATUS = re.compile(rb"\s*[A-Za-z]+/?[\d.]*\s+(\d{3})\b")
# behind `100 Continue`, early hints, a proxy's own answer; pages may hold such a line as well
_NEXT = re.compile(rb"HTTP/[\d.]+ \d{3}\b")
_NEXT_AND_HEADER = re.compile(rb"HTTP/[\d.]+ (?:1\d\d\b|\d{3}\b[^\r\n]{0,1000}\r?\n[\w-]{1,100}:)")
_OF_A_PAGE = re.compile(
    rb"\n(?:content-(?:type|length|encoding)|transfer-encoding|x-robots-tag|tdm-reservation)[ \t]*:",
    re.IGNORECASE,
)
_MOST_BEFORE = 5
_BLANK = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(r"\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
HTML = ("text/html", "application/xhtml+xml", "")  # media types of pages
_BLOCK = 1 << 16
_LINES = 1_000  # of a header; what follows is not looked at


class HttpMessage(NamedTuple):
    """A response.

    Attributes:
        status: its code.
        headers: (name in lower case, value), in order.
        body: content and transfer codings undone.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for own, value in self.headers if own == name]

    @property
    def content_type(self) -> str:
        """Media type in lower case, without parameters; empty where none was sent."""
        return media_type(*self.values("content-type")[-1:])[0]

    @property
    def charset(self) -> str | None:
        """As the server declared it."""
        return media_type(*self.values("content-type")[-1:])[1]


def media_type(value: str = "") -> tuple[str, str | None]:
    """Type and charset of a Content-Type."""
    charset = _CHARSET.search(value)
    return re.split("[;,]", value, maxsplit=1)[0].strip().lower(), charset[1] if charset else None


def parse_http(block: bytes, limit: int) -> HttpMessage | None:
    """The message in a block; None where there is none.

    A body that is not in a coding that the header names was unpacked by the crawler: it is taken as it is. A page in a
    coding that the header does not name is unpacked. A body that ends too early is taken as far as it goes. What follows
    an interim answer (1xx), or a header that says nothing of a page, is the answer if it is a message.

    Args:
        block: header and body.
        limit: bytes of a body, beyond which nothing is unpacked.
    """
    for _ in range(_MOST_BEFORE):
        status = _STATUS.match(block)
        if status is None:
            return None
        blank = _BLANK.search(block, status.end())
        head, body = (block[: blank.start()], block[blank.end() :]) if blank else (block, b"")
        code = int(status[1])
        interim = code // 100 == 1
        follows = (_NEXT if interim else _NEXT_AND_HEADER).match(body) is not None
        if not follows or (not interim and _OF_A_PAGE.search(head)):
            break
        block = body
    headers: list[tuple[str, str]] = []
    for line in _LINE.split(head.decode("latin-1"))[1:_LINES]:
        if line[:1] in (" ", "\t") and headers:
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    message = HttpMessage(code, headers, b"")
    names = ("content-encoding", "transfer-encoding")
    for coding in reversed([coding for name in names for coding in _listed(message, name)]):
        if (undo := _UNDO.get(coding)) is not None:
            body = undo(body, limit)
    if message.content_type in HTML:
        for _ in range(_MOST_BEFORE):
            told = next((undo for magic, undo in _TOLD if body.startswith(magic)), None)
            if told is None or (unpacked := told(body, limit)) is body:
                break
            body = unpacked
    return message._replace(body=body[:limit])


def _listed(message: HttpMessage, name: str) -> list[str]:
    return [coding.strip().lower() for value in message.values(name) for coding in value.split(",")]


def _unchunked(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    at = length = 0
    while length < limit and (size := _CHUNK_SIZE.match(body, at)):
        end = size.end() + int(size[1], 16)
        parts.append(body[size.end() : end])
        length += len(parts[-1])
        at = end + 2 if body[end : end + 2] == b"\r\n" else end + (body[end : end + 1] == b"\n")
        if end == size.end():
            break
    return b"".join(parts) if parts else body


def _gunzipped(body: bytes, limit: int) -> bytes:
    """Members of gzip one behind the other; what follows that is none is no part of the body."""
    parts: list[bytes] = []
    rest = body
    while rest.startswith(b"\x1f\x8b") and sum(map(len, parts)) < limit:
        unpacked, rest = _inflated(rest, limit, 31)
        parts.append(unpacked)
    return b"".join(parts) or body


def _deflated(body: bytes, limit: int) -> bytes:
    """As zlib, which is meant by `deflate`, or without its frame, which is often sent; text is neither."""
    for bits in (15, -15):
        unpacked, _ = _inflated(body, limit, bits)
        if unpacked and (bits > 0 or b"<" in unpacked):
            return unpacked
    return body


def _inflated(body: bytes, limit: int, bits: int) -> tuple[bytes, bytes]:
    """What a stream of zlib holds, as far as it is sound, and what follows it."""
    stream = zlib.decompressobj(bits)
    parts: list[bytes] = []
    length = 0
    rest = body
    try:
        while rest and not stream.eof and length < limit:
            parts.append(stream.decompress(rest, _BLOCK))
            length += len(parts[-1])
            rest = stream.unconsumed_tail
    except zlib.error:
        return b"".join(parts), b""
    return b"".join(parts), stream.unused_data


def _unbrotlied(body: bytes, limit: int) -> bytes:
    if body.startswith(tuple(magic for magic, _ in _TOLD)):
        return body
    reader, parts, length = BrotliReader(io.BytesIO(body)), list[bytes](), 0
    try:
        while length < limit and (part := reader.read(_BLOCK)):
            parts.append(part)
            length += len(part)
    except (OSError, ValueError):
        pass  # it was never in this coding, or ends too early
    return b"".join(parts) or body


def _unzstandarded(body: bytes, limit: int) -> bytes:
    if not body.startswith(b"\x28\xb5\x2f\xfd"):
        return body
    try:
        return zstandard.ZstdDecompressor().stream_reader(body).read(limit) or body
    except zstandard.ZstdError:
        return body


_UNDO: dict[str, Callable[[bytes, int], bytes]] = {
    "chunked": _unchunked,
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _deflated,
    "br": _unbrotlied,
    "zstd": _unzstandarded,
}
# what the first bytes of a page tell, since no page begins so
_TOLD: list[tuple[bytes, Callable[[bytes, int], bytes]]] = [
    (b"\x1f\x8b", _gunzipped),
    (b"\x28\xb5\x2f\xfd", _unzstandarded),
    (b"x\x01", _deflated),
    (b"x\x9c", _deflated),
    (b"x\xda", _deflated),
]
