"""TMX 1.4, read as a stream in constant memory, and written.

A file is cut into blocks of whole units, and each block is parsed by itself, by expat; where that fails, unit by unit. So
damage costs the unit that it is in, and a document type, with the entities that it declares or points to, is never in force: a
unit that uses other entities than XML's own five is damaged, not a unit without them. A file that declares some is refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import orjson

from connectors.files.base import FileSink, FileSource
from connectors.files.compression import first_bytes
from connectors.files.encoding import as_utf8
from connectors.files.fields import (
    LANGUAGES,
    as_text,
    decoded,
    is_encoding,
    no_sides,
    one_line,
    side_names,
    split_options,
    text_options,
)
from connectors.files.open import closed_on_error, open_input
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.language_tags import agree, choose, parse_tag
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_BLOCK = 1 << 16
_LARGEST_UNIT = 1 << 24  # bytes of one translation unit; what is larger is passed over
_LARGEST_HEAD = 1 << 20
_RAW = 1 << 12  # bytes that are kept of a unit that is too large
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})  # what they hold is another format's markup
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})")
_ENTITY = re.compile(rb"<!ENTITY\s+(?:%\s+)?([^\s>]{1,100})")
_SOURCE = re.compile(rb"<header\b[^>]*?\ssrclang\s*=\s*[\"']\s*([^\"']*?)\s*[\"']")
# comments go, CDATA becomes text: behind this a tag is a tag
_MARKED = re.compile(rb"<!--.*?-->|<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_UNFINISHED = re.compile(rb"<!--|<!\[CDATA\[")
_BEGIN = re.compile(rb"<body\b[^>]*>|(?=<tu[\s/>])")
_END = re.compile(rb"</tu\s*>")
# what stands between the units of files that were put one behind the other, or behind the last
_BETWEEN = re.compile(
    rb"</body\s*>\s*</tmx\s*>(?:\s*(?:<\?xml.*?)?<tmx\b(?:(?!<tu[\s>]).)*?<body\b[^>]*>)?", re.DOTALL
)
_ROOT = b"<x>"
_LANG = ("xml:lang", "lang")
_SOURCE_TAG, _TARGET_TAG = LANGUAGES
_PIECES = re.compile(rb"(?<=</tu>)|(?=<tu[\s/>])")


class _Unit(NamedTuple):
    """A translation unit.

    Attributes:
        identifier: its tuid.
        sides: text by language, as the language is spelt.
        fields: properties by language ("": of the unit) and name.
        start: where it begins in the bytes that were parsed.
    """

    identifier: str | None
    sides: dict[str, str]
    fields: dict[tuple[str, str], str]
    start: int


class TmxSource(FileSource):
    """Translation units as messages: offset = number of the unit from 0.

    The languages are the options of the path (`memory.tmx?langs=en,fr`), in any spelling; else the header's `srclang` and the
    first other one that comes with it; where no unit of the first block has it, the two languages of the first unit, in its
    order. They become the fields `src_lang` and `tgt_lang`. `tuid` becomes the id, properties, notes and attributes of the unit
    become fields, those of its two sides with `src_` and `tgt_` before their names. A unit without both languages, or that is
    not well-formed, or larger than 16 MiB, is a message with a `problem`; reading goes on behind it.

    Raises:
        DataError: the file cannot be read, declares entities, is in an unknown encoding, or holds no TMX.
        ConfigurationError: `langs` is not two languages.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ("langs",))
        member, encoding = text_options(path, options)
        self._names = (fields.id_field, fields.source_field, fields.target_field)
        self._languages = _asked(path, options["langs"]) if "langs" in options else None
        self._source = ""  # the header's
        self._chosen: dict[tuple[str, ...], tuple[str, str] | None] = {}
        self._ready: deque[Message] = deque()
        self._unit = 0
        self._held = b""  # bytes not yet done with
        self._begun = self._finished = False
        self._lost: bytes | None = None  # the beginning of a unit that is too large
        file = open_input(self._path, member)
        with closed_on_error(file):
            file, head = first_bytes(file, 512)
            declared = _DECLARED.search(head)
            name = encoding or (declared[1].decode("ascii") if declared else "utf-8")
            if not is_encoding(name):
                raise DataError(f"{self._path}: encoding {name} is not supported: convert it to UTF-8")
            if declared and name.lower().replace("_", "-").startswith(("utf-16", "utf-32", "ucs")):
                name = "utf-8"  # its declaration was read in ASCII
            self._file = as_utf8(file, name)

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next units; empty at the end."""
        while len(self._ready) < limit and not self._finished:
            self._advance()
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def _advance(self) -> None:
        """Take in a block, and make messages of the whole units that there are."""
        # as much again as is held without an end, so that a long unit is not searched over and over
        block = self._file.read(max(_BLOCK, len(self._held)))
        self._finished = not block
        if self._lost is not None:
            self._pass_over(block)
            return
        self._held += block
        if b"<!" in self._held:
            self._held = _MARKED.sub(_as_text, self._held)
        if not self._begun and not self._begin():
            return
        end = len(self._held) if self._finished else self._last_end()
        if end or self._finished:
            whole, self._held = self._held[:end], self._held[end:]
            self._parse(whole)
        elif len(self._held) > _LARGEST_UNIT:
            self._lost, self._held = self._held[:_RAW], self._held[-8:]

    def _begin(self) -> bool:
        """Pass over what stands before the first unit."""
        found = _BEGIN.search(self._held)
        if found is None and not self._finished and len(self._held) < _LARGEST_HEAD:
            return False
        head = self._held[: found.start()] if found else self._held
        if entity := _ENTITY.search(head):
            name = entity[1].decode("utf-8", "replace")
            raise DataError(
                f'{self._path} declares the entity "{name}": such files are refused, they can be made to explode'
            )
        if found is None or (b"<tmx" not in head and b"<header" not in head and found.end() > found.start()):
            raise DataError(f"{self._path} is no TMX: it has no <body> and no <tu>")
        if source := _SOURCE.search(head):
            self._source = source[1].decode("utf-8", "replace")
        self._held, self._begun = self._held[found.end() :], True
        return True

    def _last_end(self) -> int:
        """Where the last whole unit ends that stands before any unfinished comment; 0 if there is none."""
        unfinished = _UNFINISHED.search(self._held) if b"<!" in self._held else None
        limit = unfinished.start() if unfinished and len(self._held) < _LARGEST_HEAD else len(self._held)
        while (limit := self._held.rfind(b"</tu", 0, limit)) >= 0:
            if end := _END.match(self._held, limit):
                return end.end()
        return 0

    def _pass_over(self, block: bytes) -> None:
        """Go on behind a unit that is too large."""
        self._held += block
        found = _END.search(self._held)
        if found or self._finished:
            self._problem(self._lost or b"", f"a unit of more than {_LARGEST_UNIT} bytes")
            self._held, self._lost = self._held[found.end() if found else len(self._held) :], None
        else:
            self._held = self._held[-8:]

    def _parse(self, whole: bytes) -> None:
        ended = not self._finished
        if b"</body" in whole:
            ended = ended or _BETWEEN.search(whole) is not None
            whole = _BETWEEN.sub(b"", whole)
        try:
            pieces: list[tuple[bytes, list[_Unit] | str]] = [(whole, _units(whole))]
        except expat.ExpatError:
            pieces = [_tried(piece.strip()) for piece in filter(bytes.strip, _PIECES.split(whole))]
        if self._languages is None:
            found = [unit.sides for _, units in pieces if not isinstance(units, str) for unit in units]
            self._languages = _found(self._source, found)
        for piece, units in pieces:
            if isinstance(units, str):
                self._problem(piece, units)
                continue
            for unit in units:
                self._pair(unit, piece)
        if not ended:
            self._problem(b"", "the file ends without </body></tmx>: it is cut off, perhaps")

    def _pair(self, unit: _Unit, block: bytes) -> None:
        sides = unit.sides
        spelt = tuple(sides)
        if spelt not in self._chosen:
            if len(self._chosen) > _BLOCK:
                self._chosen.clear()
            self._chosen[spelt] = self._choose(spelt)
        chosen = self._chosen[spelt]
        if chosen is None:
            wanted = " and ".join(self._languages or ("two languages",))
            present = ", ".join(language or "no language" for language in spelt) or "no language"
            end = _END.search(block, unit.start)
            raw = block[unit.start : end.end() if end else len(block)]
            self._problem(raw, f"a unit with {present} where {wanted} were expected")
            return
        source, target = chosen
        id_field, source_field, target_field = self._names
        value = {
            source_field: sides[source],
            target_field: sides[target],
            _SOURCE_TAG: source,
            _TARGET_TAG: target,
        }
        if unit.identifier is not None:
            value = {id_field: unit.identifier, **value}
        for (language, name), text in unit.fields.items() if unit.fields else ():
            if not language:
                value.setdefault(name, text)
            elif language in chosen:
                value.setdefault(("src_", "tgt_")[chosen.index(language)] + name, text)
        self._ready.append(Message(orjson.dumps(value), self._unit, self._path))
        self._unit += 1

    def _choose(self, spelt: tuple[str, ...]) -> tuple[str, str] | None:
        if self._languages is None:
            return None
        source = choose(self._languages[0], spelt)
        target = choose(self._languages[1], [tag for tag in spelt if tag != source])
        return None if source is None or target is None else (source, target)

    def _problem(self, raw: bytes, problem: str) -> None:
        self._ready.append(Message(raw, self._unit, self._path, problem=problem))
        self._unit += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _as_text(marked: re.Match[bytes]) -> bytes:
    text = marked[1]
    return b"" if text is None else text.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


def _asked(path: str, langs: str) -> tuple[str, str]:
    tags = [tag.strip() for tag in langs.split(",")]
    if len(tags) != 2 or tags[0] == tags[1] or not all(tags):
        raise ConfigurationError(f'{path}: "langs={langs}" is not two languages, such as langs=en,fr')
    return tags[0], tags[1]


def _found(source: str, units: Sequence[dict[str, str]]) -> tuple[str, str] | None:
    """The languages of a memory: the header's and the first other one beside it, else those of the first unit with two."""
    several = [tags for sides in units if len(tags := [tag for tag in sides if tag]) > 1]
    named = [tags for tags in several if parse_tag(source) and choose(source, tags)]
    for tags in named or several:
        first = choose(source, tags) if named else None
        first = first or tags[0]
        others = [tag for tag in tags if tag != first]
        return first, next((tag for tag in others if not agree(tag, first)), others[0])
    return None


def _tried(piece: bytes) -> tuple[bytes, list[_Unit] | str]:
    """A piece with its units, or with what is wrong with it."""
    try:
        return piece, _units(piece)
    except expat.ExpatError as error:
        return piece, f"not well-formed: {expat.ErrorString(error.code)}"


def _units(block: bytes) -> list[_Unit]:
    """The units in a run of whole ones.

    Raises:
        ExpatError: it is not well-formed.
    """
    units: list[_Unit] = []
    handlers = _Handlers(units)
    parser = expat.ParserCreate("utf-8")
    handlers.parser = parser
    parser.buffer_text = parser.ordered_attributes = True
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.text
    try:
        parser.Parse(_ROOT)
        parser.Parse(block)
        parser.Parse(b"</x>", True)
    finally:
        del handlers.parser  # a circle, which would keep its block until the garbage is collected
    return units


class _Handlers:
    """What expat calls; attributes come as a list of names and values in turn."""

    parser: expat.XMLParserType

    def __init__(self, units: list[_Unit]) -> None:
        self._units = units
        self._identifier: str | None = None
        self._sides: dict[str, str] = {}
        self._fields: dict[tuple[str, str], str] = {}
        self._start = 0
        self._language = ""
        self._code = 0
        self._property = ""
        self._text: list[str] = []  # since the last tag that begins a text
        self.text = self._text.append

    def start(self, tag: str, attributes: list[str]) -> None:
        if tag == "seg":
            self._text.clear()
        elif tag == "tuv":
            if len(attributes) == 2 and attributes[0] == "xml:lang":
                self._language = attributes[1]
            else:
                self._begin_side(dict(zip(attributes[::2], attributes[1::2], strict=True)))
        elif tag == "tu":
            self._sides, self._fields, self._language = {}, {}, ""
            self._start = self.parser.CurrentByteIndex - len(_ROOT)
            if attributes:
                named = dict(zip(attributes[::2], attributes[1::2], strict=True))
                self._identifier = named.pop("tuid", None)
                self._fields = {("", name): text for name, text in named.items()} if named else {}
            else:
                self._identifier = None
        elif tag in _CODES:
            self._code += 1
            self.parser.CharacterDataHandler = None
        elif tag == "prop" or tag == "note":
            named = dict(zip(attributes[::2], attributes[1::2], strict=True))
            self._property = named.get("type", "") if tag == "prop" else "note"
            self._text.clear()

    def end(self, tag: str) -> None:
        if tag == "seg":
            self._sides.setdefault(self._language, "".join(self._text))
        elif tag == "tuv":
            pass
        elif tag == "tu":
            self._units.append(_Unit(self._identifier, self._sides, self._fields, self._start))
        elif tag in _CODES:
            self._code -= 1
            if not self._code:
                self.parser.CharacterDataHandler = self.text
        elif (tag == "prop" or tag == "note") and self._property:
            key, text = (self._language, self._property), "".join(self._text)
            fields = self._fields
            fields[key] = f"{fields[key]}\n{text}" if key in fields else text

    def _begin_side(self, attributes: dict[str, str]) -> None:
        self._language = language = (attributes.get("xml:lang") or attributes.get("lang") or "").strip()
        for name, text in attributes.items():
            if name not in _LANG:
                self._fields[language, name] = text


_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class TmxSink(FileSink):
    """Writes records as translation units; `memory.tmx?langs=en,fr` names the languages.

    Without it they are those of the first record's `src_lang` and `tgt_lang`, else `qaa` and `qab`, which ISO 639 keeps for
    private use; a later record's own stand in its unit. Every other field is a property: of its side, where its name begins
    with `src_` or `tgt_`, else of the unit.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, ("langs", "src", "tgt"))
        super().__init__(path)
        self._languages = _asked(path, options["langs"]) if "langs" in options else None
        self._begun = False
        self._sides = side_names(options)
        self._id = RecordSettings().id_field

    def _begin(self, language: str) -> None:
        self._begun = True
        self._file.write(
            '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header creationtool="craft-stream" '
            'creationtoolversion="1" segtype="sentence" o-tmf="none" adminlang="en" '
            f'srclang={_attribute(language)} datatype="plaintext"/><body>\n'.encode()
        )

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as a unit."""
        for value in values:
            record = decoded(value, self._path)
            texts = [as_text(record.pop(name, None)) for name in self._sides]
            if not all(texts):
                raise no_sides(self._path, self._sides, decoded(value, self._path))
            identifier = as_text(record.pop(self._id, None))
            own = [as_text(record.pop(name, None)) for name in LANGUAGES]
            languages = self._languages or [one or other for one, other in zip(own, _PRIVATE, strict=True)]
            if not self._begun:
                self._begin(languages[0])
            tuid = f" tuid={_attribute(identifier)}" if identifier else ""
            unit = [f"<tu{tuid}>", *(_property(*item) for item in record.items() if item[0][:4] not in _OWN)]
            for side, language, text in zip(_OWN, languages, texts, strict=True):
                unit.append(f"<tuv xml:lang={_attribute(language)}>")
                unit += [_property(name[4:], field) for name, field in record.items() if name[:4] == side]
                unit.append(f"<seg>{_clean(text)}</seg></tuv>")
            self._file.write(("".join(unit) + "</tu>\n").encode())

    def _finish(self) -> None:
        if not self._begun:
            self._begin((self._languages or _PRIVATE)[0])
        self._file.write(b"</body></tmx>\n")


_OWN = ("src_", "tgt_")
_PRIVATE = ("qaa", "qab")


def _property(name: str, value: object) -> str:
    return "" if value is None else f"<prop type={_attribute(name)}>{_clean(as_text(value))}</prop>"


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("", one_line(text)))


def _clean(text: str) -> str:
    return escape(_NOT_XML.sub("", one_line(text)))
