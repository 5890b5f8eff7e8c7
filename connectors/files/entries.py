"""Lists in text files: an entry a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from connectors.files.lines import LineReader
from connectors.files.open import open_text
from craft_stream.errors import DataError


def entries(path: str) -> Iterator[str]:
    """The lines of a text file, without the blanks around them; not empty ones and those that begin with `#`.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    with closing(LineReader(open_text(path))) as lines:
        while run := lines.read(1):
            try:
                text = run[0].decode("utf-8").strip()
            except UnicodeDecodeError:
                raise DataError(f"{path}, line {lines.number}: not UTF-8") from None
            if text and not text.startswith("#"):
                yield text
