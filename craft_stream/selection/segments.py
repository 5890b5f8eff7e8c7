"""Segments: remembered pairs as they are stored, each pair once.

A segment holds pairs in the order in which they were accepted and is never written again. It is written as soon as enough
pairs have come, so under load those of one transaction; the few that wait travel in deltas. What is stored of a pair is
its sketch, fingerprints in ascending order as the gaps between them, low and high bytes apart, which zstd brings from 16
bits to 13, and its mark of 2 bytes: all else of its key follows from the sketch. With keys of 8 bytes a ledger took 5.4 % of
the input's bytes on the brokers' disks, at a budget of 10 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream import codec, schema
from craft_stream.errors import IntegrityError
from craft_stream.selection.ledger_schema import SEGMENT
from craft_stream.text.hashing import chain, mix

MAGIC = b"CRAFTPAG"
FORMAT = 4
SKETCH = 64
# Fills a sketch of fewer bigrams; no fingerprint.
NONE = np.uint16(0xFFFF)
# Fewer pairs wait for more to come: what a segment costs beside them is then under a sixth.
LEAST = 32
# A segment of the longest sketches stays under the brokers' usual limit of 1 MiB.
MOST = 4096
_MARK = np.uint64(0xFFFF)


@numba.njit(cache=True, nogil=True)
def key_of(sketch: NDArray[np.uint16], mark: np.uint16) -> np.uint64:
    """Key of a pair, 64 bits: a hash of its sketch and, in the lowest 16, its mark; never 0."""
    h = np.uint64(0)
    for fingerprint in sketch:
        if fingerprint == NONE:
            break
        h = chain(h, np.uint64(fingerprint))
    return ((mix(h) | np.uint64(1)) << np.uint64(16)) | np.uint64(mark)


@numba.njit(cache=True, nogil=True)
def _keys(sketches: NDArray[np.uint16], marks: NDArray[np.uint16], out: NDArray[np.uint64]) -> None:
    for i in range(len(marks)):
        out[i] = key_of(sketches[i], marks[i])


@dataclass(frozen=True, slots=True)
class Segment:
    """Remembered pairs, in order.

    Attributes:
        first: number of the first of them, among all that were ever remembered.
        keys: uint64 [n], of `key_of`.
        sketches: uint16 [n, 64], ascending, filled up with `NONE`.
    """

    first: int
    keys: NDArray[np.uint64]
    sketches: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.keys)

    def after(self, number: int) -> Segment:
        """The pairs from a number on."""
        start = max(0, number - self.first)
        return Segment(self.first + start, self.keys[start:], self.sketches[start:])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays to be stored."""
        held = self.sketches != NONE
        lengths = held.sum(1).astype(np.uint8)
        gaps = np.diff(self.sketches, axis=1, prepend=np.uint16(0))[held]
        marks = (self.keys & _MARK).astype(np.uint16)
        return {"marks": marks, "lengths": lengths, "gaps": gaps.view(np.uint8).reshape(-1, 2).T}

    @classmethod
    def of(cls, first: int, arrays: Mapping[str, NDArray[Any]]) -> Segment:
        """From `arrays`.

        Raises:
            IntegrityError: they do not fit together.
        """
        marks, lengths, gaps = arrays["marks"], arrays["lengths"], arrays["gaps"]
        if len(lengths) != len(marks) or lengths.max(initial=0) > SKETCH or lengths.sum() != gaps.size // 2:
            raise IntegrityError(f"{len(marks)} seen pairs do not fit {gaps.size // 2} fingerprints")
        held = np.arange(SKETCH) < lengths[:, None]
        steps = np.zeros((len(marks), SKETCH), np.uint16)
        steps[held] = np.ascontiguousarray(gaps.T).view(np.uint16).reshape(-1)
        sums = np.cumsum(steps, axis=1, dtype=np.uint32)
        if sums.max(initial=0) >= NONE or (steps[:, 1:] == 0)[held[:, 1:]].any():
            raise IntegrityError("the fingerprints of seen pairs do not ascend")
        sketches = np.where(held, sums.astype(np.uint16), NONE)
        keys = np.empty(len(marks), np.uint64)
        _keys(sketches, marks, keys)
        return cls(first, keys, sketches)

    def encode(self, index: int) -> bytes:
        """As bytes, under its index."""
        return codec.encode(MAGIC, {"format": FORMAT, "index": index, "first": self.first}, self.arrays())

    @classmethod
    def decode(cls, data: bytes, index: int) -> Segment:
        """From bytes.

        Raises:
            IntegrityError: damaged, another segment, or of another format.
        """
        header, arrays = codec.decode(MAGIC, data)
        if header.get("format") != FORMAT or header.get("index") != index:
            raise IntegrityError(
                f"this is segment {header.get('index')} of format {header.get('format')}, not {index} of {FORMAT}"
            )
        schema.check("the segment", header | arrays, SEGMENT)
        return cls.of(header["first"], arrays)
