"""A server's response to a page: text, language, links to its translation; or the reason why it is none."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from connectors.crawl.blocks import Block, Document, NestingError, extract
from connectors.crawl.languages import shares
from connectors.crawl.urls import canonical, host, marked, neutral
from connectors.crawl.warc import Response

_HTML = ("text/html", "application/xhtml+xml", "")
_FORBIDDEN = re.compile(r"\b(noindex|noarchive|none)\b")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_HEAD = 4_096
_LEAST_CLAIMED = (
    1  # percent of the text in the language that URL or markup claim; sentences are looked at too
)
_LEAST_UNCLAIMED = 60


class SkippedError(Exception):
    """A response is no page to use; its text is the reason, from a closed list."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page in one of the two languages.

    Attributes:
        url: canonical.
        language: one of the two.
        share: percent of its text that is in it.
        key: what it shares with its translation (`urls.neutral`).
        alternate: canonical URL of its translation, as its hreflang link says; None without one.
        date: when it was fetched, seconds since 1970.
        digest: of the payload, as the WARC record gives it.
        fingerprint: of the text: equal fingerprints, equal pages.
        blocks: its text.
    """

    url: str
    language: str
    share: int
    key: str
    alternate: str | None
    date: int
    digest: str
    fingerprint: bytes
    blocks: list[Block]


def read_page(response: Response, languages: tuple[str, str]) -> Page:
    """Make a page of a response.

    Raises:
        SkippedError: `not_found` (a status other than 200), `no_url`, `not_html`, `binary`, `forbidden` (robots),
            `too_deep`, `no_text`, `other_language`, or `language_mismatch` (its text is not what URL and markup say).
    """
    if response.status != 200:
        raise SkippedError("not_found")
    url = canonical(response.url)
    if not url:
        raise SkippedError("no_url")
    if response.content_type not in _HTML:
        raise SkippedError("not_html")
    if _FORBIDDEN.search(response.robots):
        raise SkippedError("forbidden")
    try:
        document = extract(decode(response.body, response.charset))
    except NestingError:
        raise SkippedError("too_deep") from None
    if _FORBIDDEN.search(document.robots):
        raise SkippedError("forbidden")
    if not document.blocks:
        raise SkippedError("no_text")
    language, share = _language(document, url, languages)
    other = languages[language == languages[0]]
    alternate = _alternate(document.alternates, other, url)
    blocks = _with_link_keys(document.blocks, url, language)
    return Page(
        url,
        language,
        share,
        neutral(url, language),
        alternate if alternate != url else None,
        response.date,
        response.digest,
        blake2b(
            "\n".join(block.text for block in blocks).encode("utf-8", "replace"), digest_size=16
        ).digest(),
        blocks,
    )


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
    much of the original. Without a claim most of the text must be in one of the languages.
    """
    found = shares(block.text for block in document.blocks)
    declared = re.split("[-_,]", document.language)[0] if document.language else None
    claimed = [language for language in languages if declared == language or marked(url, language)]
    language = max(claimed or languages, key=lambda code: found.get(code, 0))
    share = found.get(language, 0)
    if share >= (_LEAST_CLAIMED if claimed else _LEAST_UNCLAIMED):
        return language, share
    raise SkippedError("language_mismatch" if any(code in found for code in languages) else "other_language")


def _alternate(alternates: dict[str, str], language: str, url: str) -> str | None:
    for code, href in alternates.items():
        if code.split("-")[0] == language:
            return canonical(href, url) or None
    return None


def _with_link_keys(blocks: list[Block], url: str, language: str) -> list[Block]:
    """Blocks with their links to the same site as keys that do not depend on the language (`key#place`); others go."""
    folder = url.partition("?")[0].rpartition("/")[0] + "/"
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
