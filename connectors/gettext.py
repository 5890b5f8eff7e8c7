"""Message catalogues of gettext (.po and .mo): each translated message is a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import orjson
import polib

from connectors.files.base import FileSource
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings


class GettextSource(FileSource):
    """The translated messages of one catalogue, in its order; offset = number of the pair from 0.

    What is untranslated, fuzzy or obsolete is no pair and is left out; a plural message gives two pairs, its
    singular and its plural. Records are made with the field names of `record` and an id `path#number`.

    Raises:
        DataError: the file cannot be read as a catalogue.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path = path
        self._fields = fields
        self._next = 0
        self._pairs = _pairs(_catalogue(path))

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next pairs; empty at the end."""
        messages = []
        for source, target in islice(self._pairs, limit):
            value = orjson.dumps(
                {
                    self._fields.id_field: f"{self._path}#{self._next}",
                    self._fields.source_field: source,
                    self._fields.target_field: target,
                }
            )
            messages.append(Message(value, self._next, self._path))
            self._next += 1
        return messages

    def close(self) -> None:
        """Nothing is kept open."""


def _catalogue(path: str) -> polib.POFile | polib.MOFile:
    if not Path(path).is_file():  # polib takes a name that is no file for the text of a catalogue
        raise DataError(f"cannot read {path}: no such file")
    try:
        return polib.mofile(path) if path.endswith(".mo") else polib.pofile(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no gettext catalogue: {error}") from None


def _pairs(catalogue: polib.POFile | polib.MOFile) -> Iterator[tuple[str, str]]:
    for entry in catalogue.translated_entries():
        if not entry.msgid_plural:
            yield entry.msgid, entry.msgstr
            continue
        forms = [entry.msgstr_plural[index] for index in sorted(entry.msgstr_plural)]
        yield from zip((entry.msgid, entry.msgid_plural), forms, strict=False)
