"""JSON lines: one record a line, its bytes untouched. Plain, gzip, zstd, or the standard streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.files.base import FileSink, FileSource
from connectors.files.open import STANDARD, open_input
from craft_stream.errors import DataError
from craft_stream.runtime.ports import Message
from craft_stream.settings import RecordSettings

# A line longer than this is cut; with the batch's bound it bounds the memory, whatever the file holds.
LONGEST_LINE = 1 << 26
_BATCH_BYTES = 1 << 26
_SKIP_BLOCK = 1 << 20


class JsonlSource(FileSource):
    """The lines of a file as messages: offset = line number from 0, value = the line without its newline.

    A line is whatever stands between newlines; what it holds is for `records.decode` to judge, which also
    refuses lines above `record.max_bytes`. Resume tokens are `line:byte` of the decompressed text.
    """

    def __init__(self, path: str, record: RecordSettings, resume: str | None = None) -> None:
        del record  # the fields stay where they are: lines pass through unchanged
        self._path = path
        self._file = open_input(path)
        self._line = self._byte = 0
        if resume is not None:
            try:
                self._resume(resume)
            except DataError:
                self.close()
                raise

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines, and at most 64 MiB of them; empty at the end."""
        messages: list[Message] = []
        size, number = 0, self._line
        readline, path = self._file.readline, self._path
        while len(messages) < limit and size < _BATCH_BYTES:
            line = readline(LONGEST_LINE)
            if not line:
                break
            length = len(line)
            if line[-1] == 10:
                line = line[:-1]
            elif length == LONGEST_LINE:
                length += self._skip_line()
            messages.append(Message(line, number, path))
            number += 1
            size += length
        self._line, self._byte = number, self._byte + size
        return messages

    def position(self) -> str:
        """`line:byte`, both from 0, of the next line."""
        return f"{self._line}:{self._byte}"

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._path != STANDARD:
            self._file.close()

    def _skip_line(self) -> int:
        skipped = 0
        while block := self._file.readline(_SKIP_BLOCK):
            skipped += len(block)
            if block[-1] == 10:
                break
        return skipped

    def _resume(self, token: str) -> None:
        try:
            line, byte = (int(part) for part in token.split(":"))
        except ValueError:
            raise DataError(f'"{token}" is no position in {self._path}') from None
        left = byte
        while left:
            block = self._file.read(min(left, _SKIP_BLOCK))
            if not block:
                raise DataError(f"{self._path} ends before the position {token}: is it another file?")
            left -= len(block)
        self._line, self._byte = line, byte


class JsonlSink(FileSink):
    """Writes records as lines."""

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each with a newline."""
        lines = b"\n".join([*values, b""])
        if lines:
            self._file.write(lines)
