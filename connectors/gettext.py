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

    What is untranslated, fuzzy or obsolete is no pair and is left out. Records are made with the names of `fields`
    and an id `path#number`.

    Raises:
        DataError: the file cannot be read as a catalogue.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path = path
        self._fields = fields
        self._next = 0
        self._pairs = translations(path)

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


def translations(path: str) -> Iterator[tuple[str, str]]:
    """The translated messages of a catalogue, source and target; of a plural message its singular and its plural.

    Raises:
        DataError: at once; the file cannot be read as a catalogue.
    """
    if not Path(path).is_file():  # polib takes a name that is no file for the text of a catalogue
        raise DataError(f"cannot read {path}: no such file")
    try:
        catalogue = polib.mofile(path) if path.endswith(".mo") else polib.pofile(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no gettext catalogue: {error}") from None
    return (sides for entry in catalogue.translated_entries() for sides in _sides(entry))


def _sides(entry: polib.POEntry | polib.MOEntry) -> Iterator[tuple[str, str]]:
    if not entry.msgid_plural:
        yield entry.msgid, entry.msgstr
        return
    forms = [entry.msgstr_plural[index] for index in sorted(entry.msgstr_plural)]
    yield from zip((entry.msgid, entry.msgid_plural), forms, strict=False)
