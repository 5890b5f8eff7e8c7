"""Spools: columns that are written once, end to end, and read back; in a file without a name, not in memory."""

from __future__ import annotations

import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Spool:
    """A column that grows: its file is unlinked from the start, and its pages are the system's to keep or to write out.

    Args:
        dtype: of its values.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix="craft-stream-")  # noqa: SIM115  # closed with the spool
        self._length = 0
        weakref.finalize(self, self._file.close)  # what is mapped stays

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Write values behind those that it holds.

        Raises:
            OSError: the disk of temporary files (`TMPDIR`) is full.
        """
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def values(self) -> NDArray[Any]:
        """All of them, mapped; what is changed in them stays changed."""
        if not self._length:
            return np.zeros(0, self._dtype)
        self._file.flush()
        return np.asarray(np.memmap(self._file, self._dtype, "r+", shape=(self._length,)))
