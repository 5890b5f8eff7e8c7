"""What all sources and sinks of files have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from connectors.files.open import OutputFile, WholeOrNothing


class FileSource(ABC):
    """A source that can stand in a `with` statement."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileSink(WholeOrNothing):
    """A sink whose file appears at its place, whole, when it is closed; not at all when its `with` block raises.

    Args:
        path: of the file, without options.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = OutputFile(path)
        self._done = False

    @abstractmethod
    def write(self, values: Iterable[bytes]) -> None:
        """Append records."""

    def _finish(self) -> None:
        """Write what stands at the end of the format."""

    def close(self) -> None:
        """Finish and move the whole file to its place; safe to call twice."""
        if not self._done:
            try:
                self._finish()
            except BaseException:
                self.discard()
                raise
            self._done = True
            self._file.close()

    def discard(self) -> None:
        """Give up what was written; what stood at its place before stays. Without effect after `close`."""
        self._done = True
        self._file.discard()
