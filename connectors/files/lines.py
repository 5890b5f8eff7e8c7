"""Lines of a file, cut at newlines and nowhere else; at carriage returns where a file has no newline but several of these."""

from __future__ import annotations

import codecs
from typing import IO

# A line longer than this is cut; with the batch's bound it bounds the memory, whatever the file holds.
LONGEST_LINE = 1 << 26
_BATCH_BYTES = 1 << 26
_BLOCK = 1 << 17
_SEEN = 1 << 20  # bytes without a newline that tell that there is none
_MARK = codecs.BOM_UTF8


class LineReader:
    """A file's lines without their newlines, and without byte order marks, which stand within files that were joined.

    Attributes:
        number: of the next line, from 0.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.number = 0
        self._file = file
        self._lines: list[bytes] = []  # that are ready
        self._next = 0  # of them
        self._begun: list[bytes] = []  # of the next line, in parts
        self._room = LONGEST_LINE  # bytes that it may still have
        self._old: bool | None = None  # whether lines end by carriage returns

    def read(self, limit: int) -> list[bytes]:
        """At most `limit` next lines, and little more than 64 MiB of them; empty at the end."""
        taken: list[bytes] = []
        size = 0
        while len(taken) < limit and size < _BATCH_BYTES and (self._next < len(self._lines) or self._fill()):
            lines = self._lines[self._next : self._next + limit - len(taken)]
            self._next += len(lines)
            taken += lines
            size += sum(map(len, lines)) + len(lines)
        self.number += len(taken)
        return taken

    def unread(self, lines: list[bytes]) -> None:
        """Give lines back: they are read next."""
        self._lines, self._next = [*lines, *self._lines[self._next :]], 0
        self.number -= len(lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _fill(self) -> bool:
        """Get lines ready; False at the end."""
        self._lines, self._next = [], 0
        while not self._lines:
            block = self._read()
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
            if _MARK in block:
                lines = [_unmarked(line) for line in lines]
            if lines and max(map(len, lines)) > LONGEST_LINE:
                for line in lines:
                    self._begin_line(line)
                    self._end_line()
            else:
                self._lines.extend(lines)
            if rest:
                self._begin_line(rest)
        return True

    def _read(self) -> bytes:
        """The next block, with newlines where an old file ends its lines by carriage returns alone."""
        block: bytes = self._file.read1(_BLOCK)  # type: ignore[attr-defined]  # of every buffered file
        if self._old is None and (b"\r" in block or b"\n" in block):
            while b"\n" not in block and len(block) < _SEEN and (more := self._file.read1(_BLOCK)):  # type: ignore[attr-defined]
                block += more
            self._old = b"\n" not in block and block.count(b"\r") > 1
        return block.replace(b"\r", b"\n") if self._old else block

    def _begin_line(self, part: bytes) -> None:
        self._begun.append(part[: self._room])
        self._room -= len(self._begun[-1])

    def _end_line(self) -> None:
        self._lines.append(_unmarked(b"".join(self._begun)))
        self._begun, self._room = [], LONGEST_LINE


def _unmarked(line: bytes) -> bytes:
    """A line without the marks at its beginning and behind tabs, where files were joined side by side."""
    if _MARK not in line:
        return line
    return line.removeprefix(_MARK).replace(b"\t" + _MARK, b"\t")
