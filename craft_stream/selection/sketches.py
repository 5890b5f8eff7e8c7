"""What a pair is known by: a key, and a sketch of its word bigrams with its bands and its signature.

A sketch is the 64 smallest of a pair's bigrams' 16-bit fingerprints (bottom-k, Broder 1997). Up to 64 bigrams, some 32 words
a side, it is the set, and the Jaccard similarity of two is exact but for colliding fingerprints; beyond, it is estimated over
the 64 smallest of the union with a deviation of .06. Bands of min-hashes find pairs that may be similar (at Jaccard .6, 2 %
share none of 16 bands of 3), signatures rule out with certainty most that are not.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.segments import NONE, SKETCH, key_of
from craft_stream.text.hashing import chain, mix

BANDS = 16
_ROWS = 3
# Keeps a similarity of just `least` from being lost to rounding.
ROUNDING = 1e-9


@numba.njit(cache=True, nogil=True)
def pair_key(source: NDArray[np.uint64], target: NDArray[np.uint64], sketch: NDArray[np.uint16]) -> np.uint64:
    """Key of a pair: of its sketch, and 16 bits of a hash of two sequences of word hashes; see `segments.key_of`."""
    h = np.uint64(len(source) + 1)
    for word in source:
        h = chain(h, word)
    h = mix(h + np.uint64(0x5F3759DF))
    for word in target:
        h = chain(h, word)
    return key_of(sketch, np.uint16(h >> np.uint64(48)))


@numba.njit(cache=True, nogil=True)
def _add_bigrams(words: NDArray[np.uint64], side: np.uint64, count: int, out: NDArray[np.uint16]) -> int:
    previous = side
    for word in words:
        value = np.uint16(min(mix(chain(previous, word)) >> np.uint64(48), np.uint64(0xFFFE)))
        previous = word
        if value >= out[SKETCH - 1]:
            continue
        at = np.searchsorted(out[:count], value)
        if at < count and out[at] == value:
            continue
        count = min(count + 1, SKETCH)
        for j in range(count - 1, at, -1):
            out[j] = out[j - 1]
        out[at] = value
    return count


@numba.njit(cache=True, nogil=True)
def sketch(source: NDArray[np.uint64], target: NDArray[np.uint64], out: NDArray[np.uint16]) -> None:
    """Sketch, uint16 [64] ascending, of the word bigrams of two sequences of word hashes, each with its own start mark."""
    out[:] = NONE
    _add_bigrams(target, np.uint64(8), _add_bigrams(source, np.uint64(7), 0, out), out)


@numba.njit(cache=True, nogil=True)
def length(sketch: NDArray[np.uint16]) -> int:
    """Fingerprints of a sketch."""
    return int(np.searchsorted(sketch, NONE))


@numba.njit(cache=True, nogil=True)
def jaccard(one: NDArray[np.uint16], other: NDArray[np.uint16], least: float) -> float:
    """Jaccard similarity of two sketched sets; 0 where it is certainly below `least`."""
    n, m = length(one), length(other)
    if min(n, m) < least * max(n, m):
        return 0.0
    i = j = shared = union = 0
    while i < n and j < m:
        union += 1
        if one[i] == other[j]:
            shared += 1
            i += 1
            j += 1
            continue
        if one[i] < other[j]:
            i += 1
        else:
            j += 1
        # All that is left of the shorter one may be shared at best.
        rest = min(n - i, m - j)
        if shared + rest < least * (union + rest) - ROUNDING:
            return 0.0
    # A full sketch may be cut off: what the other has beyond its end is not known to be absent.
    if n < SKETCH:
        union += m - j
    if m < SKETCH:
        union += n - i
    return shared / union if union else 1.0


@numba.njit(cache=True, nogil=True)
def sign(sketch: NDArray[np.uint16], out: NDArray[np.uint64]) -> None:
    """Signature, uint64 [3], of a sketch: which of 128 bits its fingerprints have, and how many they are."""
    n = length(sketch)
    out[:] = 0
    for k in range(n):
        bit = np.uint64(sketch[k] & 127)
        out[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
    out[2] = n


@numba.njit(cache=True, nogil=True)
def _ones(x: np.uint64) -> int:
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def most_shared(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> tuple[int, int]:
    """Of two signatures: at most so many fingerprints are shared, of a union of at least so many.

    A bit that only one of the two has stands for a fingerprint, or more, that the other has not.
    """
    n, m = int(one[2]), int(other[2])
    shared = min(
        n - _ones(one[0] & ~other[0]) - _ones(one[1] & ~other[1]),
        m - _ones(other[0] & ~one[0]) - _ones(other[1] & ~one[1]),
    )
    # The union of cut sketches is cut too; see `jaccard`.
    return shared, n + m - shared if max(n, m) < SKETCH else SKETCH


@numba.njit(cache=True, nogil=True)
def make_bands(sketch: NDArray[np.uint16], out: NDArray[np.uint64]) -> None:
    """Bands, uint64 [16], of a sketch: each the hash of three of its min-hashes."""
    n = length(sketch)
    for j in range(BANDS):
        band = np.uint64(j + 1)
        for row in range(j * _ROWS, (j + 1) * _ROWS):
            smallest = np.uint64(0xFFFFFFFFFFFFFFFF)
            salt = np.uint64(row + 1) * np.uint64(0x9E3779B97F4A7C15)
            for k in range(n):
                smallest = min(smallest, mix(np.uint64(sketch[k]) + salt))
            band = chain(band, smallest)
        out[j] = mix(band)
