"""Integer hash functions, written down: everything hashed here is built on them, never on Python's `hash`."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)
FNV_OFFSET = U64(14695981039346656037)
FNV_PRIME = U64(1099511628211)


@numba.njit(cache=True, nogil=True, inline="always")
def mix(h: np.uint64) -> np.uint64:
    """Finaliser of MurmurHash3 (fmix64): every input bit moves every output bit."""
    h ^= h >> U64(33)
    h *= U64(0xFF51AFD7ED558CCD)
    h ^= h >> U64(33)
    h *= U64(0xC4CEB9FE1A85EC53)
    h ^= h >> U64(33)
    return h


@numba.njit(cache=True, nogil=True, inline="always")
def fnv(h: np.uint64, byte: np.uint8) -> np.uint64:
    """One step of FNV-1a (64 bits)."""
    return (h ^ U64(byte)) * FNV_PRIME


@numba.njit(cache=True, nogil=True, inline="always")
def chain(previous: np.uint64, current: np.uint64) -> np.uint64:
    """Hash of an ordered pair of hashes."""
    return mix(previous * U64(0x94D049BB133111EB) ^ current)


def finish(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 of each number; what comes of equal steps has no pattern, as that of a product alone has."""
    h = (h ^ (h >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> U64(27))) * U64(0x94D049BB133111EB)
    return h ^ (h >> U64(31))
