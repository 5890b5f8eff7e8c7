"""Hashed bags of stems: the default sentence embedding, without weights to download and equal on every machine.

Each stem adds its weight, with a sign, to four of D coordinates chosen by its hash; the sum is scaled to unit length
(feature hashing: Weinberger et al. 2009, with four hashes to halve the variance of a collision).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.hashing import GOLDEN
from craft_stream.text.tokens import Tokens

STEM_BITS = 17
_HASHES = 4


@numba.njit(cache=True, nogil=True)
def _bags(
    stems: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    dimensions = np.uint64(out.shape[1])
    shift = np.uint64(64 - STEM_BITS)
    for i in range(len(rows)):
        row = out[i]
        for t in range(offsets[rows[i]], offsets[rows[i] + 1]):
            x = stems[t]
            w = weights[np.int64(x >> shift)]
            for r in range(_HASHES):
                x = x * GOLDEN + np.uint64(r + 1)
                j = np.int64((x >> np.uint64(40)) % dimensions)
                if (x >> np.uint64(33)) & np.uint64(1):
                    row[j] += w
                else:
                    row[j] -= w
        squares = np.float32(0)
        for d in range(out.shape[1]):
            squares += row[d] * row[d]
        if squares > 0:
            scale = np.float32(1) / np.sqrt(squares)
            for d in range(out.shape[1]):
                row[d] *= scale


@numba.njit(cache=True, nogil=True)
def _nearest(
    stems: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float32],
    centroids: NDArray[np.float32],
    out: NDArray[np.int16],
) -> None:
    dimensions = np.uint64(centroids.shape[0])
    clusters = centroids.shape[1]
    shift = np.uint64(64 - STEM_BITS)
    products = np.empty(clusters, np.float32)
    for i in range(len(out)):
        products[:] = 0
        for t in range(offsets[i], offsets[i + 1]):
            x = stems[t]
            w = weights[np.int64(x >> shift)]
            for r in range(_HASHES):
                x = x * GOLDEN + np.uint64(r + 1)
                j = np.int64((x >> np.uint64(40)) % dimensions)
                signed = w if (x >> np.uint64(33)) & np.uint64(1) else -w
                row = centroids[j]
                for k in range(clusters):
                    products[k] += signed * row[k]
        best = 0
        for k in range(1, clusters):
            if products[k] > products[best]:
                best = k
        out[i] = best


def bags(
    tokens: Tokens, rows: NDArray[np.int64], weights: NDArray[np.float32], dimensions: int
) -> NDArray[np.float32]:
    """Embed texts `rows`: float32 [rows, dimensions], of unit length (zero for a text without tokens).

    Args:
        tokens: of the texts.
        rows: int64 [rows], which texts.
        weights: float32 [2^STEM_BITS], weight of a stem, as inverse document frequency.
        dimensions: D.
    """
    out = np.zeros((len(rows), dimensions), np.float32)
    _bags(tokens.stems, tokens.offsets, rows, weights, out)
    return out


def nearest_bags(
    tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
) -> NDArray[np.int16]:
    """Nearest of K centroids by inner product, int16 [texts], without making the embeddings.

    Costs 4 K additions a token whatever D is: 0.3 us for a sentence and K = 64, against 1 us by matrix product, and
    the sums are taken in one order whatever the batch.

    Args:
        tokens: of the texts.
        weights: float32 [2^STEM_BITS].
        centroids: float32 [D, K], a column each.
    """
    out = np.zeros(len(tokens), np.int16)
    _nearest(tokens.stems, tokens.offsets, weights, centroids, out)
    return out


@numba.njit(cache=True, nogil=True)
def count_stems(stems: NDArray[np.uint64], offsets: NDArray[np.int64], counts: NDArray[np.float32]) -> None:
    """Add one to counts [2^STEM_BITS] for every token."""
    shift = np.uint64(64 - STEM_BITS)
    for t in range(offsets[0], offsets[-1]):
        counts[np.int64(stems[t] >> shift)] += np.float32(1)


def inverse_frequency(counts: NDArray[np.float32], texts: int) -> NDArray[np.float32]:
    """Stem weights log((N + 1) / (count + 1)) + 0.1, at least 0.1, float32 [2^STEM_BITS]; N texts, at least 1,000."""
    n = max(texts, 1000)
    return np.maximum(np.log((n + 1.0) / (counts.astype(np.float64) + 1.0)) + 0.1, 0.1).astype(np.float32)
