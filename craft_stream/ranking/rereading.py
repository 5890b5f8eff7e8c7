"""A stream that is read again and again, and must be the same each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import DataError
from craft_stream.learning.even_sample import Unread
from craft_stream.session import Chunk

C = TypeVar("C", bound=Chunk)
C_co = TypeVar("C_co", bound=Chunk, covariant=True)


class Run(Unread, Protocol[C_co]):
    """Consecutive records of a stream, not read yet."""

    def read(self) -> C_co: ...  # noqa: D102  # all of them
    def known(self, rows: NDArray[np.int64]) -> C_co: ...  # noqa: D102  # all, of which these hold pairs


class Rereading(Generic[C]):
    """What is read of a stream, each time from its beginning.

    Args:
        begin: begins to read it.

    Attributes:
        records: of the stream; None until it was read to its end.
    """

    def __init__(self, begin: Callable[[], Iterable[Run[C]]]) -> None:
        self._begin = begin
        self.records: int | None = None

    def runs(self) -> Iterator[Run[C]]:
        """All of it.

        Raises:
            DataError: it is not as long as it was.
        """
        end = 0
        for run in self._begin():
            end = run.start + len(run)
            if self.records is not None and end > self.records:
                break
            yield run
        if self.records is not None and end != self.records:
            more = "more" if end > self.records else f"{end:,}"
            raise DataError(
                f"the stream had {self.records:,} records when it was first read and has {more} "
                "now: it takes a file that nobody writes to (or select --one-pass, which decides a stream as it comes)"
            )
        self.records = end

    def runs_at(self, positions: NDArray[np.int64]) -> Iterator[tuple[Run[C], NDArray[np.int64]]]:
        """Of some positions, in order: each run that holds any, with these; `DataError` as `runs`."""
        for run in self.runs():
            low, high = np.searchsorted(positions, [run.start, run.start + len(run)])
            if low < high:
                yield run, positions[low:high]
