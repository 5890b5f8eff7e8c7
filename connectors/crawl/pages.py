"""A server's response to a page: text, language, links to its translation; or the reason why it is none."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from connectors.crawl.blocks import Block, Document, NestingError, extract
from connectors.crawl.http import HTML
from connectors.crawl.permission import is_forbidden, is_reserved
from connectors.crawl.responses import Response
from connectors.crawl.urls import canonical, host, marked, neutral
from craft_stream.language_identification import shares
from craft_stream.language_tags import agree

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_BOMS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_LINK = re.compile(r"<([^<>]*)>((?:[^,\"<]|\"[^\"]*\")*)")
_PARAMETER = re.compile(r";\s*(\w+)\s*=\s*[\"']?([^\"';,]*)")
_MOST_ALTERNATES = 50
_HEAD = 4_096
_LEAST_CLAIMED = (
    1  # percent of the text in the language that URL or markup claim; sentences are looked at too
)
_LEAST_UNCLAIMED = 60


class SkippedError(Exception):
    """A response is no page to use; its text is the reason, from a closed list.

    Args:
        reason: the text.
        language: of a page that is in another than those that are wanted, by code; empty: not known.
    """

    def __init__(self, reason: str, language: str = "") -> None:
        super().__init__(reason)
        self.language = language


@dataclass(frozen=True, slots=True)
class Page:
    """A page in one of the two languages.

    Attributes:
        url: canonical.
        language: one of the two.
        share: percent of its text that is in it.
        key: what it shares with its translation (`urls.neutral`).
        alternates: canonical URLs of its translation, as its hreflang links say, for several regions perhaps.
        date: when it was fetched, seconds since 1970.
        digest: of the payload, as the WARC record gives it.
        fingerprint: of the text: equal fingerprints, equal pages.
        blocks: its text.
    """

    url: str
    language: str
    share: int
    key: str
    alternates: tuple[str, ...]
    date: int
    digest: str
    fingerprint: bytes
    blocks: list[Block]


def read_page(response: Response, languages: tuple[str, str], reserved: bool = False) -> Page:
    """Make a page of a response.

    Args:
        response: what the server answered.
        languages: the two of the crawl.
        reserved: whether its site reserves text and data mining, where the page itself says nothing of it.

    Raises:
        SkippedError: `not_found` (a status other than 200), `no_url`, `not_html`, `binary`, `forbidden` (robots),
            `opted_out` (of text and data mining), `too_deep`, `no_text`, `other_language`, or `language_mismatch` (its text
            is not what its URL says).
    """
    if response.status != 200:
        raise SkippedError("not_found")
    url = canonical(response.url)
    if not url:
        raise SkippedError("no_url")
    if response.content_type not in HTML:
        raise SkippedError("not_html")
    _ask(response.robots, response.reserved)
    try:
        document = extract(decode(response.body, response.charset))
    except NestingError:
        raise SkippedError("too_deep") from None
    _ask(document.robots, document.reserved)
    if reserved and response.reserved is None and document.reserved is None:
        raise SkippedError("opted_out")
    if not document.blocks:
        raise SkippedError("no_text")
    language, share = _language(document, url, languages)
    other = languages[language == languages[0]]
    base = (canonical(document.base, url) if document.base else "") or url
    alternates = (
        *_alternates(document.alternates, other, url, base),
        *_alternates(_linked(response.links), other, url, url),
    )
    blocks = _with_link_keys(document.blocks, base, language)
    return Page(
        url,
        language,
        share,
        neutral(url, language),
        tuple(dict.fromkeys(alternates)),
        response.date,
        response.digest,
        blake2b(
            "\n".join(block.text for block in blocks).encode("utf-8", "replace"), digest_size=16
        ).digest(),
        blocks,
    )


def _ask(robots: Iterable[str], reserved: bool | None) -> None:
    """Raise SkippedError where a page may not be used."""
    if is_forbidden(robots):
        raise SkippedError("forbidden")
    if reserved or is_reserved(robots):
        raise SkippedError("opted_out")


def decode(body: bytes, declared: str | None) -> str:
    """HTML as text, whatever its server says of its charset.

    UTF-8 first: text that is valid UTF-8 by chance is rare, and servers that declare Latin-1 for it are not.

    Raises:
        SkippedError: `binary`.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body.decode(name, "replace")
    if b"\0" in body[:_HEAD]:
        with suppress(LookupError, UnicodeError):
            name = codecs.lookup(declared or "").name
            if name in ("utf-16", "utf-32"):  # which end comes first is told by the zeros of markup
                name += "-be" if body[:_HEAD:2].count(0) > body[1:_HEAD:2].count(0) else "-le"
            if name.startswith(("utf-16", "utf-32")):
                return body.decode(name)
        raise SkippedError("binary")
    meta = _META_CHARSET.search(body[:_HEAD])
    charsets = [declared, meta[1].decode("ascii") if meta else None, "windows-1252"]
    charsets.insert(1 if b"\x1b$" in body else 0, "utf-8")  # ISO-2022 is ASCII with escapes
    for charset in charsets:
        try:
            return body.decode(codecs.lookup(charset).name) if charset else body.decode("utf-8")
        except (LookupError, UnicodeError):
            continue
    return body.decode("windows-1252", "replace")


def _language(document: Document, url: str, languages: tuple[str, str]) -> tuple[str, int]:
    """The page's language and the percent of its text that is in it.

    What URL and markup claim counts when a fair part of the text bears it out: pages of a translation under way keep
    much of the original. Without a claim, or where the markup alone makes it and the text says otherwise, as templates that
    nobody has translated do, most of the text must be in one of the languages.
    """
    texts = [block.text for block in document.blocks]
    found = shares(texts)
    declared = document.language.split(",")[0] if document.language else ""
    addressed = [language for language in languages if marked(url, language)]
    claimed = [language for language in languages if language in addressed or agree(declared, language)]
    if claimed and not any(found.get(language, 0) >= _LEAST_CLAIMED for language in claimed):
        found = shares(texts, whole=True)
    language = max(claimed or languages, key=lambda code: found.get(code, 0))
    if claimed and found.get(language, 0) >= _LEAST_CLAIMED:
        return language, found[language]
    if not addressed:
        language = max(languages, key=lambda code: found.get(code, 0))
        if found.get(language, 0) >= _LEAST_UNCLAIMED:
            return language, found[language]
    if any(code in found for code in languages):
        raise SkippedError("language_mismatch")
    raise SkippedError("other_language", max(found, key=lambda code: found[code], default=""))


def _alternates(links: Iterable[tuple[str, str]], language: str, url: str, base: str) -> tuple[str, ...]:
    """Canonical URLs of those links, relative to `base`, that are for a language, in their order; `url` itself is none."""
    hrefs = [href for code, href in links if agree(code.strip(), language)][:_MOST_ALTERNATES]
    return tuple(dict.fromkeys(found for href in hrefs if (found := canonical(href, base)) and found != url))


def _linked(headers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Language and URL of the translations that Link headers name."""
    for header in headers:
        for target, parameters in _LINK.findall(header[:_HEAD]):
            named = {name.lower(): value for name, value in _PARAMETER.findall(parameters)}
            if "alternate" in named.get("rel", "").lower().split() and "hreflang" in named:
                yield named["hreflang"], target


def _with_link_keys(blocks: list[Block], base: str, language: str) -> list[Block]:
    """Blocks with their links to the same site as keys that do not depend on the language (`key#place`); others go."""
    folder = base.partition("?")[0].rpartition("/")[0] + "/"
    return [
        block._replace(
            links=tuple(
                key for href in block.links if (key := _link_key(href.partition("#")[0], folder, language))
            )
        )
        if block.links
        else block
        for block in blocks
    ]


@lru_cache(maxsize=1 << 16)
def _link_key(href: str, folder: str, language: str) -> str:
    found, (_, mark, place) = canonical(href, folder), href.partition("#")
    return f"{neutral(found, language)}{mark}{place}" if found and host(found) == host(folder) else ""
