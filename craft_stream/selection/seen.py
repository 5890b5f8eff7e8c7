"""Accepted pairs that are remembered, so that none is accepted twice, exactly or nearly.

Exact duplicates by a 64-bit hash of both sides' tokens (equal but for case and spaces). Near duplicates by min-hash (Broder
1997) over the word bigrams of both sides: 64 minima, of each the lowest byte (Li and Konig 2010), so that the share of equal
bytes estimates the Jaccard similarity with a deviation of .06. Remembered pairs that share one of 16 bands of 3 bytes are
looked up (at Jaccard .6, 2 % share none) and compared in full. Counting shared bands over all remembered pairs together, as
a Bloom filter must, refuses two pairs for each true one where a domain repeats its phrases: of command line messages 67 %
of the refused had no pair of Jaccard .5.

Bounded memory: two generations of up to `size` pairs each; when the younger is full, the older is forgotten, so between
size and 2 size accepted pairs are remembered (reach in pairs of the stream: that over the budget's rate). A generation holds
keys, signatures and two open-addressed indices of pair numbers: 208 bytes a pair. Another pair passes for an exact duplicate
with probability size x 2^-64; for a near one if it is as similar as the estimate's error allows.

Pages of 4,096 pairs are the unit in which seen pairs are stored: written once when full, never again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.text.hashing import chain, mix
from craft_stream.text.ngrams import NGrams
from craft_stream.text.tokens import Tokens

MAGIC = b"CRAFTPAG"
FORMAT = 1
SIGNATURE = 64
PAGE = 4096
_BANDS = 16


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
def min_hash(indices: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
    """Signature, uint8 [64], of n-gram indices of which every second is a bigram."""
    minima = np.full(SIGNATURE, np.uint64(0xFFFFFFFFFFFFFFFF))
    for k in range(1, len(indices), 2):
        gram = (np.uint64(indices[k]) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        for j in range(SIGNATURE):
            minima[j] = min(minima[j], mix(gram + np.uint64(j) * np.uint64(0x9E3779B97F4A7C15)))
    for j in range(SIGNATURE):
        out[j] = np.uint8(minima[j] & np.uint64(0xFF))


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


@numba.njit(cache=True, nogil=True, inline="always")
def _band(signature: NDArray[np.uint8], j: int) -> np.uint64:
    return (
        np.uint64(signature[3 * j])
        | (np.uint64(signature[3 * j + 1]) << np.uint64(8))
        | (np.uint64(signature[3 * j + 2]) << np.uint64(16))
    )


@numba.njit(cache=True, nogil=True)
def _most_similar(
    index: NDArray[np.uint32], remembered: NDArray[np.uint8], signature: NDArray[np.uint8]
) -> int:
    mask = np.uint64(len(index) - 1)
    most = 0
    for j in range(_BANDS):
        band = _band(signature, j)
        at = mix((band << np.uint64(5)) + np.uint64(j)) & mask
        while index[np.int64(at)] != 0:
            pair = remembered[np.int64(index[np.int64(at)]) - 1]
            if _band(pair, j) == band:
                equal = 0
                for k in range(SIGNATURE):
                    equal += pair[k] == signature[k]
                most = max(most, equal)
                break
            at = (at + np.uint64(1)) & mask
    return most


@numba.njit(cache=True, nogil=True)
def _remember(
    keys: NDArray[np.uint64],
    signatures: NDArray[np.uint8],
    start: int,
    stop: int,
    by_key: NDArray[np.uint32],
    by_band: NDArray[np.uint32],
) -> None:
    for i in range(start, stop):
        mask = np.uint64(len(by_key) - 1)
        at = mix(keys[i]) & mask
        while by_key[np.int64(at)] != 0:
            at = (at + np.uint64(1)) & mask
        by_key[np.int64(at)] = i + 1
        mask = np.uint64(len(by_band) - 1)
        for j in range(_BANDS):
            band = _band(signatures[i], j)
            at = mix((band << np.uint64(5)) + np.uint64(j)) & mask
            while (
                by_band[np.int64(at)] != 0
                and _band(signatures[np.int64(by_band[np.int64(at)]) - 1], j) != band
            ):
                at = (at + np.uint64(1)) & mask
            # The newest pair takes the place of an older one with the same band: twins tend to come close together.
            by_band[np.int64(at)] = i + 1


class _Generation:
    """Pairs of one generation, in order; its arrays grow by doubling, so that a young partition is small."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.count = 0
        self._keys = np.zeros(0, np.uint64)
        self._signatures = np.zeros((0, SIGNATURE), np.uint8)
        self._allocate(min(size, PAGE))

    def _allocate(self, room: int) -> None:
        more = room - self.count
        self._keys = np.concatenate([self._keys, np.zeros(more, np.uint64)])
        self._signatures = np.concatenate([self._signatures, np.zeros((more, SIGNATURE), np.uint8)])
        places = 1 << int(np.ceil(np.log2(2 * room)))
        self._by_key = np.zeros(places, np.uint32)
        self._by_band = np.zeros(places * _BANDS, np.uint32)
        _remember(self._keys, self._signatures, 0, self.count, self._by_key, self._by_band)

    def add(self, key: np.uint64, signature: NDArray[np.uint8]) -> None:
        if self.count == len(self._keys):
            self._allocate(min(self._size, 2 * self.count))
        self._keys[self.count], self._signatures[self.count] = key, signature
        _remember(self._keys, self._signatures, self.count, self.count + 1, self._by_key, self._by_band)
        self.count += 1

    def holds(self, key: np.uint64) -> bool:
        return bool(_find(self._by_key, self._keys, key))

    def similarity(self, signature: NDArray[np.uint8]) -> float:
        return float(_most_similar(self._by_band, self._signatures, signature) / SIGNATURE)


@dataclass(frozen=True, slots=True)
class Page:
    """Remembered pairs, in the order in which they were accepted.

    Attributes:
        keys: uint64 [n]; signatures: uint8 [n, 64]; n is 4,096 for a full page.
    """

    keys: NDArray[np.uint64]
    signatures: NDArray[np.uint8]

    def encode(self, index: int) -> bytes:
        """As bytes, under its index."""
        header = {"format": FORMAT, "index": index}
        return codec.encode(MAGIC, header, {"keys": self.keys, "signatures": self.signatures})

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
        keys, signatures = arrays["keys"], arrays["signatures"]
        if keys.shape != (PAGE,) or signatures.shape != (PAGE, SIGNATURE):
            raise IntegrityError(f"page {index} holds {len(keys)} pairs, not {PAGE}")
        return cls(keys, signatures)


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
        self._signatures = np.zeros((PAGE, SIGNATURE), np.uint8)
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

    def signature(self, ngrams: NGrams, row: int) -> NDArray[np.uint8]:
        """Signature of a pair, uint8 [64]."""
        out = np.empty(SIGNATURE, np.uint8)
        min_hash(ngrams.indices[ngrams.offsets[row] : ngrams.offsets[row + 1]], out)
        return out

    def holds(self, key: np.uint64) -> bool:
        """The very pair has been accepted."""
        return self._young.holds(key) or (self._old is not None and self._old.holds(key))

    def similarity(self, signature: NDArray[np.uint8]) -> float:
        """Estimated Jaccard similarity to the most similar remembered pair, 0 to 1."""
        similarity = self._young.similarity(signature)
        return similarity if self._old is None else max(similarity, self._old.similarity(signature))

    def add(self, key: np.uint64, signature: NDArray[np.uint8]) -> None:
        """Remember an accepted pair."""
        at = self.open
        self._keys[at], self._signatures[at] = key, signature
        self._young.add(key, signature)
        self.chain = np.uint64(_chain(self.chain, key))
        self.open += 1
        if self.open == PAGE:
            self._close()

    def open_page(self) -> Page:
        """The pairs of the open page, copied."""
        return Page(self._keys[: self.open].copy(), self._signatures[: self.open].copy())

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
            parts.append(Page(closed.keys[first:], closed.signatures[first:]))
        rest = self.open_page()
        first = start if self.page == page else 0
        parts.append(Page(rest.keys[first:], rest.signatures[first:]))
        return Page(
            np.concatenate([part.keys for part in parts]), np.concatenate([part.signatures for part in parts])
        )

    def replay(self, page: Page) -> None:
        """Remember pairs again, on restore: pages from the oldest, then the open one."""
        for key, signature in zip(page.keys, page.signatures, strict=True):
            self.add(key, signature)
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
