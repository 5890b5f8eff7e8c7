"""The pages of a crawl that have come, and which of those that wait is the translation of one that comes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import zstandard

from connectors.crawl.blocks import Block
from connectors.crawl.pages import Page
from connectors.crawl.sitemaps import Told
from connectors.crawl.urls import address, host, site_key

PAGES = (
    "CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, language TEXT NOT NULL, share INTEGER NOT NULL, "
    "key TEXT NOT NULL, alternate TEXT, date INTEGER NOT NULL, digest TEXT NOT NULL, fingerprint BLOB NOT NULL, blocks BLOB) "
    "WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS pages_key ON pages (key) WHERE blocks IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS pages_date ON pages (date)",
    # Names under which a page that waits can be found: its own address, those of the pages that it calls its translation,
    # and the key that it shares with it on a site with a domain for each language. Those of older stores are found by
    # `pages.key` only.
    "CREATE TABLE IF NOT EXISTS names (name TEXT, kind INTEGER, url TEXT, PRIMARY KEY (name, kind, url)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS names_url ON names (url)",
    "CREATE TRIGGER IF NOT EXISTS gone AFTER DELETE ON pages BEGIN DELETE FROM names WHERE url = OLD.url; END",
    "CREATE TRIGGER IF NOT EXISTS paired AFTER UPDATE OF blocks ON pages WHEN NEW.blocks IS NULL "
    "BEGIN DELETE FROM names WHERE url = OLD.url; END",
    # what sitemaps say, by the address of a page
    "CREATE TABLE IF NOT EXISTS told (name TEXT, language TEXT, url TEXT, date INTEGER NOT NULL, "
    "PRIMARY KEY (name, language, url)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS told_date ON told (date)",
)
_OWN, _CALLED, _SITE = range(3)
_NEVER = 9
_COLUMNS = "url, language, share, key, alternate, date, digest, fingerprint, blocks"
_CLEAN_EVERY = 256  # pages between two removals of what has expired
_KNOWN = (
    10  # times as many pages as may wait are known when they are paired, so that they are not paired again
)


class Partners:
    """Pages by canonical URL.

    Args:
        db: with the tables of `PAGES`; a step of the store is a transaction.
        counts: of pages by what became of them.
        clock: crawl time so far: the newest fetch date seen.
        wait: seconds of crawl time that a page is kept for its partner (and known as a duplicate afterwards).
        most: pages that wait at most; beyond it the oldest go.

    Attributes:
        clock: crawl time.
        waiting: pages whose partner has not come.
    """

    def __init__(
        self, db: sqlite3.Connection, counts: Counter[str], *, clock: int, wait: int, most: int
    ) -> None:
        self._db, self._counts = db, counts
        self.clock, self._wait, self._most = clock, wait, most
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self.waiting = int(db.execute("SELECT count(*) FROM pages WHERE blocks IS NOT NULL").fetchone()[0])
        self._known = int(db.execute("SELECT count(*) FROM pages").fetchone()[0])
        self._taken = 0

    def take(self, page: Page) -> Page | None:
        """Take a page in; its partner when that has come before, and then neither waits any more.

        A page whose text has been seen already at its URL is a duplicate and does nothing. One whose text has changed
        takes the place of the old one.
        """
        self.clock = max(self.clock, page.date)
        self._taken += 1
        if self._taken % _CLEAN_EVERY == 0:
            self._expire()
        known = self._db.execute(
            "SELECT fingerprint, blocks IS NOT NULL, date FROM pages WHERE url = ?", (page.url,)
        ).fetchone()
        if known is not None and known[2] >= self._horizon:
            if known[0] == page.fingerprint:
                self._counts["duplicate"] += 1
                return None
            self._counts["changed"] += 1
        if known is None:
            self._known += 1
        else:
            self.waiting -= known[1]
        partner = self._find(page)
        self._put(page, waiting=partner is None)
        if partner is not None:
            if partner.url != page.url:  # one address may answer in either language
                self._release(partner)
            self._counts["paired"] += 2
        elif self.waiting > self._most:
            self._drop_oldest()
        return partner

    def tell(self, told: Iterable[Told], date: int) -> Iterator[tuple[Page, Page]]:
        """Take in what a sitemap says, and hand out the pages that have waited for it, two and two.

        Args:
            told: of pages of a site.
            date: when it was fetched, seconds since 1970.
        """
        self.clock = max(self.clock, date)
        rows = [(address(one.url), one.language, one.alternate, date) for one in told]
        self._db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", rows)
        surplus = self._db.execute("SELECT count(*) FROM told").fetchone()[0] - _KNOWN * self._most
        if surplus > 0:
            self._db.execute(
                "DELETE FROM told WHERE date <= (SELECT date FROM told ORDER BY date LIMIT 1 OFFSET ?)",
                (surplus - 1,),
            )
        for name in dict.fromkeys(row[0] for row in rows):
            for url in self._named(name, _OWN):
                page = self._load(url)
                if page is not None and (partner := self._find(page)) is not None:
                    self._release(page)
                    self._release(partner)
                    self._counts["paired"] += 2
                    yield page, partner

    def withdraw(self, of_site: str, covered: Callable[[str], bool]) -> None:
        """Let those pages of a site wait no longer whose rights are reserved.

        Args:
            of_site: the host, without `www.`.
            covered: whether the page at a canonical URL is one of them.
        """
        for scheme in ("http", "https"):
            for prefix in ("", "www."):
                start = f"{scheme}://{prefix}{of_site}/"
                rows = self._db.execute(
                    "SELECT url FROM pages WHERE blocks IS NOT NULL AND url >= ? AND url < ?",
                    (start, f"{start[:-1]}0"),  # the character behind the slash
                ).fetchall()
                for (url,) in rows:
                    if covered(url):
                        self._db.execute("DELETE FROM pages WHERE url = ?", (url,))
                        self.waiting -= 1
                        self._known -= 1
                        self._counts["opted_out"] += 1

    def _find(self, page: Page) -> Page | None:
        """The page that waits for this one: by hreflang, in either direction, or a sitemap, else by the key that they share."""
        told = self._db.execute(
            "SELECT url FROM told WHERE name = ? AND language <> ? AND date >= ? ORDER BY url",
            (address(page.url), page.language, self._horizon),
        ).fetchall()
        if told:
            more = [url for (url,) in told if url != page.url]
            page = replace(page, alternates=tuple(dict.fromkeys([*page.alternates, *more])))
        wanted = [(address(url), _OWN) for url in page.alternates]
        wanted += [(address(page.url), _CALLED), (site_key(page.key, page.language) or "", _SITE)]
        found = {url for name, kind in wanted for url in self._named(name, kind)}
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM pages WHERE blocks IS NOT NULL AND language <> ? AND date >= ? AND ("  # noqa: S608
            f"url IN ({', '.join('?' * len(found))}) OR key = ?) ORDER BY url",
            (page.language, self._horizon, *sorted(found), page.key),
        ).fetchall()
        best = min(rows, key=lambda row: _distance(page, row), default=None)
        if best is None or _distance(page, best) == _NEVER:
            return None
        return self._page(best)

    def _named(self, name: str, kind: int) -> list[str]:
        found = self._db.execute("SELECT url FROM names WHERE name = ? AND kind = ? LIMIT 100", (name, kind))
        return [url for (url,) in found]

    def _load(self, url: str) -> Page | None:
        """A page that waits."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM pages WHERE url = ? AND blocks IS NOT NULL AND date >= ?",  # noqa: S608
            (url, self._horizon),
        ).fetchone()
        return self._page(row) if row else None

    def _page(self, row: tuple[Any, ...]) -> Page:
        blocks = [
            Block(path, text, *map(tuple, more))
            for path, text, *more in orjson.loads(self._decompress(row[8]))
        ]
        return Page(*row[:4], _unpacked(row[4]), *row[5:8], blocks)  # type: ignore[call-arg]  # a row of as many columns

    def _release(self, page: Page) -> None:
        """Let a page wait no longer."""
        self._db.execute("UPDATE pages SET blocks = NULL WHERE url = ?", (page.url,))
        self.waiting -= 1

    def _put(self, page: Page, waiting: bool) -> None:
        blocks = self._compress(orjson.dumps([tuple(block) for block in page.blocks])) if waiting else None
        self.waiting += waiting
        self._db.execute(
            f"INSERT OR REPLACE INTO pages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                page.url,
                page.language,
                page.share,
                page.key,
                " ".join(page.alternates) or None,
                page.date,
                page.digest,
                page.fingerprint,
                blocks,
            ),
        )
        self._db.execute("DELETE FROM names WHERE url = ?", (page.url,))
        if waiting:
            self._name(page)

    def _name(self, page: Page) -> None:
        """Write down the names under which a page that waits can be found."""
        names = [(address(page.url), _OWN), *((address(url), _CALLED) for url in page.alternates)]
        if site := site_key(page.key, page.language):
            names.append((site, _SITE))
        rows = [(name, kind, page.url) for name, kind in names]
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", rows)

    @property
    def _horizon(self) -> int:
        return self.clock - self._wait

    def _expire(self) -> None:
        (expired,) = self._db.execute(
            "SELECT count(*) FROM pages WHERE date < ? AND blocks IS NOT NULL", (self._horizon,)
        ).fetchone()
        self._known -= self._db.execute("DELETE FROM pages WHERE date < ?", (self._horizon,)).rowcount
        self._db.execute("DELETE FROM told WHERE date < ?", (self._horizon,))
        surplus = self._known - self.waiting - _KNOWN * self._most
        if surplus > 0:
            self._known -= self._db.execute(
                "DELETE FROM pages WHERE url IN "
                "(SELECT url FROM pages WHERE blocks IS NULL ORDER BY date, url LIMIT ?)",
                (surplus,),
            ).rowcount
        self.waiting -= expired
        self._counts["expired"] += expired

    def _drop_oldest(self) -> None:
        self._db.execute(
            "DELETE FROM pages WHERE url IN (SELECT url FROM pages WHERE blocks IS NOT NULL ORDER BY date, url LIMIT 1)"
        )
        self.waiting -= 1
        self._known -= 1
        self._counts["crowded_out"] += 1


def _distance(page: Page, row: tuple[Any, ...]) -> int:
    """How surely a row is the translation of a page: 0 most; `_NEVER` if one names another page of the same site."""
    url, key, alternates = row[0], row[3], _unpacked(row[4])
    if url in page.alternates or page.url in alternates:
        return 0
    if address(url) in map(address, page.alternates) or address(page.url) in map(address, alternates):
        return 1
    if _elsewhere(page.alternates, url) or _elsewhere(alternates, page.url):
        return _NEVER
    return 2 if key == page.key else 3


def _elsewhere(alternates: tuple[str, ...], url: str) -> bool:
    """Whether a page names other pages of the same site as its translation."""
    return bool(alternates) and all(other != url and host(other) == host(url) for other in alternates)


def _unpacked(alternates: str | None) -> tuple[str, ...]:
    return tuple(alternates.split(" ")) if alternates else ()
