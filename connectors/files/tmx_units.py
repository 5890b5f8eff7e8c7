"""Translation units of TMX: bytes in, texts by language out; by expat.

No document type is in force: a unit that uses other entities than XML's own five is damaged, not a unit without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.parsers import expat

_ROOT = b"<x>"
_LANG = ("xml:lang", "lang")
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})  # what they hold is another format's markup
_PIECES = re.compile(rb"(?<=</tu>)|(?=<tu[\s/>])")
_BEGIN = re.compile(rb"\s*<tu[\s/>]")

# tuid; text by language, as the language is spelt; properties by language ("": of the unit) and name. No class: a tenth of
# the time of a file without properties.
Unit = tuple[str | None, dict[str, str], dict[tuple[str, str], str]]


class DamagedUnitError(ValueError):
    """A run of units is not well-formed, or holds something else; its text says what."""


def parse_units(block: bytes) -> list[Unit]:
    """The units in a run of whole ones.

    Raises:
        DamagedUnitError: not all of it can be read.
    """
    units: list[Unit] = []
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = parser.ordered_attributes = True
    handlers = _Handlers(units, parser)
    try:
        parser.Parse(_ROOT)
        parser.StartElementHandler = handlers.start
        parser.EndElementHandler = handlers.end
        parser.CharacterDataHandler = handlers.text
        parser.Parse(block)
        parser.Parse(b"</x>", True)
    except expat.ExpatError as error:
        raise DamagedUnitError(f"not well-formed: {expat.ErrorString(error.code)}") from None
    finally:
        handlers.release()
    return units


def pieces(block: bytes) -> list[bytes]:
    """A run of units cut into single ones, as far as that can be told where it is damaged; and what stands between them."""
    return [stripped for piece in _PIECES.split(block) if (stripped := piece.strip())]


def bytes_of(block: bytes, number: int) -> bytes:
    """The bytes of a unit of a run, numbered from 0."""
    return [piece for piece in pieces(block) if _BEGIN.match(piece)][number]


class _Handlers:
    """What expat calls; attributes come as a list of names and values in turn."""

    def __init__(self, units: list[Unit], parser: expat.XMLParserType) -> None:
        self._add = units.append
        self._parser: expat.XMLParserType | None = parser
        self._identifier: str | None = None
        self._sides: dict[str, str] = {}
        self._fields: dict[tuple[str, str], str] = {}
        self._within = False  # a unit
        self._language = ""
        self._code = 0
        self._property = ""
        self._text: list[str] = []  # since the last tag that begins a text
        self.text = self._text.append

    def release(self) -> None:
        """Forget the parser: a circle, which would keep its block until the garbage is collected."""
        self._parser = None

    def start(self, tag: str, attributes: list[str]) -> None:
        if tag == "seg":
            self._text.clear()
        elif tag == "tuv":
            if len(attributes) == 2 and attributes[0] == "xml:lang":
                self._language = attributes[1].strip()
            else:
                self._begin_side(dict(zip(attributes[::2], attributes[1::2], strict=True)))
        elif tag == "tu":
            self._sides, self._fields, self._language = {}, {}, ""
            self._within = True
            if attributes:
                named = dict(zip(attributes[::2], attributes[1::2], strict=True))
                self._identifier = named.pop("tuid", None)
                self._fields = {("", name): text for name, text in named.items()} if named else {}
            else:
                self._identifier = None
        elif tag in _CODES:
            self._code += 1
            self._hear(None)
        elif tag == "prop" or tag == "note":
            named = dict(zip(attributes[::2], attributes[1::2], strict=True))
            self._property = named.get("type", "") if tag == "prop" else "note"
            self._text.clear()
        elif not self._within:
            raise DamagedUnitError(f"<{tag}> where <tu> was expected")

    def end(self, tag: str) -> None:
        if tag == "seg":
            text = "".join(self._text)
            if self._sides.setdefault(self._language, text) is not text:  # another translation
                self._add_field("variants", text)
        elif tag == "tuv":
            pass
        elif tag == "tu":
            self._add((self._identifier, self._sides, self._fields))
            self._within = False
        elif tag in _CODES:
            self._code -= 1
            if not self._code:
                self._hear(self.text)
        elif (tag == "prop" or tag == "note") and self._property:
            self._add_field(self._property, "".join(self._text))

    def _add_field(self, name: str, text: str) -> None:
        key, fields = (self._language, name), self._fields
        fields[key] = f"{fields[key]}\n{text}" if key in fields else text

    def _begin_side(self, attributes: dict[str, str]) -> None:
        self._language = language = (attributes.get("xml:lang") or attributes.get("lang") or "").strip()
        for name, text in attributes.items():
            if name not in _LANG:
                self._fields[language, name] = text

    def _hear(self, text: Callable[[str], None] | None) -> None:
        assert self._parser is not None  # noqa: S101  # while it parses
        self._parser.CharacterDataHandler = text
