"""HTML to blocks of text: paragraphs, headings, list items, cells, each with the tags that it stands in.

The tree is flattened in C (inline elements unwrapped, text nodes merged), which leaves one text node a block:
four times as many pages a second as walking the tree in Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from connectors.crawl.permission import reservation

MAX_DEPTH = 1_000  # the parser's time grows with the square of the depth: 1 ms at 1,000, 18 s at 100,000
MAX_ATTRIBUTES = 2_000  # of a tag: with their square, too, 5 s at 50,000
MAX_BLOCKS = 5_000
_PATH_LENGTH = 3  # tags that make a block's place: enough to tell a menu's item from a list's

_INLINE = re.split(
    " ",
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i ins kbd label mark nobr q s samp small span strike "
    "strong sub sup time tt u var wbr img",
)
_DROPPED = re.split(
    " ",
    "audio canvas head iframe math noscript object pre script select style svg template textarea title video",
)
_UNNESTED = frozenset(
    b"area base br col dd dt embed hr img input li link meta option p param source tbody td tfoot th thead tr track "
    b"wbr".split()
)  # void, or closed by the next one of their kind: never deep by themselves
# the number of a link or an anchor in the text, between two characters of the private use area, for as long as the
# tree is flattened
_MARK = re.compile("([\ue000\ue002])(\\d{1,6})\ue001")
_NUMBERED = re.compile(r"\d{3}")  # in a name that a tool made up, another one for each language
_SMALL = 1 << 16  # characters of a page that cannot hold more attributes than can be borne
_LONG = 1 << 13
_WHOLE_TAG = re.compile(r"""<[a-zA-Z](?:[^>"']++|"[^"]*+"|'[^']*+')*+""")
_QUOTED = re.compile(r"""("[^"]*")|('[^']*')""")
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)")


class Block(NamedTuple):
    """A run of text that stands by itself.

    Attributes:
        path: tags around it, the innermost last, joined by `/`.
        text: its text, white space normalised.
        links: where its links lead; as written until `pages.read_page` makes keys of them, which do not depend on
            the page's language.
        anchors: names under which links lead to it (`id`, `name`), or to its beginning.
    """

    path: str
    text: str
    links: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """What a page says, and what it says about itself.

    Attributes:
        blocks: its text.
        language: as declared (`lang`, `xml:lang`, `content-language`), lower case; None when it is not.
        alternates: hreflang and href of its links to translations, as written.
        robots: contents of its robots metadata.
        reserved: whether its metadata reserve the rights of text and data mining (`tdm-reservation`); None: they do not say.
        base: what its relative links stand beneath, as written; None: its own address.
    """

    blocks: list[Block]
    language: str | None
    alternates: list[tuple[str, str]]
    robots: list[str]
    reserved: bool | None
    base: str | None = None


class NestingError(ValueError):
    """The page nests deeper than `MAX_DEPTH` elements, or has a tag of more than `MAX_ATTRIBUTES` attributes."""


def extract(html: str) -> Document:
    """Parse a page.

    Raises:
        NestingError: it cannot be parsed in bounded time.
    """
    if len(html) > _SMALL and any(_has_too_many_attributes(tag[0]) for tag in _WHOLE_TAG.finditer(html)):
        raise NestingError
    starts = html.count("<") - html.count("</")
    if starts > MAX_DEPTH and _depth(html.encode("utf-8", "replace")) > MAX_DEPTH:
        raise NestingError
    tree = LexborHTMLParser(html)
    alternates = [
        (link.attributes.get("hreflang") or "", link.attributes.get("href") or "")
        for link in tree.css("link[rel~=alternate i][hreflang][href], a[rel~=alternate i][hreflang][href]")
    ]
    robots = _metadata(tree, "robots", "x-robots-tag")
    reserved = reservation(_metadata(tree, "tdm-reservation"))
    language = _language(tree)
    element = tree.css_first("base[href]")
    base = element.attributes.get("href") if element is not None else None
    return Document(_blocks(tree), language, alternates, robots, reserved, base)


def _metadata(tree: LexborHTMLParser, *names: str) -> list[str]:
    """Contents of the elements `meta` of these names, whatever attribute tells the name."""
    chosen = (
        f"meta[{attribute}={name} i]" for name in names for attribute in ("name", "property", "http-equiv")
    )
    return [meta.attributes.get("content") or "" for meta in tree.css(", ".join(chosen))]


def _has_too_many_attributes(tag: str) -> bool:
    return len(tag) > _LONG and len(_QUOTED.sub(" ", tag).replace("/", " ").split()) > MAX_ATTRIBUTES


def _depth(html: bytes) -> int:
    """How deep elements nest at most: an upper bound, since end tags that HTML lets one omit are not added."""
    depth = deepest = 0
    for match in _TAG.finditer(html):
        end, name = match.groups()
        if name.lower() in _UNNESTED:
            continue
        depth += -1 if end and depth else 0 if end else 1
        deepest = max(deepest, depth)
    return deepest


def _language(tree: LexborHTMLParser) -> str | None:
    root = tree.css_first("html")
    attributes = root.attributes if root is not None else {}
    declared = attributes.get("lang") or attributes.get("xml:lang")
    if not declared:
        meta = tree.css_first("meta[http-equiv=content-language i]")
        declared = meta.attributes.get("content") if meta is not None else None
    return declared.strip().lower() or None if declared else None


def _blocks(tree: LexborHTMLParser) -> list[Block]:
    body = tree.body
    if body is None:
        return []
    tree.strip_tags(_DROPPED, recursive=True)
    for node in tree.css("br"):
        node.replace_with(" ")
    marks: list[str] = []
    for node in tree.css("a[href], a[id], a[name]"):
        attributes = node.attributes
        href = attributes.get("href") or "#"
        if not href.startswith("#"):
            node.insert_after(f"\ue000{len(marks)}\ue001")
            marks.append(href)
        anchor = attributes.get("id") or attributes.get("name")
        if anchor and not _NUMBERED.search(anchor):
            node.insert_after(f"\ue002{len(marks)}\ue001")
            marks.append(anchor)
    tree.unwrap_tags(_INLINE, delete_empty=True)
    body.merge_text_nodes()
    blocks: list[Block] = []
    paths: dict[int, str] = {}
    anchors: list[str] = []
    for node in body.traverse(include_text=True, skip_empty=True):
        if node.tag != "-text":
            if (anchor := node.id) and not _NUMBERED.search(anchor):
                anchors.append(anchor)
            continue
        text = node.text_content or ""
        links: list[str] = []
        if "\ue001" in text:
            for kind, number in _MARK.findall(text):
                if int(number) < len(marks):
                    (links if kind == "\ue000" else anchors).append(marks[int(number)])
            text = _MARK.sub("", text)
        text = " ".join(text.split())
        parent = node.parent
        if not text or parent is None:
            continue
        path = paths.get(parent.mem_id)
        if path is None:
            path = paths[parent.mem_id] = _path(parent)
        blocks.append(Block(path, text, tuple(links), tuple(anchors)))
        anchors = []
        if len(blocks) == MAX_BLOCKS:
            break
    return blocks


def _path(node: LexborNode) -> str:
    tags: list[str] = []
    place: LexborNode | None = node
    while place is not None and len(tags) < _PATH_LENGTH and place.tag not in ("body", "html", None):
        tags.append(place.tag or "")
        place = place.parent
    return "/".join(reversed(tags))
