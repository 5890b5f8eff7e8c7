"""JSON lines: one record a line, its bytes untouched. Plain, gzip, zstd, or the standard streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from connectors.files.base import FileSink, FileSource
from connectors.files.open import STANDARD, open_input
from craft_stream.errors import DataError
from craft_stream.runtime.ports import Message
from craft_stream.settings import RecordSettings

# A line longer than this is cut; with the batch's bound it bounds the memory, whatever the file holds.
LONGEST_LINE = 1 << 26
_BATCH_BYTES = 1 << 26
_BLOCK = 1 << 17
_SKIP_BLOCK = 1 << 20
# A tuple at once: the class's own constructor takes twice as long.
_MAKE = tuple.__new__


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
        self._lines: deque[bytes] = (
            deque()
        )  # whole ones, each with its newline; at the end of the file maybe one without
        self._rest = b""  # the beginning of the next one
        if resume is not None:
            try:
                self._resume(resume)
            except DataError:
                self.close()
                raise

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines, and at most 64 MiB of them; empty at the end."""
        taken: list[bytes] = []
        size = 0
        while len(taken) < limit and size < _BATCH_BYTES and (self._lines or self._fill()):
            line = self._lines.popleft()
            taken.append(line)
            size += len(line)
            if len(line) == LONGEST_LINE and line[-1] != 10:
                size += self._skip_line()
        number, path = self._line, self._path
        self._line, self._byte = number + len(taken), self._byte + size
        return [
            _MAKE(Message, (line[:-1] if line[-1] == 10 else line, offset, path, 0, None, (), 0, None))
            for offset, line in enumerate(taken, number)
        ]

    def position(self) -> str:
        """`line:byte`, both from 0, of the next line."""
        return f"{self._line}:{self._byte}"

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._path != STANDARD:
            self._file.close()

    def _fill(self) -> bool:
        """Get lines ready; False at the end. A line of which `LONGEST_LINE` bytes are there is ready, cut."""
        while not self._lines:
            block = self._file.read1(_BLOCK)
            text = self._rest + block
            if not block:
                self._rest = b""
                if not text:
                    return False
                self._lines.append(text)
                break
            *lines, self._rest = text.split(b"\n")
            for line in lines:
                self._lines.extend(_cut(line + b"\n"))
            if len(self._rest) > LONGEST_LINE:
                *cut, self._rest = _cut(self._rest)
                self._lines.extend(cut)
        return True

    def _skip_line(self) -> int:
        """Pass over what is left of a line that was cut; the bytes of it."""
        skipped = 0
        while self._lines or self._fill():
            line = self._lines.popleft()
            skipped += len(line)
            if line[-1] == 10:
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


def _cut(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST_LINE:
        return [line]
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)]


class JsonlSink(FileSink):
    """Writes records as lines."""

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each with a newline."""
        lines = b"\n".join([*values, b""])
        if lines:
            self._file.write(lines)
