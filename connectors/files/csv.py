"""Comma-separated values as RFC 4180 and spreadsheets write them: cells may be quoted, and hold line ends."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence

from connectors.files.base import FileSink, FileSource
from connectors.files.fields import decoded, side_names, split_options, text_options
from connectors.files.lines import LineReader
from connectors.files.open import closed_on_error, open_text
from connectors.files.table import OPTIONS, Columns, RowFields
from craft_stream.errors import ConfigurationError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_LARGEST_ROW = 1 << 20  # bytes; a quote that nothing closes would take all that follows
_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(rb'"?sep=(.)"?\r?')  # a first line that is for spreadsheets
_SPACED = re.compile(r'[,;|]\s+"')
_SEEN = 4096

csv.field_size_limit(1 << 27)  # rows are bounded here


class CsvSource(FileSource):
    """Rows as messages: offset = number of the row's first line from 0.

    `pairs.csv?delimiter=;` says what separates cells, else the first line tells (`sep=;` is no row); the sides are found as in
    TSV. A row with too few cells, that is not UTF-8, or whose quotes do not close within 1 MiB is a message with a `problem`;
    of the last kind only its first line is lost.

    Raises:
        ConfigurationError: an option names a column that is not there.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, (*OPTIONS, "delimiter"))
        self._lines = LineReader(open_text(self._path, *text_options(self._path, options)))
        with closed_on_error(self._lines):
            self._begin(path, options, fields)

    def _begin(self, path: str, options: dict[str, str], fields: RecordSettings) -> None:
        """Find the delimiter and the sides in the first row."""
        _, first = self._row()
        said = _SAID.fullmatch(first)
        if said:
            options = {"delimiter": said[1].decode("latin-1"), **options}
            _, first = self._row()
        named = {"tab": "\t", "\\t": "\t"}.get(options.get("delimiter", ""), options.get("delimiter"))
        if named is not None and len(named) != 1:
            raise ConfigurationError(f'{path}: the delimiter "{named}" is not one character')
        self._delimiter = named or _delimiter(first)
        self._spaced = _SPACED.search(first.decode("utf-8", "replace")) is not None  # before quotes
        head = [cell.encode("utf-8", "surrogateescape") for cell in self._cells(first) or []]
        self._columns = Columns.found(path, head, options, fields)
        if not self._columns.header and first:
            self._lines.unread(first.split(b"\n"))

    def _row(self) -> tuple[int, bytes]:
        """The next row's first line and its bytes: lines until the quotes are even; empty at the end."""
        number = self._lines.number
        lines = self._lines.read(1)
        quotes = lines[0].count(b'"') if lines else 0
        size = 0
        while quotes % 2:
            more = self._lines.read(1)
            size += len(more[0]) if more else _LARGEST_ROW
            lines += more
            if size >= _LARGEST_ROW:
                self._lines.unread(lines[1:])
                return number, lines[0]
            quotes += more[0].count(b'"')
        return number, b"\n".join(lines)

    def _cells(self, row: bytes) -> list[str] | None:
        """The cells; None where quotes stand in the wrong places."""
        text = row.decode("utf-8", "surrogateescape")
        try:
            cells = next(
                csv.reader([text], delimiter=self._delimiter, skipinitialspace=self._spaced, strict=True), []
            )
            return [cell.removeprefix("\ufeff") for cell in cells]
        except csv.Error:
            return None

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next rows; empty at the end."""
        messages: list[Message] = []
        while len(messages) < limit:
            number, row = self._row()
            if self._lines.number == number:
                break
            if row.strip():
                messages.append(self._message(number, row))
        return messages

    def _message(self, number: int, row: bytes) -> Message:
        columns, path = self._columns, self._path
        try:
            row.decode("utf-8")
        except UnicodeDecodeError as error:
            return Message(row, number, path, problem=f"byte {error.start} is not valid UTF-8")
        cells = self._cells(row)
        if cells is None:
            lines = row.split(b"\n")
            self._lines.unread(lines[1:])
            return Message(
                lines[0], number, path, problem="a quote is not closed, or more follows behind one"
            )
        if len(cells) < columns.needed:
            return Message(row, number, path, problem=columns.too_few(cells))
        return Message(columns.record(cells), number, path)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _delimiter(line: bytes) -> str:
    """What separates the cells of a first line: the candidate that most often stands outside of quotes."""
    bare = b"".join(line.split(b'"')[::2]).decode("utf-8", "replace")
    return max(_DELIMITERS, key=bare.count)


class CsvSink(FileSink):
    """Writes records as rows under a header, with all fields of the first one, the sides first; later ones stand in `more`.

    `out.csv?columns=src,tgt,score` writes these fields, under a header as well.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, OPTIONS)
        super().__init__(path)
        columns = options.get("columns", "*")
        self._fields = RowFields(columns, side_names(options), self._path)
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer)
        if columns != "*":
            self._writer.writerow([name.strip() for name in columns.split(",")])

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as a row."""
        for value in values:
            self._writer.writerows(self._fields.lines(decoded(value, self._path)))
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._buffer.getvalue().replace("\0", "").encode("utf-8", "replace"))
        self._buffer.seek(0)
        self._buffer.truncate()

    def _finish(self) -> None:
        self._flush()

    @property
    def left_out(self) -> Collection[str]:
        """Names of fields that records had and the file has not."""
        return self._fields.left_out
