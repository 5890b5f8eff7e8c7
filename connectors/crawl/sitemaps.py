"""Sitemaps: which pages of a site are translations of one another, where its sitemap says so and its pages do not."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from xml.parsers import expat

from connectors.crawl.responses import Response
from connectors.crawl.urls import canonical, site
from craft_stream.language_tags import agree

# behind a byte order mark, the declaration, comments and style sheets, whatever the server calls it
_URLSET = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?>(?:<\?.{0,1000}?\?>|<!--.{0,100000}?-->|<!DOCTYPE[^>]{0,1000}>)\s*+)*+<(?:\w+:)?urlset\b",
    re.DOTALL,
)
_DECLARED = re.compile(rb"\s*+<\?xml.{0,1000}?\?>", re.DOTALL)
_MOST = 50  # links of one page
_GZIP = b"\x1f\x8b"


class Told(NamedTuple):
    """What a sitemap says of one page.

    Attributes:
        url: canonical.
        language: of the other page, one of the crawl's two; "" where the sitemap does not say it.
        alternate: canonical URL of the other page.
    """

    url: str
    language: str
    alternate: str


def read_sitemap(response: Response, languages: tuple[str, str], limit: int) -> list[Told] | None:
    """Pages that a sitemap calls translations of one another; None where the response is no sitemap.

    Only entries for pages of its own host count. What follows damage is not read.

    Args:
        response: what a server answered, a `.xml.gz` unpacked or not.
        languages: the two of the crawl.
        limit: bytes, beyond which nothing is unpacked.
    """
    body = response.body
    if response.status != 200:
        return None
    if body.startswith(_GZIP):
        try:
            body = zlib.decompressobj(31).decompress(body, limit)
        except zlib.error:
            return None
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        body = body.decode("utf-16", "replace").encode("utf-8", "replace")
        if declared := _DECLARED.match(body):  # the encoding that it names is not that of the bytes any more
            body = body[declared.end() :]
    if not _URLSET.match(body):
        return None
    found: dict[Told, None] = {}
    own = site(canonical(response.url))
    for place, links in _entries(body):
        url = canonical(place)
        if url and site(url) == own:
            found.update(dict.fromkeys(_told(url, links, languages)))
    return list(found)


def _told(url: str, links: Iterable[tuple[str, str]], languages: tuple[str, str]) -> list[Told]:
    """Each page of the one language with each of the other; the entry's own, where no link names it, with all."""
    sides: tuple[list[str], list[str]] = ([], [])
    for code, href in list(links)[:_MOST]:
        for side, language in zip(sides, languages, strict=True):
            if agree(code.strip(), language) and (found := canonical(href, url)) and found not in side:
                side.append(found)
    told = []
    for one, other in ((0, 1), (1, 0)):
        told += [Told(page, languages[other], alternate) for page in sides[one] for alternate in sides[other]]
        if url not in sides[0] and url not in sides[1]:
            told += [Told(url, languages[other], alternate) for alternate in sides[other]]
            told += [Told(page, "", url) for page in sides[one]]
    return told


def _entries(body: bytes) -> list[tuple[str, list[tuple[str, str]]]]:
    """URL of each entry, and language and URL of its links."""
    entries: list[tuple[str, list[tuple[str, str]]]] = []
    links: list[tuple[str, str]] = []
    text: list[str] = []
    place = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal place
        kind = name.rpartition(":")[2]
        if kind == "url":
            links.clear()
            place = ""
        elif kind == "loc":
            text.clear()
        elif kind == "link" and "hreflang" in attributes and "href" in attributes:
            links.append((attributes["hreflang"], attributes["href"]))

    def end(name: str) -> None:
        nonlocal place
        if name == "loc" or name.endswith(":loc"):
            place = place or "".join(text)  # later ones are of pictures and films
        elif name == "url" or name.endswith(":url"):
            entries.append((place, links[:]))

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    with suppress(expat.ExpatError):  # what came before it counts
        parser.Parse(body.lstrip(), True)
    return entries
