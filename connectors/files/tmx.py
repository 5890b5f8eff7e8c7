"""TMX 1.4, read as a stream in constant memory, and written.

Entities that a file declares itself are refused (they are how XML bombs are made); external ones are never fetched.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from xml.parsers import expat
from xml.sax.saxutils import escape

import orjson

from connectors.files.base import FileSink, FileSource
from connectors.files.fields import split_options, text_fields
from connectors.files.open import open_input
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_BLOCK = 1 << 16
_LARGEST_UNIT = 1 << 24  # bytes of one translation unit; a file without unit ends would fill the memory
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})  # what they hold is another format's markup
_OPENING = b"<tmx><body>"
_UNIT_END = b"</tu>"


class TmxSource(FileSource):
    """Translation units as messages: offset = number of the unit from 0.

    The languages are the options of the path (`memory.tmx?langs=en,fr`), else the header's `srclang` and the first
    other one. `tuid` becomes the id, properties of the unit become fields, those of its two sides with `src_` and
    `tgt_` before their names. A unit without both languages, or that is not well-formed, is a message with a
    `problem`; reading goes on behind it.

    Raises:
        DataError: the file cannot be read, declares entities, or has a unit of more than 16 MiB.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ("langs",))
        self._fields = fields
        self._languages: list[str] = [
            code.strip().lower() for code in options.get("langs", "").split(",") if code
        ]
        self._file = open_input(self._path)
        self._ready: deque[Message] = deque()
        self._unit = 0
        self._held, self._held_at, self._unit_at = (
            b"",
            0,
            0,
        )  # bytes not yet done with; the end of the last unit
        self._finished = False
        self._encoding = _encoding(self._path)
        self._unit_parser = _UnitParser(self)
        self._base = 0  # what to add to the parser's byte index

    def _restart(self, byte: int) -> None:
        self._unit_parser = _UnitParser(self, self._encoding)
        self._unit_parser.feed(_OPENING)
        self._base = byte - len(_OPENING)

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next units; empty at the end."""
        while len(self._ready) < limit and not self._finished:
            self._parse()
        messages: list[Message] = []
        while self._ready and len(messages) < limit:
            messages.append(self._ready.popleft())
        return messages

    def _parse(self) -> None:
        block = self._file.read(_BLOCK)
        self._trim()
        self._held += block
        if len(self._held) > _LARGEST_UNIT:
            raise DataError(f"{self._path}: a unit after {self._unit} is larger than {_LARGEST_UNIT} bytes")
        try:
            self._unit_parser.feed(block, final=not block)
        except expat.ExpatError as error:
            self._skip(error)
        else:
            self._finished = not block

    def _trim(self) -> None:
        self._held = self._held[self._unit_at - self._held_at :]
        self._held_at = self._unit_at

    def _skip(self, error: expat.ExpatError) -> None:
        """Pass over a unit that is not well-formed."""
        reason = f"not well-formed: {error}"
        self._trim()
        failed = max(0, self._unit_parser.index() + self._base - self._held_at)
        while (end := self._held.find(_UNIT_END, failed)) < 0:
            block = self._file.read(_BLOCK)
            if not block:
                if self._held.strip():
                    self._message(self._held, reason, self._held_at + len(self._held))
                self._finished = True
                return
            self._held += block
            if len(self._held) > _LARGEST_UNIT:
                raise DataError(f"{self._path}: {reason}")
        if self._encoding.startswith("utf-16"):
            raise DataError(f"{self._path}: {reason}")
        end += len(_UNIT_END)
        self._message(self._held[:end], reason, self._held_at + end)
        self._trim()
        rest = self._held
        self._restart(self._held_at)
        try:
            self._unit_parser.feed(rest)
        except expat.ExpatError as again:
            self._skip(again)

    def unit(self, identifier: str | None, sides: dict[str, str], fields: dict[str, str]) -> None:
        """Take a unit from the parser.

        Args:
            identifier: its tuid.
            sides: language to text.
            fields: properties by name.
        """
        end = self._unit_parser.index() + self._base + len(_UNIT_END)
        if not self._languages or len(self._languages) == 1:
            self._choose(sides)
        texts = [_text(sides, code) for code in self._languages]
        if len(texts) < 2 or None in texts:
            wanted = " and ".join(self._languages) or "two languages"
            raw = self._held[self._unit_at - self._held_at : max(0, end - self._held_at)]
            self._message(
                raw, f"a unit with {', '.join(sides) or 'no language'} where {wanted} were expected", end
            )
            return
        value: dict[str, str | None] = {} if identifier is None else {self._fields.id_field: identifier}
        value[self._fields.source_field], value[self._fields.target_field] = texts
        for name, text in fields.items():
            language, _, rest = name.partition("\t")
            if not rest:
                value.setdefault(name, text)
            elif language in self._languages:
                value.setdefault(("src_", "tgt_")[self._languages.index(language)] + rest, text)
        self._append(Message(orjson.dumps(value), self._unit, self._path), end)

    def header(self, language: str) -> None:
        """Take the header's source language."""
        if not self._languages and language and language != "*all*":
            self._languages = [language.lower()]

    def _choose(self, sides: dict[str, str]) -> None:
        if not self._languages:
            self._languages = list(sides)[:2] if len(sides) > 1 else []
        else:
            source = self._languages[0].split("-")[0]
            others = [code for code in sides if code.split("-")[0] != source]
            if others and len(sides) > 1:
                self._languages.append(others[0])

    def _message(self, raw: bytes, problem: str, end: int) -> None:
        self._append(Message(raw, self._unit, self._path, problem=problem), end)

    def _append(self, message: Message, end: int) -> None:
        self._ready.append(message)
        self._unit += 1
        self._unit_at = end

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _encoding(path: str) -> str:
    """The encoding that the file says it has, lower case."""
    with open_input(path) as file:
        head = file.read(256)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    declared = re.search(rb"encoding\s*=\s*[\"']([\w-]+)", head)
    return declared[1].decode("ascii").lower() if declared else "utf-8"


def _text(sides: dict[str, str], code: str) -> str | None:
    """Text in a language; `en` also finds `en-GB`."""
    if code in sides:
        return sides[code]
    base = code.split("-")[0]
    return next((text for name, text in sides.items() if name.split("-")[0] == base), None)


class _UnitParser:
    """Expat with the handlers of TMX; hands each unit to its source."""

    def __init__(self, source: TmxSource, encoding: str | None = None) -> None:
        self._source = source
        self._parser = expat.ParserCreate(encoding)
        self._parser.buffer_text = True
        self._parser.buffer_size = 1 << 14
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._identifier: str | None = None
        self._sides: dict[str, str] = {}
        self._fields: dict[str, str] = {}
        self._language = ""
        self._text: list[str] = []
        self._code = 0
        self._property: str | None = None

    def feed(self, block: bytes, final: bool = False) -> None:
        self._parser.Parse(block, final)

    def index(self) -> int:
        return int(
            self._parser.CurrentByteIndex
            if self._parser.CurrentByteIndex >= 0
            else self._parser.ErrorByteIndex
        )

    def _refuse(self, name: str, *_: object) -> None:
        raise DataError(
            f'the file declares the entity "{name}": such files are refused, they can be made to explode'
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower()
        elif tag == "seg":
            self._text = []
            self._parser.CharacterDataHandler = self._text.append
        elif tag == "tu":
            self._identifier = attributes.get("tuid")
            self._sides, self._fields, self._language = {}, {}, ""
        elif tag in _CODES:
            self._code += 1
            self._parser.CharacterDataHandler = None
        elif tag == "prop":
            self._property = attributes.get("type")
            self._text = []
            self._parser.CharacterDataHandler = self._text.append
        elif tag == "header":
            self._source.header(attributes.get("srclang", ""))

    def _end(self, tag: str) -> None:
        if tag == "seg":
            self._sides[self._language] = "".join(self._text)
            self._parser.CharacterDataHandler = None
        elif tag == "tu":
            self._source.unit(self._identifier, self._sides, self._fields)
        elif tag in _CODES:
            self._code -= 1
            if not self._code:
                self._parser.CharacterDataHandler = self._text.append
        elif tag == "prop":
            if self._property:
                name = f"{self._language}\t{self._property}" if self._language else self._property
                self._fields[name] = "".join(self._text)
            self._parser.CharacterDataHandler = None


_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class TmxSink(FileSink):
    """Writes records as translation units; `memory.tmx?langs=en,fr` names the languages.

    Without it they are `qaa` and `qab`, which ISO 639 keeps for private use.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, ("langs",))
        super().__init__(path)
        languages = options.get("langs", "qaa,qab").split(",")
        self._source, self._target = languages[0], languages[-1]
        default = RecordSettings()
        self._names = (default.source_field, default.target_field, default.id_field)
        self._file.write(
            '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header creationtool="craft-stream" '
            'creationtoolversion="1" segtype="sentence" o-tmf="none" adminlang="en" '
            f'srclang="{self._source}" datatype="plaintext"/><body>\n'.encode()
        )

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as a unit."""
        for source, target, identifier in text_fields(values, self._names, self._path):
            tuid = f' tuid="{_clean(identifier, quote=True)}"' if identifier else ""
            self._file.write(
                f'<tu{tuid}><tuv xml:lang="{self._source}"><seg>{_clean(source)}</seg></tuv>'
                f'<tuv xml:lang="{self._target}"><seg>{_clean(target)}</seg></tuv></tu>\n'.encode()
            )

    def _finish(self) -> None:
        self._file.write(b"</body></tmx>\n")


def _clean(text: str, quote: bool = False) -> str:
    return escape(_NOT_XML.sub("", text), {'"': "&quot;"} if quote else {})
