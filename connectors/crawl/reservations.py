"""What a site says of text and data mining in `/.well-known/tdmrep.json`, and which of its pages that covers.

TDM Reservation Protocol, final report of the W3C's Community Group (2024): of the rules whose pattern a page's path fits
the first holds; what the page's own header or markup says comes before the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from connectors.crawl.permission import reservation
from connectors.crawl.responses import Response
from connectors.crawl.urls import canonical, escaped, site

TABLE = (
    "CREATE TABLE IF NOT EXISTS reservations (site TEXT PRIMARY KEY, rules TEXT NOT NULL, date INTEGER NOT NULL) "
    "WITHOUT ROWID"
)
_PLACE = "/.well-known/tdmrep.json"
_MOST = 1_000  # rules of one site
_BOM = b"\xef\xbb\xbf"


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


def read_reservations(response: Response) -> list[Rule] | None:
    """The rules of a site's file, in their order; None where the response is no such file.

    An entry without a path, or without a value that says something, is none.
    """
    if response.status != 200 or urlsplit(canonical(response.url)).path != _PLACE:
        return None
    try:
        found = orjson.loads(response.body.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return None
    entries = [found] if isinstance(found, dict) else found
    return list(_rules(entries))[:_MOST] if isinstance(entries, list) else None


def _rules(entries: list[Any]) -> Iterator[Rule]:
    for entry in entries:
        location = entry.get("location") if isinstance(entry, dict) else None
        if not isinstance(location, str):
            continue
        reserved = reservation([str(entry.get("tdm-reservation", ""))])
        if reserved is None:
            continue
        _, scheme, rest = location.strip().partition("://")
        pattern = f"/{rest.partition('/')[2]}" if scheme else location.strip()
        if not pattern.startswith(("/", "*")):
            pattern = f"/{pattern}"
        yield Rule(
            [escaped(part) for part in pattern.removesuffix("$").split("*")], pattern.endswith("$"), reserved
        )


class Reservations:
    """The rules of every site that has given some; `www.` makes no difference.

    Args:
        db: with `TABLE`.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def tell(self, url: str, rules: list[Rule], date: int) -> None:
        """Take in the file at a canonical URL, fetched at `date`; of a site's files the newest holds."""
        self._db.execute(
            "INSERT INTO reservations VALUES (?, ?, ?) ON CONFLICT (site) DO UPDATE "
            "SET rules = excluded.rules, date = excluded.date WHERE excluded.date >= date",
            (site(url), orjson.dumps([list(rule) for rule in rules]).decode(), date),
        )

    def covers(self, url: str) -> bool:
        """Whether the rights to the page at a canonical URL are reserved by its site's file."""
        row = self._db.execute("SELECT rules FROM reservations WHERE site = ?", (site(url),)).fetchone()
        if row is None:
            return False
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        rules = (Rule(*rule) for rule in orjson.loads(row[0]))
        return next((rule.reserved for rule in rules if rule.fits(path)), False)
