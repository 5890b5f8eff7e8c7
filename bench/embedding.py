"""The evaluation's embedding: hashed character 3- to 5-grams weighted by idf, 256 dimensions.

It is independent of any selector's encoder, and the same as the one behind the figures of the design notes,
so that KL divergences compare. Each n-gram of a word, spaces at both ends included, adds its idf with a
hashed sign to 4 dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch

DIMENSIONS = 256
_BUCKETS = 1 << 16


@dataclass(frozen=True)
class Embedding:
    """Texts to unit vectors.

    Attributes:
        idf: float32 [65536], the weight of every bucket of n-grams.
    """

    idf: NDArray[np.float32]

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Embedding:
        """Weights log((n + 1) / (occurrences + 1)), at least 0, plus .1."""
        counts = np.zeros(_BUCKETS, np.int64)
        lowered = _lower(texts)
        _hash(
            lowered.buffer,
            lowered.offsets,
            np.ones(_BUCKETS, np.float32),
            counts,
            np.zeros((1, 1), np.float32),
        )
        idf = np.log((len(texts) + 1) / (counts + 1)).clip(0.0) + 0.1
        return cls(idf.astype(np.float32))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, 256], of unit length, zero where there is no word."""
        lowered, out = _lower(texts), np.zeros((len(texts), DIMENSIONS), np.float32)
        _hash(lowered.buffer, lowered.offsets, self.idf, np.zeros(0, np.int64), out)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.where(norms > 0, norms, 1)
        return out


def _lower(texts: Sequence[str]) -> TextBatch:
    return TextBatch.pack([text.lower() for text in texts])


@numba.njit(nogil=True, cache=True)
def _hash(buffer, offsets, idf, counts, out):  # type: ignore[no-untyped-def]
    """Count n-grams where `counts` has room for them, else add them up in `out`."""
    fit = len(counts) > 0
    for i in range(len(offsets) - 1):
        p, end = offsets[i], offsets[i + 1]
        while p < end:
            while p < end and buffer[p] == 32:
                p += 1
            q = p
            while q < end and buffer[q] != 32:
                q += 1
            for start in range(p - 1, q):
                for size in range(3, 6):
                    stop = start + size
                    if q == p or stop > q + 1:
                        break
                    h = np.uint64(14695981039346656037)
                    for t in range(start, stop):
                        byte = np.uint64(32) if (t < p or t >= q) else np.uint64(buffer[t])
                        h = (h ^ byte) * np.uint64(1099511628211)
                    h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
                    h ^= h >> np.uint64(32)
                    bucket = np.int64(h & np.uint64(len(idf) - 1))
                    if fit:
                        counts[bucket] += 1
                        continue
                    slot = h
                    for r in range(4):
                        slot = slot * np.uint64(0x9E3779B97F4A7C15) + np.uint64(r + 1)
                        j = np.int64((slot >> np.uint64(40)) % np.uint64(out.shape[1]))
                        if (slot >> np.uint64(33)) & np.uint64(1):
                            out[i, j] += idf[bucket]
                        else:
                            out[i, j] -= idf[bucket]
            p = q
