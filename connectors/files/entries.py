"""Lists in text files: an entry a line."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.files.open import open_text
from craft_stream.errors import DataError

_LONGEST_LINE = 1 << 20


def entries(path: str) -> Iterator[str]:
    """The lines of a text file, without the blanks around them; not empty ones and those that begin with `#`.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    with open_text(path) as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            try:
                text = line.decode("utf-8").strip()
            except UnicodeDecodeError:
                raise DataError(f"{path}, line {number}: not UTF-8") from None
            if text and not text.startswith("#"):
                yield text
