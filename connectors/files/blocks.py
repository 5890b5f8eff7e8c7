"""Bytes that come in blocks of whatever length, as a file that can be read."""

from __future__ import annotations

import io
from abc import abstractmethod


class Blocks(io.RawIOBase):
    """A file of the blocks that `block` gives one after the other."""

    _rest = memoryview(b"")

    @abstractmethod
    def block(self, size: int) -> bytes:
        """The next bytes, better no more than `size`; none at the end."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase.readinto`."""
        if not self._rest:
            self._rest = memoryview(self.block(len(buffer)))
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
