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

from connectors.crawl.partners import PAGES, Partners
from connectors.crawl.reservations import TABLE, Reservations
from connectors.crawl.warc import Position
from craft_stream.errors import ConfigurationError, DataError, IntegrityError

FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, start INTEGER NOT NULL, ordinal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (batch INTEGER PRIMARY KEY, records BLOB NOT NULL);
"""


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
        partners: the pages.
        reservations: what sites say of text and data mining.
    """

    def __init__(
        self,
        path: Path,
        languages: tuple[str, str],
        *,
        wait: int = 30 * 86_400,
        most_waiting: int = 1_000_000,
    ) -> None:
        self._wait, self._most_waiting = wait, most_waiting
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
            busy = "; is another crawl using it?" if "locked" in str(error) else ""
            raise ConfigurationError(f"cannot use the store {path}: {error}{busy}") from None
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
        for statement in (*PAGES, TABLE):
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
        self.partners = Partners(
            db, self.counts, clock=self._meta["clock"], wait=self._wait, most=self._most_waiting
        )
        self.reservations = Reservations(db)

    @property
    def identity(self) -> str:
        """Name of this store, of no other."""
        return str(self._meta["id"])

    def begin(self) -> None:
        """Begin a step."""
        self._db.execute("BEGIN IMMEDIATE")

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
        self._meta["counts"], self._meta["clock"] = dict(self.counts), self.partners.clock
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
