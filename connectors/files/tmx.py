"""TMX 1.4, read as a stream in constant memory.

A file is cut into blocks of whole units, and each block is parsed by itself, by expat; where that fails, unit by unit. So
damage costs the unit that it is in, and a document type, with the entities that it declares or points to, is never in force: a
unit that uses other entities than XML's own five is damaged, not a unit without them. A file that declares some is refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

import orjson

from connectors.files.base import FileSource
from connectors.files.compression import first_bytes
from connectors.files.encoding import as_utf8
from connectors.files.fields import (
    LANGUAGES,
    free_name,
    is_encoding,
    refuse_no_language,
    split_options,
    text_options,
)
from connectors.files.open import closed_on_error, open_input
from connectors.files.tmx_units import DamagedUnitError, Unit, bytes_of, parse_units, pieces
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.language_tags import agree, choose, parse_tag
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_BLOCK = 1 << 16
_LARGEST_UNIT = 1 << 24  # bytes of one translation unit; what is larger is passed over
_LARGEST_HEAD = 1 << 20
_RAW = 1 << 12  # bytes that are kept of a unit that is too large
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})")
_ENTITY = re.compile(rb"<!ENTITY\s+(?:%\s+)?([^\s>]{1,100})")
_SOURCE = re.compile(rb"<header\b[^>]*?\ssrclang\s*=\s*[\"']\s*([^\"']*?)\s*[\"']")
# comments go, CDATA becomes text: behind this a tag is a tag
_MARKED = re.compile(rb"<!--.*?-->|<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_UNFINISHED = re.compile(rb"<!--|<!\[CDATA\[")
_EMPTY = re.compile(rb"<body\b([^>]*)/>")
_BEGIN = re.compile(rb"<body\b[^>]*>|(?=<tu[\s/>])")
_END = re.compile(rb"</tu\s*>")
# what stands between the units of files that were put one behind the other, or behind the last
_BETWEEN = re.compile(
    rb"</body\s*>\s*</tmx\s*>(?:\s*(?:<\?xml.*?)?<tmx\b(?:(?!<tu[\s>]).)*?<body\b[^>]*>)?", re.DOTALL
)
_SOURCE_TAG, _TARGET_TAG = LANGUAGES


class TmxSource(FileSource):
    """Translation units as messages: offset = number of the unit from 0.

    The languages are the options of the path (`memory.tmx?langs=en,fr`), in any spelling; else the header's `srclang` and the
    first other one that comes with it; where no unit of the first block has it, the two languages of the first unit, in its
    order. They become the fields `src_lang` and `tgt_lang`. `tuid` becomes the id, properties, notes and attributes of the unit
    become fields, those of its two sides with `src_` and `tgt_` before their names; further texts of one language are its
    `variants`. A unit without both languages, or that is
    not well-formed, or larger than 16 MiB, is a message with a `problem`; reading goes on behind it.

    Raises:
        DataError: the file cannot be read, declares entities, is in an unknown encoding, or holds no TMX.
        ConfigurationError: `langs` is not two languages, or one that nothing is called by at the beginning of the file.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ("langs",))
        packing, encoding = text_options(path, options)
        self._names = (fields.id_field, fields.source_field, fields.target_field)
        self._languages = two_languages(path, options["langs"]) if "langs" in options else None
        self._source = ""  # the header's
        self._chosen: dict[tuple[str, ...], tuple[str, str] | None] = {}
        self._ready: deque[Message] = deque()
        self._unit = 0
        self._held = b""  # bytes not yet done with
        self._begun = self._finished = False
        self._lost: bytes | None = None  # the beginning of a unit that is too large
        file = open_input(self._path, packing)
        with closed_on_error(file):
            file, head = first_bytes(file, 512)
            declared = _DECLARED.search(head)
            name = encoding or (declared[1].decode("ascii") if declared else "utf-8")
            if not is_encoding(name):
                raise DataError(f"{self._path}: encoding {name} is not supported: convert it to UTF-8")
            if declared and name.lower().replace("_", "-").startswith(("utf-16", "utf-32", "ucs")):
                name = "utf-8"  # its declaration was read in ASCII
            self._file = file = as_utf8(file, name)
            if self._languages is not None:
                self._file, head = first_bytes(file, _BLOCK)
                strange = [
                    tag
                    for tag in self._languages
                    if not re.search(rb"[\"']%b[\"']" % re.escape(tag.encode()), head, re.I)
                ]
                refuse_no_language(path, *strange)

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
        self._held = _EMPTY.sub(rb"<body\1></body>", self._held)
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
        runs = [_tried(whole)]
        if isinstance(runs[0][1], DamagedUnitError):
            runs = [_tried(piece) for piece in pieces(whole)]
        if self._languages is None:
            found = [unit[1] for _, units in runs if isinstance(units, list) for unit in units]
            self._languages = _found(self._source, found)
        for run, units in runs:
            if isinstance(units, DamagedUnitError):
                self._problem(run, str(units))
                continue
            for number, unit in enumerate(units):
                self._pair(unit, run, number)
        if not ended:
            self._problem(b"", "the file ends without </body></tmx>: it is cut off, perhaps")

    def _pair(self, unit: Unit, run: bytes, number: int) -> None:
        identifier, sides, fields = unit
        spelt = tuple(sides)
        if spelt not in self._chosen:
            if len(self._chosen) > _BLOCK:
                self._chosen.clear()
            self._chosen[spelt] = self._choose(spelt)
        chosen = self._chosen[spelt]
        if chosen is None:
            wanted = " and ".join(self._languages or ("two languages",))
            present = ", ".join(language or "no language" for language in spelt) or "no language"
            self._problem(bytes_of(run, number), f"a unit with {present} where {wanted} were expected")
            return
        source, target = chosen
        id_field, source_field, target_field = self._names
        value = {
            source_field: sides[source],
            target_field: sides[target],
            _SOURCE_TAG: source,
            _TARGET_TAG: target,
        }
        if identifier is not None:
            value = {id_field: identifier, **value}
        for (language, name), text in fields.items() if fields else ():
            if not language:
                value[free_name(name, value)] = text
            elif language in chosen:
                value[free_name(("src_", "tgt_")[chosen.index(language)] + name, value)] = text
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


def two_languages(path: str, langs: str) -> tuple[str, str]:
    """The two tags that the option `langs` names.

    Raises:
        ConfigurationError: these are not two.
    """
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


def _tried(run: bytes) -> tuple[bytes, list[Unit] | DamagedUnitError]:
    """A run of units with them, or with what is wrong with it."""
    try:
        return run, parse_units(run)
    except DamagedUnitError as error:
        return run, error
