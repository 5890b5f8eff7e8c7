"""A generation of remembered pairs: arrays that grow, with an index of their keys and buckets of their bands.

297 bytes a pair: its key, sketch and signature, twice to four times a place in the index of keys (open addressing), and its
place among the 8 newest pairs of 16 buckets.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Query(NamedTuple):
    """Pairs of a batch that are asked about.

    Attributes:
        rows: int64 [n], ascending.
        rooms: int64 [n], how many of `rows` may be accepted up to each, itself included.
        exact: a pair that is remembered is a duplicate.
        near: Jaccard similarity to a remembered pair from which a pair is a near duplicate; above 1: none is.
        duplicates_first: a duplicate is called one also where there is no room; else room is asked for first.
    """

    rows: NDArray[np.int64]
    rooms: NDArray[np.int64]
    exact: bool
    near: float
    duplicates_first: bool


class Words(NamedTuple):
    """One side of pairs, as hashes of words.

    Attributes:
        hashes: uint64 [words].
        offsets: int64 [pairs + 1].
    """

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.int64]


class Index(NamedTuple):
    """Arrays of a generation.

    Attributes:
        places: uint32 [2^k], open addressing by key: the pair's number plus 1, 0 if free.
        keys: uint64 [capacity].
        buckets: uint32 [bands, 8], the newest pairs of each band, likewise.
        sketches: uint16 [capacity, 64].
        signatures: uint64 [capacity, 3].
    """

    places: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    buckets: NDArray[np.uint32]
    sketches: NDArray[np.uint16]
    signatures: NDArray[np.uint64]


@numba.njit(cache=True, nogil=True)
def _find(index: Index, key: np.uint64) -> bool:
    mask = np.uint64(len(index.places) - 1)
    at = mix(key) & mask
    while index.places[np.int64(at)] != 0:
        if index.keys[np.int64(index.places[np.int64(at)]) - 1] == key:
            return True
        at = (at + np.uint64(1)) & mask
    return False


@numba.njit(cache=True, nogil=True)
def _near(
    index: Index,
    sketch: NDArray[np.uint16],
    signature: NDArray[np.uint64],
    bands: NDArray[np.uint64],
    least: float,
) -> bool:
    """Whether the similarity to any pair is at least `least`."""
    for band in bands:
        for pair in index.buckets[np.int64(band & np.uint64(len(index.buckets) - 1))]:
            if pair == 0:
                break
            # Nearly all who share a bucket are strangers, and their sketches are not in the cache: 25 us a pair with 20,000
            # remembered where this takes 6.
            shared, union = most_shared(index.signatures[np.int64(pair) - 1], signature)
            if shared < least * union - ROUNDING:
                continue
            if jaccard(index.sketches[np.int64(pair) - 1], sketch, least) >= least:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _enter(index: Index, i: int, bands: NDArray[np.uint64]) -> None:
    mask = np.uint64(len(index.places) - 1)
    at = mix(index.keys[i]) & mask
    while index.places[np.int64(at)] != 0:
        at = (at + np.uint64(1)) & mask
    index.places[np.int64(at)] = i + 1
    for band in bands:
        # The newest first, the oldest falls out: pairs that are alike tend to come close together.
        bucket = index.buckets[np.int64(band & np.uint64(len(index.buckets) - 1))]
        for k in range(_BUCKET - 1, 0, -1):
            bucket[k] = bucket[k - 1]
        bucket[0] = i + 1


@numba.njit(cache=True, nogil=True)
def _enter_all(index: Index, start: int, stop: int) -> None:
    bands = np.empty(BANDS, np.uint64)
    for i in range(start, stop):
        make_bands(index.sketches[i], bands)
        sign(index.sketches[i], index.signatures[i])
        _enter(index, i, bands)


@numba.njit(cache=True, nogil=True)
def admit(
    source: Words,
    target: Words,
    query: Query,
    young: Index,
    count: int,
    old: Index,
    enter: bool,
    found: NDArray[np.uint8],
    start: int,
    stop: int,
) -> int:
    """Say of rows[start:stop] what becomes of them, see `SeenPairs.admit`; the pairs that the young generation then has.

    Args:
        source, target: of the batch.
        query: which of its pairs, and what is a duplicate.
        young: to which accepted pairs are added from place `count` on, if `enter`; there is room.
        count: pairs that it has.
        old: the generation before.
        enter: remember what is accepted.
        found: uint8 [n]; what was found of the rows before `start` stands there.
        start, stop: which rows.
    """
    taken = 0
    for n in range(start):
        taken += found[n] == _ACCEPTED
    newest = np.empty(SKETCH, np.uint16)
    signature = np.empty(3, np.uint64)
    bands = np.empty(BANDS, np.uint64)
    for n in range(start, stop):
        found[n] = _OVER_BUDGET
        if taken >= query.rooms[n] and not query.duplicates_first:
            continue
        row = query.rows[n]
        one = source.hashes[source.offsets[row] : source.offsets[row + 1]]
        other = target.hashes[target.offsets[row] : target.offsets[row + 1]]
        sketch(one, other, newest)
        key = pair_key(one, other, newest)
        if query.exact and (_find(young, key) or _find(old, key)):
            found[n] = _DUPLICATE
            continue
        make_bands(newest, bands)
        sign(newest, signature)
        if query.near <= 1 and (
            _near(young, newest, signature, bands, query.near)
            or _near(old, newest, signature, bands, query.near)
        ):
            found[n] = _NEAR_DUPLICATE
            continue
        if taken >= query.rooms[n]:
            continue
        found[n] = _ACCEPTED
        taken += 1
        if enter:
            young.keys[count] = key
            young.sketches[count], young.signatures[count] = newest, signature
            _enter(young, count, bands)
            count += 1
    return count


class Generation:
    """Pairs of one generation, in order; its arrays grow by doubling, so that a young partition is small.

    Attributes:
        size: pairs with which it ends.
        count: pairs that it has.
        index: its arrays.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.index = _allocate(min(size, UNIT))

    @property
    def free(self) -> int:
        """Pairs that fit before it grows or, with `size`, ends."""
        return len(self.index.keys) - self.count

    def add(self, keys: NDArray[np.uint64], sketches: NDArray[np.uint16]) -> NDArray[np.uint64]:
        """Remember pairs, in order, at most as many as are `free`; their keys."""
        start, stop = self.count, self.count + len(keys)
        self.index.keys[start:stop], self.index.sketches[start:stop] = keys, sketches
        _enter_all(self.index, start, stop)
        return self.grow_to(stop)

    def grow_to(self, count: int) -> NDArray[np.uint64]:
        """So many pairs are held by now; the keys of those that are new.

        With the last that fits the arrays are doubled: which buckets there are follows from the count alone.
        """
        new = self.index.keys[self.count : count]
        self.count = count
        if not self.free and count < self.size:
            held, self.index = self.index, _allocate(min(2 * count, self.size))
            self.index.keys[:count], self.index.sketches[:count] = held.keys, held.sketches
            _enter_all(self.index, 0, count)
        return new

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
        """Keys and sketches of pairs [start, stop), as far as they are held."""
        start, stop = max(start, 0), max(min(stop, self.count), 0)
        return self.index.keys[start:stop], self.index.sketches[start:stop]


def _allocate(capacity: int) -> Index:
    places = 1 << int(np.ceil(np.log2(2 * capacity)))
    return Index(
        np.zeros(places, np.uint32),
        np.zeros(capacity, np.uint64),
        np.zeros((places * BANDS // _BUCKET, _BUCKET), np.uint32),
        np.zeros((capacity, SKETCH), np.uint16),
        np.zeros((capacity, 3), np.uint64),
    )


# A generation without pairs.
EMPTY = Index(
    np.zeros(1, np.uint32),
    np.zeros(0, np.uint64),
    np.zeros((1, _BUCKET), np.uint32),
    np.zeros((0, SKETCH), np.uint16),
    np.zeros((0, 3), np.uint64),
)
