"""A generation of remembered pairs: arrays that grow, with an index of their keys and buckets of their bands.

297 bytes a pair: its key, sketch and signature, twice to four times a place in the index of keys (open addressing), and its
place among the 8 newest pairs of 16 buckets.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Reason
from craft_stream.selection.segments import SKETCH
from craft_stream.selection.sketches import (
    BANDS,
    ROUNDING,
    jaccard,
    make_bands,
    most_shared,
    pair_key,
    sign,
    sketch,
)
from craft_stream.text.hashing import mix

# Generations are multiples of so many pairs.
UNIT = 4096
_BUCKET = 8
_ACCEPTED, _OVER_BUDGET = int(Reason.ACCEPTED), int(Reason.OVER_BUDGET)
_DUPLICATE, _NEAR_DUPLICATE = int(Reason.DUPLICATE), int(Reason.NEAR_DUPLICATE)


@numba.njit(cache=True, nogil=True)
def _find(index: NDArray[np.uint32], keys: NDArray[np.uint64], key: np.uint64) -> bool:
    mask = np.uint64(len(index) - 1)
    at = mix(key) & mask
    while index[np.int64(at)] != 0:
        if keys[np.int64(index[np.int64(at)]) - 1] == key:
            return True
        at = (at + np.uint64(1)) & mask
    return False


@numba.njit(cache=True, nogil=True)
def _most_similar(
    buckets: NDArray[np.uint32],
    remembered: NDArray[np.uint16],
    signatures: NDArray[np.uint64],
    sketch: NDArray[np.uint16],
    signature: NDArray[np.uint64],
    bands: NDArray[np.uint64],
    least: float,
) -> float:
    most = 0.0
    for band in bands:
        for pair in buckets[np.int64(band & np.uint64(len(buckets) - 1))]:
            if pair == 0:
                break
            # Nearly all who share a bucket are strangers, and their sketches are not in the cache: 25 us a pair with 20,000
            # remembered where this takes 6.
            shared, union = most_shared(signatures[np.int64(pair) - 1], signature)
            if shared < least * union - ROUNDING:
                continue
            most = max(most, jaccard(remembered[np.int64(pair) - 1], sketch, max(most, least)))
    return most


@numba.njit(cache=True, nogil=True)
def _remember(
    keys: NDArray[np.uint64],
    sketches: NDArray[np.uint16],
    signatures: NDArray[np.uint64],
    start: int,
    stop: int,
    by_key: NDArray[np.uint32],
    buckets: NDArray[np.uint32],
) -> None:
    bands = np.empty(BANDS, np.uint64)
    for i in range(start, stop):
        make_bands(sketches[i], bands)
        sign(sketches[i], signatures[i])
        _enter(i, keys[i], bands, by_key, buckets)


@numba.njit(cache=True, nogil=True)
def _enter(
    i: int,
    key: np.uint64,
    bands: NDArray[np.uint64],
    by_key: NDArray[np.uint32],
    buckets: NDArray[np.uint32],
) -> None:
    mask = np.uint64(len(by_key) - 1)
    at = mix(key) & mask
    while by_key[np.int64(at)] != 0:
        at = (at + np.uint64(1)) & mask
    by_key[np.int64(at)] = i + 1
    for band in bands:
        # The newest first, the oldest falls out: twins tend to come close together.
        bucket = buckets[np.int64(band & np.uint64(len(buckets) - 1))]
        for k in range(_BUCKET - 1, 0, -1):
            bucket[k] = bucket[k - 1]
        bucket[0] = i + 1


@numba.njit(cache=True, nogil=True)
def admit(
    source: NDArray[np.uint64],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    rooms: NDArray[np.int64],
    start: int,
    taken: int,
    exact: bool,
    near: float,
    young: Index,
    old: Index,
    count: int,
    room: int,
    found: NDArray[np.uint8],
    newest: NDArray[np.uint16],
) -> tuple[int, int, np.uint64]:
    """Admit rows from `start` on, `taken` of those before having been accepted, until one is for `_extend` to remember.

    Returns the row behind the last that was looked at, the pairs of the young generation, and the key that is not in it yet
    (its sketch is in `newest`), 0 if there is none.
    """
    bands = np.empty(BANDS, np.uint64)
    signature = np.empty(3, np.uint64)
    for n in range(start, len(rows)):
        if taken >= rooms[n]:
            found[n] = _OVER_BUDGET
            continue
        one = source[source_offsets[rows[n]] : source_offsets[rows[n] + 1]]
        other = target[target_offsets[rows[n]] : target_offsets[rows[n] + 1]]
        sketch(one, other, newest)
        key = pair_key(one, other, newest)
        if exact and (_find(young[0], young[1], key) or _find(old[0], old[1], key)):
            found[n] = _DUPLICATE
            continue
        make_bands(newest, bands)
        sign(newest, signature)
        if near <= 1 and (
            _most_similar(young[2], young[3], young[4], newest, signature, bands, near) >= near
            or _most_similar(old[2], old[3], old[4], newest, signature, bands, near) >= near
        ):
            found[n] = _NEAR_DUPLICATE
            continue
        found[n] = _ACCEPTED
        taken += 1
        if count >= room:
            return n + 1, count, key
        young[1][count] = key
        young[3][count], young[4][count] = newest, signature
        _enter(count, key, bands, young[0], young[2])
        count += 1
    return len(rows), count, np.uint64(0)


# Of a generation: places of keys, keys, buckets of bands, sketches, signatures.
Index = tuple[
    NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint64]
]


class Generation:
    """Pairs of one generation, in order; its arrays grow by doubling, so that a young partition is small."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.count = 0
        self._keys = np.zeros(0, np.uint64)
        self._sketches = np.zeros((0, SKETCH), np.uint16)
        self._signatures = np.zeros((0, 3), np.uint64)
        self._allocate(min(size, UNIT), 0)

    def _allocate(self, room: int, held: int) -> None:
        more = room - len(self._keys)
        self._keys = np.concatenate([self._keys, np.zeros(more, np.uint64)])
        self._sketches = np.concatenate([self._sketches, np.zeros((more, SKETCH), np.uint16)])
        self._signatures = np.zeros((room, 3), np.uint64)
        places = 1 << int(np.ceil(np.log2(2 * room)))
        self._by_key = np.zeros(places, np.uint32)
        self._buckets = np.zeros((places * BANDS // _BUCKET, _BUCKET), np.uint32)
        self._remember(0, held)

    def add(self, keys: NDArray[np.uint64], sketches: NDArray[np.uint16]) -> None:
        """Remember pairs, in order; there is room for them."""
        start, self.count = self.count, self.count + len(keys)
        if self.count > len(self._keys):
            more = max(self.count, 2 * start) - len(self._keys)
            self._allocate(min(self._size, len(self._keys) + more), start)
        self._keys[start : self.count], self._sketches[start : self.count] = keys, sketches
        self._remember(start, self.count)

    def _remember(self, start: int, stop: int) -> None:
        _remember(self._keys, self._sketches, self._signatures, start, stop, self._by_key, self._buckets)

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
        """Keys and sketches of pairs [start, stop), as far as they are held."""
        start, stop = max(start, 0), max(min(stop, self.count), 0)
        return self._keys[start:stop], self._sketches[start:stop]

    def holds(self, key: np.uint64) -> bool:
        """The very pair is held."""
        return bool(_find(self._by_key, self._keys, key))

    def similarity(self, sketch: NDArray[np.uint16], least: float) -> float:
        """Jaccard similarity to the most similar pair, 0 to 1; 0 where none can reach `least`."""
        bands, signature = np.empty(BANDS, np.uint64), np.empty(3, np.uint64)
        make_bands(sketch, bands)
        sign(sketch, signature)
        found = _most_similar(
            self._buckets, self._sketches, self._signatures, sketch, signature, bands, least
        )
        return float(found)

    @property
    def index(self) -> Index:
        """Its arrays, for `admit`."""
        return self._by_key, self._keys, self._buckets, self._sketches, self._signatures

    @property
    def room(self) -> int:
        """Pairs that it may hold without growing or being the last generation."""
        return min(len(self._keys), self._size - 1)


NO_INDEX: Index = (
    np.zeros(1, np.uint32),
    np.zeros(0, np.uint64),
    np.zeros((1, _BUCKET), np.uint32),
    np.zeros((0, SKETCH), np.uint16),
    np.zeros((0, 3), np.uint64),
)
