"""Text in any encoding as UTF-8. What cannot be decoded becomes bytes that are no UTF-8 either: it costs its line or unit."""

from __future__ import annotations

import codecs
import io
import re
from typing import IO

from connectors.files.blocks import Blocks
from connectors.files.compression import first_bytes

_BLOCK = 1 << 17
# before UTF-16 those of UTF-32 that begin alike
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LITTLE, _BIG = re.compile(rb"[\x01-\x7f]\0[\x01-\x7f]\0"), re.compile(rb"\0[\x01-\x7f]\0[\x01-\x7f]")
_WRONG = "\udcff"  # in UTF-8 three bytes that every decoder refuses


def _keep(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return _WRONG, error.end
    raise error


codecs.register_error("craft-stream-keep", _keep)


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding that a text's first bytes tell, by a byte order mark or the zeros of UTF-16, and the mark's length."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    if _LITTLE.match(head):
        return "utf-16-le", 0
    if _BIG.match(head):
        return "utf-16-be", 0
    return "utf-8", 0


def as_utf8(file: io.BufferedReader, declared: str | None = None) -> io.BufferedReader:
    """A text as UTF-8 without a byte order mark.

    Args:
        file: the text, at its beginning.
        declared: its encoding, where it has no mark and does not look like UTF-16.

    Raises:
        LookupError: there is no such encoding.
    """
    file, head = first_bytes(file, 4)
    name, mark = encoding_of(head)
    file.read(mark)
    if name == "utf-8" and not mark and declared is not None:
        name = codecs.lookup(declared).name
    if name in ("utf-8", "ascii"):
        return file
    return io.BufferedReader(_Transcoded(file, name), _BLOCK)


class _Transcoded(Blocks):
    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("craft-stream-keep")
        self._ended = False

    def block(self, size: int) -> bytes:
        text = ""
        while not text and not self._ended:
            read = self._file.read(_BLOCK)
            self._ended = not read
            text = self._decoder.decode(read, self._ended)
        return text.encode("utf-8", "surrogatepass")

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
