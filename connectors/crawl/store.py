"""What a crawl has done and what it waits for, in one SQLite file: pages, positions, pairs not yet published.

Every step is one transaction: the pages that it took in, how far each WARC file was read, and a numbered batch of the
pairs that came of it. The batch is published next, and what it is published to remembers its number; so whatever
moment the process dies at, what is missing there is published again from here, and nothing else.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import orjson
import zstandard

from connectors.crawl.blocks import Block
from connectors.crawl.pages import Page
from connectors.crawl.urls import address, host, site_key
from connectors.crawl.warc import Position
from craft_stream.errors import ConfigurationError, DataError, IntegrityError

FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, start INTEGER NOT NULL, ordinal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (batch INTEGER PRIMARY KEY, records BLOB NOT NULL);
CREATE TABLE pages (
  url TEXT PRIMARY KEY, language TEXT NOT NULL, share INTEGER NOT NULL, key TEXT NOT NULL, alternate TEXT,
  date INTEGER NOT NULL, digest TEXT NOT NULL, fingerprint BLOB NOT NULL, blocks BLOB
) WITHOUT ROWID;
CREATE INDEX pages_key ON pages (key) WHERE blocks IS NOT NULL;
CREATE INDEX pages_date ON pages (date);
"""
# Names under which a page that waits can be found: its own address, those of the pages that it calls its translation, and
# the key that it shares with it on a site with a domain for each language. Those of older stores are found by `pages.key` only.
_NAMES = (
    "CREATE TABLE IF NOT EXISTS names (name TEXT, kind INTEGER, url TEXT, PRIMARY KEY (name, kind, url)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS names_url ON names (url)",
    "CREATE TRIGGER IF NOT EXISTS gone AFTER DELETE ON pages BEGIN DELETE FROM names WHERE url = OLD.url; END",
    "CREATE TRIGGER IF NOT EXISTS paired AFTER UPDATE OF blocks ON pages WHEN NEW.blocks IS NULL "
    "BEGIN DELETE FROM names WHERE url = OLD.url; END",
)
_OWN, _CALLED, _SITE = range(3)
_NEVER = 9
_COLUMNS = "url, language, share, key, alternate, date, digest, fingerprint, blocks"
_CLEAN_EVERY = 256  # pages between two removals of what has expired


class Store:
    """Pages by canonical URL, read positions, and the batches that wait to be published.

    Args:
        path: the SQLite file; made when it does not exist. One process at a time.
        languages: of the crawl; a store serves one pair.
        wait: seconds of crawl time that a page is kept for its partner (and known as a duplicate afterwards). Crawl time
            is the newest fetch date seen, so that a pass over old files and one that follows decide alike.
        most_waiting: pages that wait at most; beyond it the oldest go. Of paired pages, ten times as many are known (some
            200 bytes each), so that they are not paired again.

    Attributes:
        counts: of pages by what became of them, since the store was made.
    """

    def __init__(
        self,
        path: Path,
        languages: tuple[str, str],
        *,
        wait: int = 30 * 86_400,
        most_waiting: int = 1_000_000,
    ) -> None:
        self._wait, self._most = wait, most_waiting
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.2)
            try:
                self._open(path, languages)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            raise ConfigurationError(
                f"cannot use the store {path}: {error}; is another crawl using it?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"{path} is no store of a crawl: {error}") from None

    def _open(self, path: Path, languages: tuple[str, str]) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            made = {
                "format": FORMAT,
                "id": uuid.uuid4().hex,
                "languages": list(languages),
                "clock": 0,
                "batch": 0,
            }
            self._meta: dict[str, Any] = made
            self._save_meta()
        for statement in _NAMES:
            db.execute(statement)
        db.execute("COMMIT")
        self._meta = {name: orjson.loads(value) for name, value in db.execute("SELECT name, value FROM meta")}
        if self._meta.get("format") != FORMAT:
            raise IntegrityError(f"{path} has format {self._meta.get('format')}; this version reads {FORMAT}")
        if self._meta["languages"] != list(languages):
            kept = ",".join(self._meta["languages"])
            raise ConfigurationError(
                f"{path} is the store of a crawl of {kept}: give each pair of languages its own"
            )
        self.counts: Counter[str] = Counter(self._meta.get("counts", {}))
        self._waiting = db.execute("SELECT count(*) FROM pages WHERE blocks IS NOT NULL").fetchone()[0]
        self._known = db.execute("SELECT count(*) FROM pages").fetchone()[0]
        self._taken = 0

    @property
    def identity(self) -> str:
        """Name of this store, of no other."""
        return str(self._meta["id"])

    @property
    def waiting(self) -> int:
        """Pages whose partner has not come."""
        return int(self._waiting)

    def begin(self) -> None:
        """Begin a step."""
        self._db.execute("BEGIN IMMEDIATE")

    def take(self, page: Page) -> Page | None:
        """Take a page in; its partner when that has come before, and then neither waits any more.

        A page whose text has been seen already at its URL is a duplicate and does nothing. One whose text has changed
        takes the place of the old one.
        """
        self._meta["clock"] = max(self._meta["clock"], page.date)
        self._taken += 1
        if self._taken % _CLEAN_EVERY == 0:
            self._expire()
        known = self._db.execute(
            "SELECT fingerprint, blocks IS NOT NULL, date FROM pages WHERE url = ?", (page.url,)
        ).fetchone()
        if known is not None and known[2] >= self._horizon:
            if known[0] == page.fingerprint:
                self.counts["duplicate"] += 1
                return None
            self.counts["changed"] += 1
        if known is None:
            self._known += 1
        else:
            self._waiting -= known[1]
        partner = self._partner(page)
        self._put(page, waiting=partner is None)
        if partner is not None:
            self._db.execute("UPDATE pages SET blocks = NULL WHERE url = ?", (partner.url,))
            self._waiting -= 1
            self.counts["paired"] += 2
        elif self._waiting > self._most:
            self._drop_oldest()
        return partner

    def _partner(self, page: Page) -> Page | None:
        """The page that waits for this one: by hreflang, in either direction, else by the key that they share."""
        wanted = [(address(url), _OWN) for url in page.alternates]
        wanted += [(address(page.url), _CALLED), (site_key(page.key, page.language) or "", _SITE)]
        found = {url for name, kind in wanted for url in self._named(name, kind)}
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM pages WHERE blocks IS NOT NULL AND language <> ? AND date >= ? AND ("  # noqa: S608
            f"url IN ({', '.join('?' * len(found))}) OR key = ?) ORDER BY url",
            (page.language, self._horizon, *sorted(found), page.key),
        ).fetchall()
        best = min(rows, key=lambda row: self._distance(page, row), default=None)
        if best is None or self._distance(page, best) == _NEVER:
            return None
        blocks = [
            Block(path, text, *map(tuple, more))
            for path, text, *more in orjson.loads(self._decompress(best[8]))
        ]
        return Page(*best[:4], _unpacked(best[4]), *best[5:8], blocks)  # type: ignore[call-arg]  # a row of as many columns

    def _named(self, name: str, kind: int) -> list[str]:
        found = self._db.execute("SELECT url FROM names WHERE name = ? AND kind = ? LIMIT 100", (name, kind))
        return [url for (url,) in found]

    @staticmethod
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

    def _name(self, page: Page) -> None:
        """Write down the names under which a page that waits can be found."""
        names = [(address(page.url), _OWN), *((address(url), _CALLED) for url in page.alternates)]
        if site := site_key(page.key, page.language):
            names.append((site, _SITE))
        rows = [(name, kind, page.url) for name, kind in names]
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", rows)

    def _put(self, page: Page, waiting: bool) -> None:
        blocks = self._compress(orjson.dumps([tuple(block) for block in page.blocks])) if waiting else None
        self._waiting += waiting
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

    @property
    def _horizon(self) -> int:
        return int(self._meta["clock"]) - self._wait

    def _expire(self) -> None:
        (expired,) = self._db.execute(
            "SELECT count(*) FROM pages WHERE date < ? AND blocks IS NOT NULL", (self._horizon,)
        ).fetchone()
        self._known -= self._db.execute("DELETE FROM pages WHERE date < ?", (self._horizon,)).rowcount
        surplus = self._known - self._waiting - 10 * self._most
        if surplus > 0:
            self._known -= self._db.execute(
                "DELETE FROM pages WHERE url IN "
                "(SELECT url FROM pages WHERE blocks IS NULL ORDER BY date, url LIMIT ?)",
                (surplus,),
            ).rowcount
        self._waiting -= expired
        self.counts["expired"] += expired

    def _drop_oldest(self) -> None:
        self._db.execute(
            "DELETE FROM pages WHERE url IN (SELECT url FROM pages WHERE blocks IS NOT NULL ORDER BY date, url LIMIT 1)"
        )
        self._waiting -= 1
        self._known -= 1
        self.counts["crowded_out"] += 1

    def position(self, path: str) -> Position:
        """How far a file was read."""
        row = self._db.execute("SELECT start, ordinal FROM files WHERE path = ?", (path,)).fetchone()
        return Position(*row) if row else Position()

    def commit(self, positions: dict[str, Position], records: Sequence[bytes]) -> int | None:
        """End a step: all of it is durable; the number of the batch to publish, None when there is nothing to.

        Args:
            positions: how far files were read.
            records: pairs as JSON, none with a newline.
        """
        for path, position in positions.items():
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, *position))
        batch = None
        if records:
            self._meta["batch"] += 1
            batch = int(self._meta["batch"])
            self._db.execute("INSERT INTO outbox VALUES (?, ?)", (batch, self._compress(b"\n".join(records))))
        self._meta["counts"] = dict(self.counts)
        self._save_meta()
        self._db.execute("COMMIT")
        return batch

    def published(self, batch: int) -> None:
        """Forget batches up to this one."""
        self._db.execute("DELETE FROM outbox WHERE batch <= ?", (batch,))

    def unpublished(self, committed: int) -> list[tuple[int, list[bytes]]]:
        """Batches after the last one that was published, in order.

        Raises:
            DataError: more was published than this store knows of: it is an old copy, or lost its newest part.
        """
        if committed > self._meta["batch"]:
            raise DataError(
                f"batch {committed} was published and the store ends at {self._meta['batch']}: it is an old copy; "
                "start with a new store under another --name, and let the selector drop what comes twice"
            )
        self.published(committed)
        rows = self._db.execute("SELECT batch, records FROM outbox ORDER BY batch").fetchall()
        return [(batch, self._decompress(records).split(b"\n")) for batch, records in rows]

    def _save_meta(self) -> None:
        rows = [(name, orjson.dumps(value).decode()) for name, value in self._meta.items()]
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file; a step that was not committed is undone."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _elsewhere(alternates: tuple[str, ...], url: str) -> bool:
    """Whether a page names other pages of the same site as its translation."""
    return bool(alternates) and all(other != url and host(other) == host(url) for other in alternates)


def _unpacked(alternates: str | None) -> tuple[str, ...]:
    return tuple(alternates.split(" ")) if alternates else ()
