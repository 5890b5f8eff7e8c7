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
keys, sketches, signatures, an open-addressed index of keys and buckets of the 8 newest pairs of a band: 297 bytes a pair.
Another pair passes for an exact duplicate with probability size x 2^-64; for a near one if it is as similar as the
estimate's error allows.

How pairs are stored is `pages`' business; which are remembered does not depend on it.
"""

from __future__ import annotations

from collections import deque

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Reason
from craft_stream.selection.pages import LEAST, MOST, NONE, SKETCH, Page
from craft_stream.text.hashing import chain, mix
from craft_stream.text.tokens import Tokens

# Generations are multiples of so many pairs.
UNIT = 4096
_BANDS = 16
_ROWS = 3
_BUCKET = 8
_ACCEPTED, _OVER_BUDGET = int(Reason.ACCEPTED), int(Reason.OVER_BUDGET)
_DUPLICATE, _NEAR_DUPLICATE = int(Reason.DUPLICATE), int(Reason.NEAR_DUPLICATE)
# Keeps a similarity of just `least` from being lost to rounding.
_ROUNDING = 1e-9


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
    out[:] = NONE
    _add_bigrams(target, np.uint64(8), _add_bigrams(source, np.uint64(7), 0, out), out)


@numba.njit(cache=True, nogil=True)
def _length(sketch: NDArray[np.uint16]) -> int:
    return int(np.searchsorted(sketch, NONE))


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
            continue
        if one[i] < other[j]:
            i += 1
        else:
            j += 1
        # All that is left of the shorter one may be shared at best.
        rest = min(n - i, m - j)
        if shared + rest < least * (union + rest) - _ROUNDING:
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
    n = _length(sketch)
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
def _chain(h: np.uint64, keys: NDArray[np.uint64]) -> np.uint64:
    for key in keys:
        h = chain(h, key)
    return h


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
            if shared < least * union - _ROUNDING:
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
    bands = np.empty(_BANDS, np.uint64)
    for i in range(start, stop):
        _bands(sketches[i], bands)
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
def _admit(
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
    young: _Index,
    old: _Index,
    count: int,
    room: int,
    found: NDArray[np.uint8],
    newest: NDArray[np.uint16],
) -> tuple[int, int, np.uint64]:
    """Admit rows from `start` on, `taken` of those before having been accepted, until one is for `_extend` to remember.

    Returns the row behind the last that was looked at, the pairs of the young generation, and the key that is not in it yet
    (its sketch is in `newest`), 0 if there is none.
    """
    bands = np.empty(_BANDS, np.uint64)
    signature = np.empty(3, np.uint64)
    for n in range(start, len(rows)):
        if taken >= rooms[n]:
            found[n] = _OVER_BUDGET
            continue
        one = source[source_offsets[rows[n]] : source_offsets[rows[n] + 1]]
        other = target[target_offsets[rows[n]] : target_offsets[rows[n] + 1]]
        key = pair_key(one, other)
        if exact and (_find(young[0], young[1], key) or _find(old[0], old[1], key)):
            found[n] = _DUPLICATE
            continue
        sketch(one, other, newest)
        _bands(newest, bands)
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


def _words(tokens: Tokens, row: int) -> NDArray[np.uint64]:
    return tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]


# Of a generation: places of keys, keys, buckets of bands, sketches, signatures.
_Index = tuple[
    NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint64]
]


class _Generation:
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
        self._buckets = np.zeros((places * _BANDS // _BUCKET, _BUCKET), np.uint32)
        self._remember(0, held)

    def add(self, keys: NDArray[np.uint64], sketches: NDArray[np.uint16]) -> None:
        start, self.count = self.count, self.count + len(keys)
        if self.count > len(self._keys):
            more = max(self.count, 2 * start) - len(self._keys)
            self._allocate(min(self._size, len(self._keys) + more), start)
        self._keys[start : self.count], self._sketches[start : self.count] = keys, sketches
        self._remember(start, self.count)

    def _remember(self, start: int, stop: int) -> None:
        _remember(self._keys, self._sketches, self._signatures, start, stop, self._by_key, self._buckets)

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
        start, stop = max(start, 0), max(min(stop, self.count), 0)
        return self._keys[start:stop], self._sketches[start:stop]

    def holds(self, key: np.uint64) -> bool:
        return bool(_find(self._by_key, self._keys, key))

    def similarity(self, sketch: NDArray[np.uint16], least: float) -> float:
        bands, signature = np.empty(_BANDS, np.uint64), np.empty(3, np.uint64)
        _bands(sketch, bands)
        sign(sketch, signature)
        found = _most_similar(
            self._buckets, self._sketches, self._signatures, sketch, signature, bands, least
        )
        return float(found)

    @property
    def index(self) -> _Index:
        return self._by_key, self._keys, self._buckets, self._sketches, self._signatures

    @property
    def room(self) -> int:
        """Pairs that it may hold without growing or being the last generation."""
        return min(len(self._keys), self._size - 1)


_NO_INDEX: _Index = (
    np.zeros(1, np.uint32),
    np.zeros(0, np.uint64),
    np.zeros((1, _BUCKET), np.uint32),
    np.zeros((0, SKETCH), np.uint16),
    np.zeros((0, 3), np.uint64),
)


class SeenPairs:
    """Remembers accepted pairs.

    Attributes:
        count: pairs that were ever remembered.
        stored: of these, those that are in pages (or were forgotten before they were stored).
        pages: pages that were ever made.
        chain: hash of all keys that were ever added, in order.
    """

    def __init__(self, size: int) -> None:
        self.size = max(size // UNIT, 1) * UNIT
        self.count = self.stored = self.pages = 0
        self.chain = np.uint64(0)
        self._young = _Generation(self.size)
        self._old: _Generation | None = None
        self._firsts: deque[tuple[int, int]] = deque()
        self._marked = 0

    @property
    def first(self) -> int:
        """Number of the oldest pair that is remembered."""
        return first_remembered(self.count, self.size)

    @property
    def first_page(self) -> int:
        """Index of the oldest page that holds a pair which is remembered."""
        while len(self._firsts) > 1 and self._firsts[1][1] <= self.first:
            self._firsts.popleft()
        return self._firsts[0][0] if self._firsts else self.pages

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

    def admit(
        self,
        source: Tokens,
        target: Tokens,
        rows: NDArray[np.int64],
        rooms: NDArray[np.int64],
        exact: bool,
        near: float,
    ) -> NDArray[np.uint8]:
        """Accept those of the pairs at `rows`, in order, that are new and for which there is room; remember them.

        Args:
            source, target: tokens of a batch.
            rows: int64 [n], ascending.
            rooms: int64 [n], how many of `rows` may be accepted up to each, itself included.
            exact: reject what is remembered itself.
            near: Jaccard similarity to a remembered pair from which a pair is rejected; above 1: none is.

        Returns:
            uint8 [n], `Reason`: accepted, duplicate, near duplicate, or over budget.
        """
        found = np.empty(len(rows), np.uint8)
        newest = np.empty(SKETCH, np.uint16)
        done = 0
        while done < len(rows):
            start, young = done, self._young
            taken = int(np.count_nonzero(found[:done] == _ACCEPTED))
            before = young.count
            done, young.count, key = _admit(
                source.words,
                source.offsets,
                target.words,
                target.offsets,
                rows,
                rooms,
                start,
                taken,
                exact,
                near,
                young.index,
                _NO_INDEX if self._old is None else self._old.index,
                before,
                young.room,
                found,
                newest,
            )
            self.chain = np.uint64(_chain(self.chain, young.rows(before, young.count)[0]))
            self.count += young.count - before
            if key:
                self.add(np.uint64(key), newest)
        return found

    def add(self, key: np.uint64, sketch: NDArray[np.uint16]) -> None:
        """Remember an accepted pair."""
        self._extend(np.array([key]), sketch[None])

    def _extend(self, keys: NDArray[np.uint64], sketches: NDArray[np.uint16]) -> None:
        while len(keys):
            room = self.size - self.count % self.size
            self._young.add(keys[:room], sketches[:room])
            self.chain = np.uint64(_chain(self.chain, keys[:room]))
            self.count += len(keys[:room])
            if self.count % self.size == 0:
                self._old, self._young = self._young, _Generation(self.size)
            keys, sketches = keys[room:], sketches[room:]

    # How they travel.

    def waiting(self) -> Page:
        """Pairs that are in no page yet."""
        return self._pairs(self.stored)

    def since_mark(self) -> Page:
        """Of these, the pairs that were added since `mark`."""
        return self._pairs(max(self.stored, self._marked))

    def mark(self) -> None:
        """From here on counts as new for `since_mark`."""
        self._marked = self.count

    def make_pages(self) -> list[tuple[int, Page]]:
        """Pages, with their indices, of the pairs that wait, if there are enough; they wait no longer."""
        waiting = self.waiting()
        made = []
        while len(waiting) >= LEAST:
            page = Page(waiting.first, waiting.keys[:MOST], waiting.sketches[:MOST])
            made.append((self.pages, page))
            self._note(page)
            waiting = waiting.after(self.stored)
        return made

    def replay(self, page: Page) -> None:
        """Remember pairs again, on restore: what follows the newest of them that is known.

        Pairs between the two have been forgotten by now, as the page begins with a generation.
        """
        if page.first > self.count:
            self.begin_at(page.first)
        page = page.after(self.count)
        self._extend(page.keys, page.sketches)
        self.mark()

    def replay_stored(self, page: Page) -> None:
        """The same for a page of the topic, the next in order."""
        self.replay(page)
        self._note(page)

    def begin_at(self, number: int) -> None:
        """Start restoring at the first pair that is still remembered, with which a generation begins."""
        self._young, self._old, self.count = _Generation(self.size), None, number

    def _note(self, page: Page) -> None:
        self._firsts.append((self.pages, page.first))
        self.pages += 1
        self.stored = page.first + len(page)

    def _pairs(self, start: int) -> Page:
        """The remembered pairs from a number on, copied."""
        start = max(start, self.first)
        base = self.count - self._young.count
        parts = [self._young.rows(start - base, self.size)]
        if self._old is not None and start < base:
            parts.insert(0, self._old.rows(start - base + self.size, self.size))
        keys, sketches = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Page(start, keys, sketches)


def first_remembered(count: int, size: int) -> int:
    """Number of the oldest pair that is remembered after `count`, with generations of `size`."""
    return max(0, (count // size - 1) * size)
