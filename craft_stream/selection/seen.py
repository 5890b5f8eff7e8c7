"""Accepted pairs that are remembered, so that none is accepted twice, exactly or nearly.

Exact duplicates by a 64-bit hash of both sides' tokens (equal but for case and spaces). Near duplicates by the Jaccard
similarity of the word bigrams of both sides, from a sketch of a pair: the 64 smallest of its bigrams' 16-bit fingerprints
(bottom-k, Broder 1997). Up to 64 bigrams, some 32 words a side, the sketch is the set and the similarity exact but for
colliding fingerprints; beyond, it is estimated over the 64 smallest of the union with a deviation of .06. Remembered pairs
that share one of 16 bands of 3 min-hashes are compared (at Jaccard .6, 2 % share none). Comparing signatures of 64 bytes
instead, always an estimate, refused a fifth more pairs than are near duplicates of command line messages, where short
texts repeat their phrases; counting shared bands over all remembered pairs together, as a Bloom filter must, three times as
many.

Bounded memory: two generations of up to `size` pairs each; when the younger is full, the older is forgotten, so between
size and 2 size accepted pairs are remembered (reach in pairs of the stream: that over the budget's rate). A generation holds
keys, sketches, an open-addressed index of keys and buckets of the 8 newest pairs of a band: 273 bytes a pair. Another pair
passes for an exact duplicate with probability size x 2^-64; for a near one if it is as similar as the estimate's error allows.

Pages of 4,096 pairs are the unit in which seen pairs are stored: written once when full, never again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.text.hashing import chain, mix
from craft_stream.text.tokens import Tokens

MAGIC = b"CRAFTPAG"
FORMAT = 2
SKETCH = 64
PAGE = 4096
_BANDS = 16
_ROWS = 3
_BUCKET = 8
# Fills a sketch of fewer bigrams; no fingerprint.
_NONE = np.uint16(0xFFFF)


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
    out[:] = _NONE
    _add_bigrams(target, np.uint64(8), _add_bigrams(source, np.uint64(7), 0, out), out)


@numba.njit(cache=True, nogil=True)
def _length(sketch: NDArray[np.uint16]) -> int:
    return int(np.searchsorted(sketch, _NONE))


@numba.njit(cache=True, nogil=True)
def jaccard(one: NDArray[np.uint16], other: NDArray[np.uint16], least: float) -> float:
    """Jaccard similarity of two sketched sets; 0 where it is certainly below `least`."""
    n, m = _length(one), _length(other)
    if min(n, m) < least * max(n, m):
        return 0.0
    i = j = shared = union = 0
    while i < n and j < m:
        union += 1
        if one[i] == other[j]:
            shared += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    # A full sketch may be cut off: what the other has beyond its end is not known to be absent.
    if n < SKETCH:
        union += m - j
    if m < SKETCH:
        union += n - i
    return shared / union if union else 1.0


@numba.njit(cache=True, nogil=True)
def _bands(sketch: NDArray[np.uint16], out: NDArray[np.uint64]) -> None:
    n = _length(sketch)
    for j in range(_BANDS):
        band = np.uint64(j + 1)
        for row in range(j * _ROWS, (j + 1) * _ROWS):
            smallest = np.uint64(0xFFFFFFFFFFFFFFFF)
            salt = np.uint64(row + 1) * np.uint64(0x9E3779B97F4A7C15)
            for k in range(n):
                smallest = min(smallest, mix(np.uint64(sketch[k]) + salt))
            band = chain(band, smallest)
        out[j] = mix(band)


@numba.njit(cache=True, nogil=True)
def _chain(h: np.uint64, key: np.uint64) -> np.uint64:
    return chain(h, key)


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
    buckets: NDArray[np.uint32], remembered: NDArray[np.uint16], sketch: NDArray[np.uint16], least: float
) -> float:
    bands = np.empty(_BANDS, np.uint64)
    _bands(sketch, bands)
    most = 0.0
    for band in bands:
        for pair in buckets[np.int64(band & np.uint64(len(buckets) - 1))]:
            if pair == 0:
                break
            most = max(most, jaccard(remembered[np.int64(pair) - 1], sketch, max(most, least)))
    return most


@numba.njit(cache=True, nogil=True)
def _remember(
    keys: NDArray[np.uint64],
    sketches: NDArray[np.uint16],
    start: int,
    stop: int,
    by_key: NDArray[np.uint32],
    buckets: NDArray[np.uint32],
) -> None:
    bands = np.empty(_BANDS, np.uint64)
    for i in range(start, stop):
        mask = np.uint64(len(by_key) - 1)
        at = mix(keys[i]) & mask
        while by_key[np.int64(at)] != 0:
            at = (at + np.uint64(1)) & mask
        by_key[np.int64(at)] = i + 1
        _bands(sketches[i], bands)
        for band in bands:
            # The newest first, the oldest falls out: twins tend to come close together.
            bucket = buckets[np.int64(band & np.uint64(len(buckets) - 1))]
            for k in range(_BUCKET - 1, 0, -1):
                bucket[k] = bucket[k - 1]
            bucket[0] = i + 1


def _words(tokens: Tokens, row: int) -> NDArray[np.uint64]:
    return tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]


class _Generation:
    """Pairs of one generation, in order; its arrays grow by doubling, so that a young partition is small."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.count = 0
        self._keys = np.zeros(0, np.uint64)
        self._sketches = np.zeros((0, SKETCH), np.uint16)
        self._allocate(min(size, PAGE))

    def _allocate(self, room: int) -> None:
        more = room - self.count
        self._keys = np.concatenate([self._keys, np.zeros(more, np.uint64)])
        self._sketches = np.concatenate([self._sketches, np.zeros((more, SKETCH), np.uint16)])
        places = 1 << int(np.ceil(np.log2(2 * room)))
        self._by_key = np.zeros(places, np.uint32)
        self._buckets = np.zeros((places * _BANDS // _BUCKET, _BUCKET), np.uint32)
        _remember(self._keys, self._sketches, 0, self.count, self._by_key, self._buckets)

    def add(self, key: np.uint64, sketch: NDArray[np.uint16]) -> None:
        if self.count == len(self._keys):
            self._allocate(min(self._size, 2 * self.count))
        self._keys[self.count], self._sketches[self.count] = key, sketch
        _remember(self._keys, self._sketches, self.count, self.count + 1, self._by_key, self._buckets)
        self.count += 1

    def holds(self, key: np.uint64) -> bool:
        return bool(_find(self._by_key, self._keys, key))

    def similarity(self, sketch: NDArray[np.uint16], least: float) -> float:
        return float(_most_similar(self._buckets, self._sketches, sketch, least))


@dataclass(frozen=True, slots=True)
class Page:
    """Remembered pairs, in the order in which they were accepted.

    Attributes:
        keys: uint64 [n]; sketches: uint16 [n, 64]; n is 4,096 for a full page.
    """

    keys: NDArray[np.uint64]
    sketches: NDArray[np.uint16]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays to be stored: keys, and the sketches end to end with their lengths, since most are short."""
        held = self.sketches != _NONE
        return {
            "keys": self.keys,
            "lengths": held.sum(1).astype(np.uint8),
            "fingerprints": self.sketches[held],
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Page:
        """From `arrays`.

        Raises:
            IntegrityError: they do not fit together.
        """
        keys, lengths, fingerprints = arrays["keys"], arrays["lengths"], arrays["fingerprints"]
        if len(lengths) != len(keys) or lengths.max(initial=0) > SKETCH or lengths.sum() != len(fingerprints):
            raise IntegrityError(f"{len(keys)} seen pairs do not fit {len(fingerprints)} fingerprints")
        sketches = np.full((len(keys), SKETCH), _NONE)
        sketches[np.arange(SKETCH) < lengths[:, None]] = fingerprints
        return cls(keys, sketches)

    def encode(self, index: int) -> bytes:
        """As bytes, under its index."""
        header = {"format": FORMAT, "index": index}
        return codec.encode(MAGIC, header, self.arrays())

    @classmethod
    def decode(cls, data: bytes, index: int) -> Page:
        """From bytes.

        Raises:
            IntegrityError: damaged, another page, or not a full one.
        """
        header, arrays = codec.decode(MAGIC, data)
        if header.get("format") != FORMAT or header.get("index") != index:
            raise IntegrityError(
                f"this is page {header.get('index')} of format {header.get('format')}, not page {index} of {FORMAT}"
            )
        page = cls.of(arrays)
        if len(page.keys) != PAGE:
            raise IntegrityError(f"page {index} holds {len(page.keys)} pairs, not {PAGE}")
        return page


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
        self._sketches = np.zeros((PAGE, SKETCH), np.uint16)
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
        return np.uint64(pair_key(_words(source, row), _words(target, row)))

    def sketch(self, source: Tokens, target: Tokens, row: int) -> NDArray[np.uint16]:
        """Sketch of a pair, uint16 [64]."""
        out = np.empty(SKETCH, np.uint16)
        sketch(_words(source, row), _words(target, row), out)
        return out

    def holds(self, key: np.uint64) -> bool:
        """The very pair has been accepted."""
        return self._young.holds(key) or (self._old is not None and self._old.holds(key))

    def similarity(self, sketch: NDArray[np.uint16], least: float) -> float:
        """Jaccard similarity to the most similar remembered pair, 0 to 1; 0 where none can reach `least`."""
        similarity = self._young.similarity(sketch, least)
        return similarity if self._old is None else max(similarity, self._old.similarity(sketch, least))

    def add(self, key: np.uint64, sketch: NDArray[np.uint16]) -> None:
        """Remember an accepted pair."""
        at = self.open
        self._keys[at], self._sketches[at] = key, sketch
        self._young.add(key, sketch)
        self.chain = np.uint64(_chain(self.chain, key))
        self.open += 1
        if self.open == PAGE:
            self._close()

    def open_page(self) -> Page:
        """The pairs of the open page, copied."""
        return Page(self._keys[: self.open].copy(), self._sketches[: self.open].copy())

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
            parts.append(Page(closed.keys[first:], closed.sketches[first:]))
        rest = self.open_page()
        first = start if self.page == page else 0
        parts.append(Page(rest.keys[first:], rest.sketches[first:]))
        return Page(
            np.concatenate([part.keys for part in parts]), np.concatenate([part.sketches for part in parts])
        )

    def replay(self, page: Page) -> None:
        """Remember pairs again, on restore: pages from the oldest, then the open one."""
        for key, sketched in zip(page.keys, page.sketches, strict=True):
            self.add(key, sketched)
        self._closed = []
        self.mark()

    def begin_at(self, page: int) -> None:
        """Start restoring at a page: the first that is still remembered."""
        self.page = page

    def _close(self) -> None:
        page = self.open_page()
        self._closed.append((self.page, page))
        self._since_mark.append((self.page, page))
        self.page += 1
        self.open = 0
        if self.page % self._pages_per_generation == 0:
            self._old, self._young = self._young, self._new_generation()
