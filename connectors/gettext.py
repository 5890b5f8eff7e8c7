"""Message catalogues of gettext (.po and .mo): each translated message is a pair."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice

import orjson
import polib

from connectors.files.base import FileSource
from connectors.files.compression import PLAIN, Packing
from connectors.files.encoding import encoding_of
from connectors.files.fields import is_encoding, split_options, text_options
from connectors.files.open import open_input
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_MO = (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde")
_CHARSET = re.compile(rb"charset=([\w.:-]+)")
_WRONG = "\udc80"
_BLANK = re.compile(r"\n[ \t\r]*\n")


class GettextSource(FileSource):
    """The translated messages of one catalogue, in its order; offset = number of the pair from 0.

    What is untranslated, fuzzy or obsolete is no pair and is left out; a plural message gives two pairs, its
    singular and its plural. Records are made with the field names of the settings and an id `path#number`. A message that
    cannot be read, or is not in the catalogue's encoding, is a message with a `problem`.

    Raises:
        DataError: the file cannot be read as a catalogue.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ())
        self._fields = fields
        self._next = 0
        self._pairs = translations(self._path, *text_options(path, options))

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next pairs; empty at the end."""
        messages = []
        for source, target in islice(self._pairs, limit):
            record = {
                self._fields.id_field: f"{self._path}#{self._next}",
                self._fields.source_field: source,
                self._fields.target_field: target,
            }
            try:
                messages.append(Message(orjson.dumps(record), self._next, self._path))
            except orjson.JSONEncodeError:  # what could not be decoded
                raw = f"{source}\t{target}".encode("utf-8", "surrogateescape")
                problem = "not in the catalogue's encoding" if target else "not a message of gettext"
                messages.append(Message(raw, self._next, self._path, problem=problem))
            self._next += 1
        return messages

    def close(self) -> None:
        """Nothing is kept open."""


def translations(
    path: str, packing: Packing = PLAIN, encoding: str | None = None
) -> Iterator[tuple[str, str]]:
    """The translated messages of a catalogue, source and target; of a plural message its singular and its plural.

    What is not in the catalogue's encoding has lone surrogates in its place; what is no message is one text with them and
    no target.

    Raises:
        DataError: at once; the file cannot be read as a catalogue.
    """
    with open_input(path, packing) as file:
        data = file.read()
    try:
        entries = _catalogue(data, encoding)
    except (OSError, ValueError, IndexError, struct.error) as error:
        if (
            isinstance(error, OSError) and error.errno
        ):  # of the copy that polib reads; its own errors have no number
            raise DataError(f"cannot read {path}: {error}") from None
        raise DataError(f"{path} is no gettext catalogue: {error}") from None
    return (sides for entry in entries for sides in _sides(entry))


def _catalogue(data: bytes, encoding: str | None) -> list[polib.POEntry]:
    if data.startswith(_MO):
        with tempfile.NamedTemporaryFile(suffix=".mo") as file:  # polib reads these by name only
            file.write(data)
            file.flush()
            return list(polib.mofile(file.name).translated_entries())
    marked, mark = encoding_of(data[:4])
    charset = _CHARSET.search(data)
    name = encoding or (charset[1].decode("ascii") if charset and not mark and marked == "utf-8" else marked)
    text = data[mark:].decode(name if is_encoding(name) else "utf-8", "surrogateescape")
    try:
        return list(polib.pofile(text).translated_entries())
    except (OSError, ValueError):
        entries = list(_entries(text))
        if all(entry.msgid.endswith(_WRONG) for entry in entries):
            raise
        return entries


def _entries(text: str) -> Iterator[polib.POEntry]:
    """The messages of a catalogue that polib cannot read as a whole, one by one; what is none has a mark and no translation."""
    for part in _BLANK.split(text):
        if not part.strip():
            continue
        try:
            yield from polib.pofile(part + "\n").translated_entries()
        except (OSError, ValueError):
            yield polib.POEntry(msgid=part + _WRONG)


def _sides(entry: polib.POEntry | polib.MOEntry) -> Iterator[tuple[str, str]]:
    if not entry.msgid_plural:
        yield entry.msgid, entry.msgstr
        return
    forms = [entry.msgstr_plural[index] for index in sorted(entry.msgstr_plural)]
    yield from zip((entry.msgid, entry.msgid_plural), forms, strict=False)
