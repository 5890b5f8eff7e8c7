"""Accepted pairs that are remembered, so that none is accepted twice, exactly or nearly.

Exact duplicates by a 64-bit hash of both sides' tokens (equal but for case and spaces). Near duplicates by min-hash (Broder
1997): 32 minima over word bigrams of both sides in 16 bands of 2; a pair that shares at least `bands` of its 16 bands
with remembered pairs (6: Jaccard about .6) is a near duplicate.

Bounded memory: two generations of up to `size` pairs each; when the younger is full, the older is forgotten, so between
size and 2 size accepted pairs are remembered (reach in pairs of the stream: that over the budget's rate). A generation
holds its exact keys in an open-addressed table (false positives: pairs x 2^-64) and its bands in a blocked Bloom filter
of 16 bits a band and 4 probes: under .5 % a band when full, so 6 of 16 bands by chance under 8008 x .005^6 = 1.3e-10.

Pages of 4,096 pairs are the unit in which seen pairs are stored: written once when full, never again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.hashing import chain, mix
from craft_stream.text.ngrams import NGrams
from craft_stream.text.tokens import Tokens

BANDS = 16
PAGE = 4096
_LINE_BITS = 512
_LINE_WORDS = _LINE_BITS // 64


@numba.njit(cache=True, nogil=True)
def pair_key(source: NDArray[np.uint64], target: NDArray[np.uint64]) -> np.uint64:
    """64-bit hash of two sequences of word hashes; never 0."""
    h = np.uint64(len(source) + 1)
    for word in source:
        h = chain(h, word)
    h = mix(h + np.uint64(0x5F3759DF))
    for word in target:
        h = chain(h, word)
    return h | np.uint64(1)


@numba.njit(cache=True, nogil=True)
def min_hash_bands(indices: NDArray[np.uint32], out: NDArray[np.uint32]) -> None:
    """Band hashes, uint32 [16], of n-gram indices in which every second is a bigram."""
    minima = np.full(2 * BANDS, np.uint64(0xFFFFFFFFFFFFFFFF))
    for k in range(1, len(indices), 2):
        gram = np.uint64(indices[k]) + np.uint64(1)
        for j in range(2 * BANDS):
            h = mix(gram * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(j) * np.uint64(0x9E3779B97F4A7C15))
            minima[j] = min(minima[j], h)
    for j in range(BANDS):
        out[j] = np.uint32(
            mix(minima[2 * j] * np.uint64(31) + minima[2 * j + 1] + np.uint64(j)) >> np.uint64(32)
        )


@numba.njit(cache=True, nogil=True)
def _chain(h: np.uint64, key: np.uint64) -> np.uint64:
    return chain(h, key)


@numba.njit(cache=True, nogil=True)
def _find(table: NDArray[np.uint64], key: np.uint64) -> bool:
    mask = np.uint64(len(table) - 1)
    at = mix(key) & mask
    while table[np.int64(at)] != 0:
        if table[np.int64(at)] == key:
            return True
        at = (at + np.uint64(1)) & mask
    return False


@numba.njit(cache=True, nogil=True)
def _put(table: NDArray[np.uint64], key: np.uint64) -> None:
    mask = np.uint64(len(table) - 1)
    at = mix(key) & mask
    while table[np.int64(at)] != 0 and table[np.int64(at)] != key:
        at = (at + np.uint64(1)) & mask
    table[np.int64(at)] = key


@numba.njit(cache=True, nogil=True)
def _probe(words: NDArray[np.uint64], band: np.uint32, index: int, write: bool) -> bool:
    h = mix((np.uint64(band) << np.uint64(5)) + np.uint64(index))
    line = np.int64(h % np.uint64(len(words) // _LINE_WORDS)) * _LINE_WORDS
    h = mix(h + np.uint64(1))
    present = True
    for _ in range(4):
        bit = np.int64(h & np.uint64(_LINE_BITS - 1))
        h >>= np.uint64(9)
        mask = np.uint64(1) << np.uint64(bit & 63)
        word = line + (bit >> 6)
        if words[word] & mask == 0:
            present = False
            if write:
                words[word] |= mask
    return present


@numba.njit(cache=True, nogil=True)
def _shared(words: NDArray[np.uint64], bands: NDArray[np.uint32]) -> int:
    hits = 0
    for j in range(BANDS):
        hits += _probe(words, bands[j], j, False)
    return hits


@numba.njit(cache=True, nogil=True)
def _remember(
    table: NDArray[np.uint64], words: NDArray[np.uint64], keys: NDArray[np.uint64], bands: NDArray[np.uint32]
) -> None:
    for i in range(len(keys)):
        _put(table, keys[i])
        for j in range(BANDS):
            _probe(words, bands[i, j], j, True)


class _Generation:
    """Tables of up to `size` pairs; grown by doubling, so that a young partition is small."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pages: list[tuple[NDArray[np.uint64], NDArray[np.uint32]]] = []
        self._allocate(min(size, PAGE))

    def _allocate(self, room: int) -> None:
        self._room = room
        self.table = np.zeros(1 << int(np.ceil(np.log2(2 * room))), np.uint64)
        self.words = np.zeros(room * BANDS * 16 // 64, np.uint64)

    def add(self, keys: NDArray[np.uint64], bands: NDArray[np.uint32], count: int) -> None:
        """Remember pairs; `count` pairs are in already."""
        if count + len(keys) > self._room:
            self._allocate(min(self._size, 2 * self._room))
            for old_keys, old_bands in self._pages:
                _remember(self.table, self.words, old_keys, old_bands)
        _remember(self.table, self.words, keys, bands)

    def keep(self, keys: NDArray[np.uint64], bands: NDArray[np.uint32]) -> None:
        """Hold a full page's contents for growing; let go of once grown to full size."""
        if self._room < self._size:
            self._pages.append((keys, bands))
        else:
            self._pages.clear()


@dataclass(frozen=True, slots=True)
class Page:
    """Remembered pairs, in the order in which they were accepted.

    Attributes:
        keys: uint64 [n]; bands: uint32 [n, 16]; n is 4,096 for a full page.
    """

    keys: NDArray[np.uint64]
    bands: NDArray[np.uint32]


class SeenPairs:
    """Remembers accepted pairs.

    Attributes:
        page: index of the open page.
        open: pairs in the open page.
        chain: hash of all keys that were ever added, in order.
    """

    def __init__(self, size: int) -> None:
        self._pages_per_generation = max(size // PAGE, 1)
        self.page = 0
        self.open = 0
        self.chain = np.uint64(0)
        self._keys = np.zeros(PAGE, np.uint64)
        self._bands = np.zeros((PAGE, BANDS), np.uint32)
        self._young = self._new_generation()
        self._old: _Generation | None = None
        self._closed: list[tuple[int, Page]] = []
        self._since_mark: list[tuple[int, Page]] = []
        self._marked = (0, 0)

    def _new_generation(self) -> _Generation:
        return _Generation(self._pages_per_generation * PAGE)

    @property
    def first_page(self) -> int:
        """Index of the oldest page that is remembered."""
        return max(0, (self.page // self._pages_per_generation - 1) * self._pages_per_generation)

    def key(self, source: Tokens, target: Tokens, row: int) -> np.uint64:
        """Exact key of a pair."""
        return np.uint64(
            pair_key(
                source.words[source.offsets[row] : source.offsets[row + 1]],
                target.words[target.offsets[row] : target.offsets[row + 1]],
            )
        )

    def bands(self, ngrams: NGrams, row: int) -> NDArray[np.uint32]:
        """Bands of a pair, uint32 [16]."""
        out = np.empty(BANDS, np.uint32)
        min_hash_bands(ngrams.indices[ngrams.offsets[row] : ngrams.offsets[row + 1]], out)
        return out

    def holds(self, key: np.uint64) -> bool:
        """The very pair has been accepted."""
        return bool(_find(self._young.table, key) or (self._old is not None and _find(self._old.table, key)))

    def shared_bands(self, bands: NDArray[np.uint32]) -> int:
        """Bands shared with a generation, the larger count of the two."""
        shared = int(_shared(self._young.words, bands))
        if self._old is not None:
            shared = max(shared, int(_shared(self._old.words, bands)))
        return shared

    def add(self, key: np.uint64, bands: NDArray[np.uint32]) -> None:
        """Remember an accepted pair."""
        at = self.open
        self._keys[at], self._bands[at] = key, bands
        in_generation = (self.page % self._pages_per_generation) * PAGE + at
        self._young.add(self._keys[at : at + 1], self._bands[at : at + 1], in_generation)
        self.chain = np.uint64(_chain(self.chain, key))
        self.open += 1
        if self.open == PAGE:
            self._close()

    def open_page(self) -> Page:
        """The pairs of the open page, copied."""
        return Page(self._keys[: self.open].copy(), self._bands[: self.open].copy())

    def take_closed(self) -> list[tuple[int, Page]]:
        """Pages that have become full since the last call, with their indices."""
        closed, self._closed = self._closed, []
        return closed

    def mark(self) -> None:
        """From here on counts as new for `since_mark`."""
        self._since_mark = []
        self._marked = (self.page, self.open)

    def since_mark(self) -> Page:
        """Pairs added since `mark`, in order."""
        page, start = self._marked
        parts = []
        for index, closed in self._since_mark:
            first = start if index == page else 0
            parts.append(Page(closed.keys[first:], closed.bands[first:]))
        rest = self.open_page()
        first = start if self.page == page else 0
        parts.append(Page(rest.keys[first:], rest.bands[first:]))
        return Page(
            np.concatenate([part.keys for part in parts]), np.concatenate([part.bands for part in parts])
        )

    def replay(self, page: Page) -> None:
        """Remember pairs again, on restore: pages from the oldest, then the open one."""
        for key, bands in zip(page.keys, page.bands, strict=True):
            self.add(key, bands)
        self._closed = []
        self.mark()

    def begin_at(self, page: int) -> None:
        """Start restoring at a page: the first that is still remembered."""
        self.page = page

    def _close(self) -> None:
        page = self.open_page()
        self._closed.append((self.page, page))
        self._since_mark.append((self.page, page))
        self._young.keep(page.keys, page.bands)
        self.page += 1
        self.open = 0
        if self.page % self._pages_per_generation == 0:
            self._old, self._young = self._young, self._new_generation()
