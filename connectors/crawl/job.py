"""The crawl itself: WARC files in, pairs out, a step at a time."""

from __future__ import annotations

import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from connectors.crawl.alignment import align
from connectors.crawl.pages import Page, SkippedError, read_page
from connectors.crawl.publish import Publisher
from connectors.crawl.reservations import read_reservations
from connectors.crawl.responses import Response
from connectors.crawl.sitemaps import read_sitemap
from connectors.crawl.store import Store
from connectors.crawl.takedown import Takedown
from connectors.crawl.urls import canonical, site
from connectors.crawl.warc import WarcFile, WarcStream
from connectors.files.compression import DAMAGE, ENDINGS
from craft_stream.errors import DataError
from craft_stream.settings import RecordSettings

ARCHIVE = ".wacz"  # a zip archive of WARC files, as Browsertrix makes them, or of such archives
SUFFIXES = (".warc", ".arc", ARCHIVE)  # packed or not
_NESTED = 2  # archives within one another
STEP_PAGES = 256
STEP_SECONDS = 1.0
POLL_SECONDS = 0.2
_MOST_FAILED = 0.01  # of the responses may raise what nobody foresaw; beyond it is a fault of ours
_FEW = 20
_PURE = 95  # percent of a page in its language, below which each sentence is looked at


class Crawl:
    """Reads responses, pairs pages, aligns them and publishes, until there is nothing left or it is told to stop.

    Args:
        inputs: WARC files and folders of them.
        languages: source and target.
        store: what has been done.
        publisher: where pairs go.
        takedown: what must not be used.
        fields: names of the fields of a record.
        follow: wait for more at the end of the files.
        max_bytes: largest page.
        failed: told of a page that raised something unforeseen; it is counted and passed over.

    Attributes:
        counts: of the store.
        other_languages: how many pages of this run were in each language that is not wanted, by code.
    """

    def __init__(
        self,
        inputs: Sequence[Path | WarcStream],
        languages: tuple[str, str],
        store: Store,
        publisher: Publisher,
        *,
        takedown: Takedown | None = None,
        fields: RecordSettings | None = None,
        follow: bool = False,
        max_bytes: int = 10 << 20,
        failed: Callable[[str, Exception], None] = lambda url, error: None,
    ) -> None:
        self.counts = store.counts
        self.other_languages: Counter[str] = Counter()
        self._inputs, self._languages = inputs, languages
        self._store, self._publisher = store, publisher
        self._takedown = takedown or Takedown(None)
        self._fields = fields or RecordSettings()
        self._follow, self._max_bytes, self._failed = follow, max_bytes, failed
        self._files: dict[str, WarcFile | WarcStream] = {}
        self._archives: set[str] = set()

    def run(
        self, stop: Callable[[], bool] = lambda: False, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Publish what an earlier run left over, then step until the end, or until `stop()`.

        Args:
            stop: asked between pages.
            progress: called after each step.
        """
        for batch, records in self._store.unpublished(self._publisher.committed()):
            self._publisher.publish(batch, records)
            self._store.published(batch)
        arrivals = self._arrivals()
        more = True
        while more and not stop():
            more = self._step(arrivals, stop)
            progress()

    def _step(self, arrivals: Iterator[Response | None], stop: Callable[[], bool]) -> bool:
        self._takedown.refresh()
        records: list[bytes] = []
        pages, more, idle = 0, True, False
        deadline = time.monotonic() + STEP_SECONDS
        self._store.begin()
        while pages < STEP_PAGES and time.monotonic() < deadline and not stop():
            try:
                response = next(arrivals)
            except StopIteration:
                more = False
                break
            if response is None:
                idle = True
                break
            pages += 1
            self.counts["bytes"] += len(response.body)
            records.extend(self._pairs(response))
        self.counts["responses"] += pages
        self.counts["pairs"] += len(records)
        for file in self._files.values():
            self.counts.update(file.skipped)
            file.skipped.clear()
        positions = {path: file.position for path, file in self._files.items() if isinstance(file, WarcFile)}
        failed = self.counts["failed"]
        if failed > max(_FEW, _MOST_FAILED * self.counts["responses"]):
            raise DataError(
                f"{failed} pages could not be worked on: that is no matter of bad pages; see the messages"
            )
        batch = self._store.commit(positions, records)
        if batch is not None:
            self._publisher.publish(batch, records)
            self._store.published(batch)
        if idle and not pages:
            time.sleep(POLL_SECONDS)
        return more

    def _arrivals(self) -> Iterator[Response | None]:
        """Responses of all files, in the order of their names; None when all has been read and more may come."""
        while True:
            for file in self._opened():
                yield from file.responses(final=not self._follow)
            if not self._follow:
                return
            yield None

    def _opened(self) -> Iterator[WarcFile | WarcStream]:
        for place in self._inputs:
            if isinstance(place, WarcStream):
                self._files.setdefault(str(place.path), place)
                yield place
                continue
            for path in warc_files(place):
                name = str(path.resolve())
                if path.name.lower().endswith(ARCHIVE):
                    yield from self._members(path, name)
                    continue
                if name not in self._files:
                    self._files[name] = WarcFile(path, self._store.position(name), max_bytes=self._max_bytes)
                yield self._files[name]

    def _members(self, path: Path, name: str) -> Iterator[WarcStream]:
        """The WARC files in a WACZ, once; like a pipe they are read from their beginning, and the store knows their pages."""
        if name in self._archives:
            return
        self._archives.add(name)
        with path.open("rb") as file:
            yield from self._archived(file, path, name)

    def _archived(self, file: BinaryIO, path: Path, name: str, depth: int = 1) -> Iterator[WarcStream]:
        try:
            opened = zipfile.ZipFile(file)
        except DAMAGE:
            self.counts["damaged"] += 1
            return
        with opened as archive:
            for member in filter(is_warc, archive.namelist()):
                own, place = f"{name}/{member}", path / member
                try:
                    stream = cast(BinaryIO, archive.open(member))
                except DAMAGE:
                    self.counts["damaged"] += 1
                    continue
                with stream:
                    if not member.lower().endswith(ARCHIVE):
                        inner = _Member(stream, max_bytes=self._max_bytes, path=place)
                        self._files[own] = inner
                        yield inner
                    elif depth < _NESTED:
                        yield from self._archived(stream, place, own, depth + 1)
                    else:
                        self.counts["damaged"] += 1

    def found(self) -> Counter[str]:
        """How many records there were in this run, by type; and files."""
        found = Counter({"files": len(self._files)})
        for file in self._files.values():
            found.update(file.kinds)
        return found

    def _pairs(self, response: Response) -> list[bytes]:
        url, reservations = canonical(response.url), self._store.reservations
        if self._takedown.covers(url):
            self.counts["taken_down"] += 1
            return []
        rules = read_reservations(response)
        if rules is not None:
            self.counts["reservations"] += 1
            if reservations.tell(url, rules, response.date):
                self._store.partners.withdraw(site(url), reservations.covers)
            return []
        told = read_sitemap(response, self._languages, self._max_bytes)
        if told is not None:
            self.counts["sitemaps"] += 1
            met = self._store.partners.tell(told, response.date)
            return [record for pages in met for record in self._of_two(*pages)]
        try:
            page = read_page(response, self._languages, reservations.covers(url))
        except SkippedError as reason:
            self.counts[str(reason)] += 1
            if reason.language:
                self.other_languages[reason.language] += 1
            return []
        except Exception as error:
            self.counts["failed"] += 1
            self._failed(response.url, error)
            return []
        partner = self._store.partners.take(page)
        return [] if partner is None else self._of_two(page, partner)

    def _of_two(self, page: Page, partner: Page) -> list[bytes]:
        """Records of two pages that have met."""
        if self._takedown.covers(page.url) or self._takedown.covers(partner.url):
            self.counts["taken_down"] += 1
            return []
        source, target = (page, partner) if page.language == self._languages[0] else (partner, page)
        try:
            return self._aligned(source, target)
        except Exception as error:
            self.counts["failed"] += 1
            self._failed(f"{source.url} {target.url}", error)
            return []

    def _aligned(self, source: Page, target: Page) -> list[bytes]:
        pages = b"\n".join(
            (
                source.url.encode(),
                target.url.encode(),
                source.fingerprint.hex().encode(),
                target.fingerprint.hex().encode(),
            )
        )
        fields, provenance = self._fields, _provenance(source, target)
        records = []
        mixed = min(source.share, target.share) < _PURE
        for pair in align(source.blocks, target.blocks, self._languages, mixed=mixed):
            place = (*pair.block, *pair.sentence)
            identity = blake2b(pages + repr(place).encode(), digest_size=12).hexdigest()
            records.append(
                orjson.dumps(
                    {
                        fields.id_field: identity,
                        fields.source_field: pair.source,
                        fields.target_field: pair.target,
                        "block": pair.block,
                        "sentence": pair.sentence,
                        "alignment": round(pair.score, 4),
                        **provenance,
                    }
                )
            )
        return records


class _Member(WarcStream):
    """A WARC in an archive: one that is none is damage, and others follow."""

    def responses(self, *, final: bool = True) -> Iterator[Response]:
        try:
            yield from super().responses(final=final)
        except DataError:
            self.skipped["damaged"] = max(1, self.skipped["damaged"])


def _provenance(source: Page, target: Page) -> dict[str, str]:
    return {
        "src_url": source.url,
        "tgt_url": target.url,
        "src_digest": source.digest,
        "tgt_digest": target.digest,
        "crawled": datetime.fromtimestamp(max(source.date, target.date), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def is_warc(name: str) -> bool:
    """Whether a file's name says that it is a WARC or ARC file, packed or not, or an archive of such."""
    bare = Path(name.lower())
    while bare.suffix in ENDINGS:
        bare = bare.with_suffix("")
    return bare.suffix in SUFFIXES


def warc_files(place: Path) -> list[Path]:
    """A WARC file itself, or all below a folder, in the order of their names.

    Raises:
        DataError: there is no such file or folder.
    """
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if is_warc(path.name) and path.is_file())
    if place.is_file():
        return [place]
    raise DataError(f"cannot read {place}: no such file or folder")
