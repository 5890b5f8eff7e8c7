"""WARC whose header lines end by line feeds alone, as those of ClueWeb: FastWARC knows them by CRLF only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from connectors.files.compression import unpacked
from craft_stream.errors import DataError

_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 20


def ends_lines_by_lf(path: Path) -> bool | None:
    """Whether a file, packed or not, begins with such a header; None: its first line is not there yet."""
    try:
        with path.open("rb") as raw, unpacked(str(path), raw) as file:
            line = file.readline(_LONGEST_LINE)
    except DataError:
        return None
    if not line.endswith(b"\n"):
        return None
    return line.startswith(b"WARC/") and not line.endswith(b"\r\n")


class CrlfStream:
    """The content of a file from a place on, unpacked, with headers whose lines end by CRLF; read forward.

    Args:
        path: of the file, for messages.
        raw: the file, at the place.
    """

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._blocks = _with_crlf(path, raw)
        self._held = b""

    def read(self, size: int) -> bytes:
        """At most `size` next bytes; none at the end.

        Raises:
            OSError: the file is damaged, or cut off.
        """
        while not self._held and (block := next(self._blocks, None)) is not None:
            self._held = block
        taken, self._held = self._held[:size], self._held[size:]
        return taken


def _with_crlf(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    try:
        file = unpacked(str(path), cast(io.BufferedReader, raw))
        while line := file.readline(_LONGEST_LINE):
            if not line.startswith(b"WARC/"):
                yield line.rstrip(b"\r\n") + b"\r\n"
                continue
            length = 0
            while line.strip():
                yield line.rstrip(b"\r\n") + b"\r\n"
                line = file.readline(_LONGEST_LINE)
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"content-length" and value.strip().isdigit():
                    length = int(value)
            yield b"\r\n" if line else b""
            while length and (block := file.read(min(length, _BLOCK))):
                length -= len(block)
                yield block
    except DataError as error:
        raise OSError(str(error)) from None
