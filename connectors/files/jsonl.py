"""JSON lines: one record a line, its bytes untouched unless the path says where the sides are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from connectors.files.base import FileSink, FileSource
from connectors.files.fields import rename, split_options, text_options
from connectors.files.lines import LineReader
from connectors.files.open import open_text
from craft_stream.errors import DataError
from craft_stream.ports.messages import Lines, Message
from craft_stream.settings import RecordSettings

_HEAD = 16  # lines that tell what a file is
_ARRAY = re.compile(rb"\[\s*\{")


class JsonlSource(FileSource):
    """The lines of a file as messages: offset = line number from 0, value = the line without its newline.

    A line is whatever stands between newlines; what it holds is for `records.decode` to judge, which also refuses lines
    above `record.max_bytes`. `pairs.jsonl?src=en&tgt=fr` takes the sides from other fields, also from those of an object
    `translation`; `?src=a.b&tgt=a.c` from those of any object. A record without them is a message with a `problem`.

    Raises:
        DataError: the file is one JSON value over several lines.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ("src", "tgt"))
        self._fields = fields
        self._chosen = (
            (options.get("src", fields.source_field), options.get("tgt", fields.target_field))
            if options.keys() & {"src", "tgt"}
            else None
        )
        self._lines = LineReader(open_text(self._path, *text_options(self._path, options)))
        self._begun = False

    def _refuse_one_value(self) -> None:
        """Refuse a file that is one JSON value, not lines of them."""
        lines = self._lines.read(_HEAD)
        self._lines.unread(lines)
        first, second = ([bare for line in lines if (bare := line.strip())] + [b"", b""])[:2]
        if _ARRAY.match(first) or (first == b"[" and second.startswith(b"{")):
            raise DataError(f"{self._path} is a JSON array: write one object a line, as jq -c '.[]' does")
        if first == b"{" and second.startswith(b'"'):
            raise DataError(
                f"{self._path} is a JSON object over several lines: write one a line, as jq -c . does"
            )

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines, and little more than 64 MiB of them; empty at the end."""
        if not self._begun:
            self._begun = True
            self._refuse_one_value()
        number = self._lines.number
        lines = self._lines.read(limit)
        if self._chosen is None:
            return Lines(lines, range(number, number + len(lines)), self._path)
        return [self._renamed(line, place) for place, line in enumerate(lines, number)]

    def _renamed(self, line: bytes, number: int) -> Message:
        assert self._chosen is not None  # noqa: S101  # asked for by `read` only where it is
        try:
            record: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            return Message(line, number, self._path)
        if not isinstance(record, dict):
            return Message(line, number, self._path)
        problem = rename(record, self._chosen, self._fields)
        if problem:
            return Message(line, number, self._path, problem=problem)
        return Message(orjson.dumps(record), number, self._path)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class JsonlSink(FileSink):
    """Writes records as lines, whatever options call their sides."""

    def __init__(self, path: str) -> None:
        super().__init__(split_options(path, ("src", "tgt"))[0])

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each with a newline."""
        lines = b"\n".join([*values, b""])
        if lines:
            self._file.write(lines)
