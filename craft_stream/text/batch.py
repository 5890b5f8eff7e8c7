"""Texts as one byte buffer with offsets, so that kernels see them without copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.columns import Columns
from craft_stream.text.contexts import Contexts

Side = Literal["source", "target"]


@numba.njit(cache=True, nogil=True)
def _gather(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], offsets: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    for i in range(len(starts)):
        start, place = starts[i], offsets[i]
        for p in range(offsets[i + 1] - place):
            out[place + p] = buffer[start + p]


def _read_only(buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As `TextBatch.pack` makes them: one kind of buffer everywhere, so that kernels are compiled once."""
    buffer.flags.writeable = False
    return buffer


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts, end to end.

    Attributes:
        buffer: uint8 [total bytes], UTF-8 as it came.
        offsets: int64 [texts + 1]; text i is buffer[offsets[i]:offsets[i + 1]].
    """

    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def pack(cls, texts: Sequence[str]) -> TextBatch:
        """Encode texts; unpaired surrogates become U+FFFD's replacement '?'."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def gather(
        cls, buffer: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> TextBatch:
        """Texts that stand at [start, stop) of a buffer, copied."""
        buffer = _read_only(buffer.view())
        offsets = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        out = np.empty(offsets[-1], np.uint8)
        _gather(buffer, starts, offsets, out)
        return cls(_read_only(out), offsets)

    @classmethod
    def concatenate(cls, batches: Sequence[TextBatch]) -> TextBatch:
        """All texts of batches, in order, copied."""
        lengths = [np.diff(batch.offsets) for batch in batches]
        offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
        parts = (batch.buffer[batch.offsets[0] : batch.offsets[-1]] for batch in batches)
        return cls(_read_only(np.concatenate([np.zeros(0, np.uint8), *parts])), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, index: int) -> str:
        """The text at `index`, decoded."""
        return self.buffer[self.offsets[index] : self.offsets[index + 1]].tobytes().decode("utf-8", "replace")

    def texts(self) -> list[str]:
        """All texts, decoded."""
        return [self.text(index) for index in range(len(self))]

    def slice(self, start: int, stop: int) -> TextBatch:
        """Texts [start, stop), sharing no offsets with this batch but all of its bytes."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return TextBatch(self.buffer[low:high], self.offsets[start : stop + 1] - low)

    def take(self, indices: NDArray[np.int64]) -> TextBatch:
        """Texts at `indices`, in that order, copied."""
        return TextBatch.gather(self.buffer, self.offsets[indices], self.offsets[indices + 1])


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Sentence pairs in log order.

    Attributes:
        source: the source sides.
        target: the target sides, as many.
        positions: int64 [pairs]; the offset of each pair in its partition's log, strictly increasing.
        signals: what else is said of each pair; None: nothing.
        where: page and host of each pair; None: no record says.
    """

    source: TextBatch
    target: TextBatch
    positions: NDArray[np.int64]
    signals: Columns | None = None
    where: Contexts | None = None

    @classmethod
    def of_side(cls, texts: Sequence[str], side: Side) -> PairBatch:
        """Texts as pairs whose other side is empty: a target without translations."""
        none = [""] * len(texts)
        return cls.pack(texts, none) if side == "source" else cls.pack(none, texts)

    @classmethod
    def pack(
        cls,
        sources: Sequence[str],
        targets: Sequence[str],
        positions: Sequence[int] | NDArray[np.int64] | None = None,
        signals: Columns | None = None,
    ) -> PairBatch:
        """Pack two lists of texts of equal length; positions default to 0, 1, 2, ..."""
        if len(sources) != len(targets):
            raise ValueError(f"{len(sources)} sources but {len(targets)} targets")
        where = np.arange(len(sources)) if positions is None else np.asarray(positions)
        where = where.astype(np.int64, copy=False)
        return cls(TextBatch.pack(sources), TextBatch.pack(targets), where, signals)

    @classmethod
    def concatenate(cls, batches: Sequence[PairBatch]) -> PairBatch:
        """All pairs of batches, in order, at their positions, copied unless there is one batch only."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            TextBatch.concatenate([batch.source for batch in batches]),
            TextBatch.concatenate([batch.target for batch in batches]),
            np.concatenate([np.zeros(0, np.int64), *(batch.positions for batch in batches)]),
            Columns.concatenate([batch.columns for batch in batches])
            if any(batch.signals is not None for batch in batches)
            else None,
            Contexts.concatenate([batch.contexts for batch in batches])
            if any(batch.where is not None for batch in batches)
            else None,
        )

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], signals: Sequence[str]) -> PairBatch:
        """What `arrays` gave, with the names of the signals (none: there were none); page and host are not known."""
        source, target = (
            TextBatch(_read_only(arrays[f"{side}_buffer"]), arrays[f"{side}_offsets"])
            for side in ("source", "target")
        )
        columns = Columns(tuple(signals), arrays["signals"]) if signals else None
        return cls(source, target, arrays["positions"], columns)

    @property
    def size(self) -> int:
        """Bytes of the texts."""
        return len(self.source.buffer) + len(self.target.buffer)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is learned from, by name: not the names of the signals, nor page and host."""
        return {
            "source_buffer": self.source.buffer,
            "source_offsets": self.source.offsets,
            "target_buffer": self.target.buffer,
            "target_offsets": self.target.offsets,
            "positions": self.positions,
            "signals": self.columns.values,
        }

    def __len__(self) -> int:
        return len(self.source)

    @property
    def columns(self) -> Columns:
        """The signals; no columns where there are none."""
        return Columns.none(len(self)) if self.signals is None else self.signals

    @property
    def contexts(self) -> Contexts:
        """Page and host, unknown where no record says."""
        return Contexts.unknown(len(self)) if self.where is None else self.where

    def slice(self, start: int, stop: int) -> PairBatch:
        """Pairs [start, stop)."""
        return PairBatch(
            self.source.slice(start, stop),
            self.target.slice(start, stop),
            self.positions[start:stop],
            None if self.signals is None else self.signals.slice(start, stop),
            None if self.where is None else self.where.slice(start, stop),
        )

    def take(self, indices: NDArray[np.int64]) -> PairBatch:
        """Pairs at `indices`, in that order, copied."""
        return PairBatch(
            self.source.take(indices),
            self.target.take(indices),
            self.positions[indices],
            None if self.signals is None else self.signals.take(indices),
            None if self.where is None else self.where.take(indices),
        )
