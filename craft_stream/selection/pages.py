"""Pages: remembered pairs as they are stored, each pair once.

A page holds pairs in the order in which they were accepted and is never written again. It is written as soon as enough
pairs have come, so under load those of one transaction; the few that wait travel in deltas. What is stored of a pair is
its key, 8 bytes, and its sketch: fingerprints in ascending order as the gaps between them, low and high bytes apart, which
zstd brings from 16 bits to 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError

MAGIC = b"CRAFTPAG"
FORMAT = 3
SKETCH = 64
# Fills a sketch of fewer bigrams; no fingerprint.
NONE = np.uint16(0xFFFF)
# Fewer pairs wait for more to come: what a page costs beside them is then under a sixth.
LEAST = 32
# A page of the longest sketches stays under the brokers' usual limit of 1 MiB.
MOST = 4096


@dataclass(frozen=True, slots=True)
class Page:
    """Remembered pairs, in order.

    Attributes:
        first: number of the first of them, among all that were ever remembered.
        keys: uint64 [n].
        sketches: uint16 [n, 64], ascending, filled up with `NONE`.
    """

    first: int
    keys: NDArray[np.uint64]
    sketches: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.keys)

    def after(self, number: int) -> Page:
        """The pairs from a number on."""
        start = max(0, number - self.first)
        return Page(self.first + start, self.keys[start:], self.sketches[start:])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays to be stored."""
        held = self.sketches != NONE
        lengths = held.sum(1).astype(np.uint8)
        gaps = np.diff(self.sketches, axis=1, prepend=np.uint16(0))[held]
        return {"keys": self.keys, "lengths": lengths, "gaps": gaps.view(np.uint8).reshape(-1, 2).T}

    @classmethod
    def of(cls, first: int, arrays: Mapping[str, NDArray[Any]]) -> Page:
        """From `arrays`.

        Raises:
            IntegrityError: they do not fit together.
        """
        keys, lengths, gaps = arrays["keys"], arrays["lengths"], arrays["gaps"]
        if len(lengths) != len(keys) or lengths.max(initial=0) > SKETCH or lengths.sum() != gaps.size // 2:
            raise IntegrityError(f"{len(keys)} seen pairs do not fit {gaps.size // 2} fingerprints")
        held = np.arange(SKETCH) < lengths[:, None]
        steps = np.zeros((len(keys), SKETCH), np.uint16)
        steps[held] = np.ascontiguousarray(gaps.T).view(np.uint16).reshape(-1)
        return cls(first, keys, np.where(held, np.cumsum(steps, axis=1, dtype=np.uint16), NONE))

    def encode(self, index: int) -> bytes:
        """As bytes, under its index."""
        return codec.encode(MAGIC, {"format": FORMAT, "index": index, "first": self.first}, self.arrays())

    @classmethod
    def decode(cls, data: bytes, index: int) -> Page:
        """From bytes.

        Raises:
            IntegrityError: damaged, another page, or of another format.
        """
        header, arrays = codec.decode(MAGIC, data)
        if header.get("format") != FORMAT or header.get("index") != index:
            raise IntegrityError(
                f"this is page {header.get('index')} of format {header.get('format')}, not page {index} of {FORMAT}"
            )
        return cls.of(int(header["first"]), arrays)
