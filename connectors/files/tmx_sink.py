"""TMX 1.4, written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from connectors.files.base import FileSink
from connectors.files.fields import (
    LANGUAGES,
    as_text,
    decoded,
    no_sides,
    one_line,
    refuse_no_language,
    side_names,
    split_options,
)
from connectors.files.tmx import two_languages
from craft_stream.settings import RecordSettings

_OWN = ("src_", "tgt_")
_PRIVATE = ("qaa", "qab")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class TmxSink(FileSink):
    """Writes records as translation units; `memory.tmx?langs=en,fr` names the languages.

    Without it they are those of the first record's `src_lang` and `tgt_lang`, else `qaa` and `qab`, which ISO 639 keeps for
    private use; a later record's own stand in its unit. Every other field is a property: of its side, where its name begins
    with `src_` or `tgt_`, else of the unit.

    Attributes:
        languages_unknown: a record was written as `qaa` or `qab`.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, ("langs", "src", "tgt"))
        self._languages = two_languages(path, options["langs"]) if "langs" in options else None
        refuse_no_language(path, *(self._languages or ()))
        super().__init__(path)
        self._begun = False
        self.languages_unknown = False
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
            self.languages_unknown = self.languages_unknown or not (self._languages or all(own))
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


def _property(name: str, value: object) -> str:
    return "" if value is None else f"<prop type={_attribute(name)}>{_clean(as_text(value))}</prop>"


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("", one_line(text)))


def _clean(text: str) -> str:
    return escape(_NOT_XML.sub("", one_line(text)))
