"""Responses out of the records of a WARC file: what a server answered, whatever wrote it down."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fastwarc import WarcRecord

from connectors.crawl.http import media_type, parse_http
from connectors.crawl.permission import reservation

_PAGES = ("response", "resource")
_BESIDE = ("warcinfo", "request", "metadata")  # of which there is one for each response, or file
_DIGITS = re.compile(r"\d{14}\d*")
_FIRST, _LAST = 631_152_000, 4_102_444_800  # 1990 to 2100: a clock that is wrong would make pages expire


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        url: the target URI without the angle brackets that wget puts around it.
        date: when it was fetched, seconds since 1970.
        status: HTTP status code.
        content_type: media type in lower case, without parameters; empty when none was sent.
        charset: as the server declared it; None when it did not.
        robots: the X-Robots-Tag headers.
        reserved: whether the server reserves the rights of text and data mining (`tdm-reservation: 1`); None: it does not say.
        links: the Link headers.
        digest: of the payload, as `sha1:...`; from the WARC header where it has one.
        body: the payload, content and transfer encodings undone.
    """

    url: str
    date: int
    status: int
    content_type: str
    charset: str | None
    robots: tuple[str, ...]
    reserved: bool | None
    links: tuple[str, ...]
    digest: str
    body: bytes


class ResponseReader:
    """Makes responses of records, and counts what is none.

    Args:
        max_bytes: largest record, and largest payload.
    """

    def __init__(self, max_bytes: int) -> None:
        self.skipped: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._date: int | None = None  # of the last record that has one

    def read(self, record: WarcRecord) -> tuple[Response | None, bool]:
        """The record's response, if it holds one, and whether all its bytes are there."""
        promised = record.content_length
        if not has_length(record):
            return None, False  # the header itself is cut off, perhaps in the middle of this line
        kind = (record.headers.get("WARC-Type") or "").strip().lower()
        date = _date(record.headers.get("WARC-Date") or "") or self._date
        if promised > self._max_bytes or kind not in _PAGES:
            whole = record.consume() == promised
            self.kinds[kind] += whole
            if kind in _PAGES:
                self.skipped["too_large"] += whole
            elif kind not in _BESIDE:
                self.skipped["not_response"] += whole
        else:
            block = record.reader.read(promised)
            whole = len(block) == promised
            self.kinds[kind] += whole
            if whole:
                self._date = date
                return self._page(record, kind, block, date), True
        if whole:
            self._date = date
        return None, whole

    def _page(self, record: WarcRecord, kind: str, block: bytes, date: int | None) -> Response | None:
        if date is None:
            self.skipped["no_date"] += 1
            return None
        response = (
            _resource(record, block, date)
            if kind == "resource"
            else _parse(record, block, self._max_bytes + 1, date)
        )
        if response is None:
            # resources with other addresses are the crawler's own notes
            self.skipped["not_http" if kind == "response" else "not_response"] += (
                _target(record).lower().startswith(("http:", "https:", "file:"))
            )
        elif len(response.body) > self._max_bytes:
            self.skipped["too_large"] += 1
            response = None
        return response


def has_length(record: WarcRecord) -> bool:
    """Whether a record's header says how long it is."""
    return (record.headers.get("Content-Length") or "").strip().isdigit()


def _parse(record: WarcRecord, block: bytes, limit: int, date: int) -> Response | None:
    """The HTTP message in a record's block; None when it is none."""
    http = parse_http(block, limit)
    if http is None:
        return None
    return Response(
        url=_target(record),
        date=date,
        status=http.status,
        content_type=http.content_type,
        charset=http.charset,
        robots=tuple(http.values("x-robots-tag")),
        reserved=reservation(http.values("tdm-reservation")),
        links=tuple(http.values("link")),
        digest=record.headers.get("WARC-Payload-Digest") or _digest(http.body),
        body=http.body,
    )


def _resource(record: WarcRecord, block: bytes, date: int) -> Response | None:
    """A page, or what a site says of its pages, that was not fetched by HTTP (warcit): the block itself; None for others."""
    kind, charset = media_type(record.headers.get("Content-Type") or "")
    url = _target(record)
    if not kind.endswith(("html", "html+xml", "/xml", "/json")) or not url.lower().startswith(
        ("http:", "https:")
    ):
        return None
    digest = (
        record.headers.get("WARC-Payload-Digest") or record.headers.get("WARC-Block-Digest") or _digest(block)
    )
    return Response(url, date, 200, kind, charset, (), None, (), digest, block)


def _target(record: WarcRecord) -> str:
    return (record.headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">")


def _date(text: str) -> int | None:
    """Seconds since 1970 of a date in any of the forms that writers use: ISO 8601 or parts of it, 14 digits, HTTP's."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        text = f"{text[:8]}T{text[8:14]}Z"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
    try:
        seconds = int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if _FIRST <= seconds < _LAST else None


def _digest(body: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode("ascii")
