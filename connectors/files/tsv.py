"""Tab-separated values: with a header, in the layouts of Bitextor and ParaCrawl, or simply source and target.

The sides are found in this order: options of the path (`pairs.tsv?src=3&tgt=4`, numbers from 1 or names;
`?columns=url,-,src,tgt,score` names all columns, `-` drops one); a header that names them, or two languages (`en,fr`); two URLs
at the front (Bitextor: url1 url2 text1 text2 score ...); else the first two columns. Every other column stays a field of the
record. Nothing is quoted or escaped: a tab separates, a newline ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from connectors.files.base import FileSink, FileSource
from connectors.files.fields import decoded, one_line, side_names, split_options, text_options
from connectors.files.lines import LineReader
from connectors.files.open import closed_on_error, open_text
from connectors.files.table import OPTIONS, Columns, RowFields
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings


class TsvSource(FileSource):
    """The lines of a file as messages: offset = line number from 0, the header's included.

    A line with fewer columns than the two sides need, or that is not UTF-8, is a message with a `problem`.

    Raises:
        ConfigurationError: an option of the path names a column that is not there.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, OPTIONS)
        self._lines = LineReader(open_text(self._path, *text_options(self._path, options)))
        with closed_on_error(self._lines):
            first = self._lines.read(1)
            head = first[0].rstrip(b"\r").split(b"\t") if first else []
            self._columns = Columns.found(path, head, options, fields)
        if not self._columns.header:
            self._lines.unread(first)

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines; empty at the end."""
        path, columns = self._path, self._columns
        messages = []
        number = self._lines.number
        for offset, raw in enumerate(self._lines.read(limit), number):
            try:
                cells = raw.decode("utf-8").split("\t")
            except UnicodeDecodeError as error:
                messages.append(Message(raw, offset, path, problem=f"byte {error.start} is not valid UTF-8"))
                continue
            if cells[-1].endswith("\r"):
                cells[-1] = cells[-1].rstrip("\r")
            if len(cells) < columns.needed:
                messages.append(Message(raw, offset, path, problem=columns.too_few(cells)))
                continue
            messages.append(Message(columns.record(cells), offset, path))
        return messages

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class TsvSink(FileSink):
    """Writes records as lines of source, tab, target; `out.tsv?columns=src,tgt,score` says which fields instead.

    `?columns=*` writes all fields, with a header. Tabs and line ends in a field become spaces. Without `*` no header is
    written: Marian and OpusTrainer expect none.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, OPTIONS)
        super().__init__(path)
        self._row = RowFields(options.get("columns"), side_names(options), self._path)

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as a line."""
        for value in values:
            for cells in self._row.lines(decoded(value, self._path)):
                self._file.write("\t".join(map(one_line, cells)).encode("utf-8", "replace") + b"\n")

    @property
    def left_out(self) -> Collection[str]:
        """Names of fields that records had and the file has not."""
        return self._row.left_out
