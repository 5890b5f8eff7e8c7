"""What a site says of text and data mining in `/.well-known/tdmrep.json`, and which of its pages that covers.

TDM Reservation Protocol, final report of the W3C's Community Group (2024): of the rules whose pattern a page's path fits
the first holds; what the page's own header or markup says comes before the file. What is too much to be read is reserved.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus, urlsplit

import orjson

from connectors.crawl.permission import reservation
from connectors.crawl.responses import Response
from connectors.crawl.urls import canonical, escaped, host, site

# by host, with `www.` and port
TABLE = (
    "CREATE TABLE IF NOT EXISTS reservations (site TEXT PRIMARY KEY, rules TEXT NOT NULL, date INTEGER NOT NULL) "
    "WITHOUT ROWID"
)
_PLACE = "/.well-known/tdmrep.json"
_MOST = 1_000  # rules of one host
_LONGEST = 500 << 10  # bytes of a file, as those that read robots.txt take (RFC 9309)
_ASTERISKS = 10_000  # of a file: what a rule costs grows with them, 30 ms a page for 200,000
_BOM = b"\xef\xbb\xbf"
_ORIGIN = re.compile(r"https?://[^/?*$]*", re.IGNORECASE)


class Rule(NamedTuple):
    """What holds for the paths that fit a pattern.

    Attributes:
        parts: of the path, in their order, with anything between them; the first is its beginning.
        ends: whether the last part is the path's end.
        reserved: whether the rights are reserved there.
    """

    parts: list[str]
    ends: bool
    reserved: bool

    def fits(self, path: str) -> bool:
        """Whether a path, with its query, fits; in time that grows as the path does."""
        first, *others = self.parts
        if not path.startswith(first):
            return False
        if not others:
            return not self.ends or path == first
        at = len(first)
        for part in others[:-1]:
            if (found := path.find(part, at)) < 0:
                return False
            at = found + len(part)
        last = others[-1]
        return path.endswith(last) and len(path) - len(last) >= at if self.ends else path.find(last, at) >= 0


_ALL = Rule([""], False, True)


def read_reservations(response: Response) -> list[Rule] | None:
    """The rules of a site's file, in their order; None where the response is no such file.

    An entry without a path, or without a value that says something, or for another site, is none. Behind 1,000 rules all
    else is reserved, and all of it where the file is longer than 500 KiB or has more than 10,000 asterisks.
    """
    url = canonical(response.url)
    if response.status != 200 or urlsplit(url).path != _PLACE:
        return None
    body = response.body.removeprefix(_BOM)
    if len(body) > _LONGEST or body.count(b"*") > _ASTERISKS:
        return [_ALL] if body.lstrip().startswith((b"[", b"{")) else None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    entries = [found] if isinstance(found, dict) else found
    if not isinstance(entries, list):
        return None
    rules = list(islice(_rules(entries, site(url)), _MOST + 1))
    return rules if len(rules) <= _MOST else [*rules[:_MOST], _ALL]


def _rules(entries: list[Any], own: str) -> Iterator[Rule]:
    for entry in entries:
        location = entry.get("location") if isinstance(entry, dict) else None
        if not isinstance(location, str):
            continue
        reserved = reservation([str(entry.get("tdm-reservation", ""))])
        if reserved is None:
            continue
        pattern = location.strip()
        if origin := _ORIGIN.match(pattern):
            if site(canonical(origin[0])) != own:
                continue
            pattern = pattern[origin.end() :]
        if not pattern.startswith(("/", "*")):
            pattern = f"/{pattern}"
        yield Rule(_parts(pattern.removesuffix("$")), pattern.endswith("$"), reserved)


def _parts(pattern: str) -> list[str]:
    """A pattern cut at its asterisks, spelt as `_path` spells a page's path; several in a row are one."""
    path, mark, query = pattern.partition("?")
    parts = [escaped(part) for part in path.split("*")]
    if mark:
        first, *others = map(_spelt, query.split("*"))
        parts = [*parts[:-1], f"{parts[-1]}?{first}", *others]
    return parts if len(parts) == 1 else [parts[0], *filter(None, parts[1:-1]), parts[-1]]


def _path(url: str) -> str:
    """Path and query of a canonical URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{_spelt(parts.query)}" if parts.query else parts.path


def _spelt(query: str) -> str:
    """A query with its escapes in one spelling, whoever wrote it."""
    return quote_plus(unquote_plus(query), safe="&=")


@lru_cache(maxsize=32)
def _loaded(rules: str) -> list[Rule]:
    return [Rule(*rule) for rule in orjson.loads(rules)]


class Reservations:
    """The rules of every host that has given some; `www.` makes no difference, but that either host may reserve.

    Args:
        db: with `TABLE`.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def tell(self, url: str, rules: list[Rule], date: int) -> bool:
        """Take in the file at a canonical URL, fetched at `date`; whether other rules hold now.

        Of a host's files the newest holds.
        """
        own, text = host(url), orjson.dumps([list(rule) for rule in rules]).decode()
        known = self._db.execute("SELECT rules, date FROM reservations WHERE site = ?", (own,)).fetchone()
        if known is not None and known[1] > date:
            return False
        self._db.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?)", (own, text, date))
        return known is None or known[0] != text

    def covers(self, url: str) -> bool:
        """Whether the rights to the page at a canonical URL are reserved by a file of its site."""
        bare = site(url)
        rows = self._db.execute(
            "SELECT rules FROM reservations WHERE site IN (?, ?)", (bare, f"www.{bare}")
        ).fetchall()
        if not rows:
            return False
        path = _path(url)
        return any(
            next((rule.reserved for rule in _loaded(text) if rule.fits(path)), False) for (text,) in rows
        )
