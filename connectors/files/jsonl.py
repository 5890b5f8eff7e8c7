"""JSON lines: one record a line, its bytes untouched. Plain, gzip, zstd, or the standard streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.files.base import FileSink, FileSource
from connectors.files.open import STANDARD, open_input
from craft_stream.ports.messages import Lines, Message
from craft_stream.settings import RecordSettings

# A line longer than this is cut; with the batch's bound it bounds the memory, whatever the file holds.
LONGEST_LINE = 1 << 26
_BATCH_BYTES = 1 << 26
_BLOCK = 1 << 17


class JsonlSource(FileSource):
    """The lines of a file as messages: offset = line number from 0, value = the line without its newline.

    A line is whatever stands between newlines; what it holds is for `records.decode` to judge, which also
    refuses lines above `record.max_bytes`.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        del fields  # the fields stay where they are: lines pass through unchanged
        self._path = path
        self._file = open_input(path)
        self._line = 0
        self._lines: list[bytes] = []  # that are ready, without their newlines, and cut
        self._next = 0  # of them
        self._begun: list[bytes] = []  # of the next line, in parts
        self._room = LONGEST_LINE  # bytes that it may still have

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines, and little more than 64 MiB of them; empty at the end."""
        taken: list[bytes] = []
        size = 0
        number = self._line
        while len(taken) < limit and size < _BATCH_BYTES and (self._next < len(self._lines) or self._fill()):
            lines = self._lines[self._next : self._next + limit - len(taken)]
            self._next += len(lines)
            taken += lines
            size += sum(map(len, lines)) + len(lines)
        self._line = number + len(taken)
        return Lines(taken, number, self._path)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._path != STANDARD:
            self._file.close()

    def _fill(self) -> bool:
        """Get lines ready; False at the end."""
        self._lines, self._next = [], 0
        while not self._lines:
            block = self._file.read1(_BLOCK)
            if not block:
                if not self._begun:
                    return False
                self._end_line()
                return True
            head, newline, rest = block.partition(b"\n")
            self._begin_line(head)
            if not newline:
                continue
            self._end_line()
            *lines, rest = rest.split(b"\n")
            if lines and max(map(len, lines)) > LONGEST_LINE:
                for line in lines:
                    self._begin_line(line)
                    self._end_line()
            else:
                self._lines.extend(lines)
            if rest:
                self._begin_line(rest)
        return True

    def _begin_line(self, part: bytes) -> None:
        self._begun.append(part[: self._room])
        self._room -= len(self._begun[-1])

    def _end_line(self) -> None:
        self._lines.append(b"".join(self._begun))
        self._begun, self._room = [], LONGEST_LINE


class JsonlSink(FileSink):
    """Writes records as lines."""

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each with a newline."""
        lines = b"\n".join([*values, b""])
        if lines:
            self._file.write(lines)
