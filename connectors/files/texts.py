"""Texts of one side alone: plain lines, or one side of a file of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from connectors.files import SOURCES, ending, open_source
from connectors.files.base import FileSource
from connectors.files.fields import split_options, text_options
from connectors.files.lines import LineReader
from connectors.files.open import open_text
from craft_stream.language_tags import parse_tag
from craft_stream.ports.files import Source
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

PLAIN = "txt"


def open_texts(path: str, field: str, fields: RecordSettings) -> Source:
    """Open a file of which one field is wanted: its messages hold it, or say why not.

    A name that ends in `.txt` or a language (`domain.en`) is plain text, each line of it a text; another format is read as
    by `open_source`, and may hold pairs.

    Args:
        path: of the file; `-` for standard input.
        field: that messages of plain lines have.
        fields: of records.

    Raises:
        ConfigurationError, DataError: as for `open_source`.
    """
    name = ending(path)
    plain = name == PLAIN or (name not in SOURCES and parse_tag(name))
    return LineSource(path, field) if plain else open_source(path, fields)


class LineSource(FileSource):
    """The lines of a plain text as messages with one field each: offset = line number from 0; blank ones are left out."""

    def __init__(self, path: str, field: str) -> None:
        self._path, options = split_options(path, ())
        self._field = field
        self._lines = LineReader(open_text(self._path, *text_options(self._path, options)))

    def read(self, limit: int) -> Sequence[Message]:
        """The texts of at most `limit` next lines; empty at the end."""
        messages: list[Message] = []
        while not messages:
            number = self._lines.number
            lines = self._lines.read(limit)
            if not lines:
                break
            messages = [self._message(line, at) for at, line in enumerate(lines, number) if line.strip()]
        return messages

    def _message(self, line: bytes, offset: int) -> Message:
        try:
            value = orjson.dumps({self._field: line.decode("utf-8").strip()})
        except UnicodeDecodeError as error:
            return Message(line, offset, self._path, problem=f"byte {error.start} is not valid UTF-8")
        return Message(value, offset, self._path)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
