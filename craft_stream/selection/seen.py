"""Accepted pairs that are remembered, so that none is accepted twice, exactly or nearly.

Exact duplicates by a 64-bit key of both sides' tokens (equal but for case and spaces), near duplicates by the Jaccard
similarity of the word bigrams of both sides, from sketches (`selection.sketches`). Comparing signatures of 64 bytes instead,
always an estimate, refused a fifth more pairs than are near duplicates of command line messages, where short texts repeat
their phrases; counting shared bands over all remembered pairs together, as a Bloom filter must, three times as many.

Bounded memory: two generations of up to `size` pairs each; when the younger is full, the older is forgotten, so between
size and 2 size accepted pairs are remembered (reach in pairs of the stream: that over the budget's rate). Another pair passes
for an exact duplicate with probability size x 2^-64, one of the very same bigrams with 2^-16 (it is a near one in any case);
for a near one if it is as similar as the estimate's error allows.

How pairs are stored is `pages`' business; which are remembered does not depend on it.
"""

from __future__ import annotations

from collections import deque

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Reason
from craft_stream.selection.generation import NO_INDEX, UNIT, Generation, admit
from craft_stream.selection.segments import LEAST, MOST, SKETCH, Segment
from craft_stream.selection.sketches import pair_key, sketch
from craft_stream.text.hashing import chain
from craft_stream.text.tokens import Tokens


@numba.njit(cache=True, nogil=True)
def _chain(h: np.uint64, keys: NDArray[np.uint64]) -> np.uint64:
    for key in keys:
        h = chain(h, key)
    return h


def _words(tokens: Tokens, row: int) -> NDArray[np.uint64]:
    return tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]


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
        self._young = Generation(self.size)
        self._old: Generation | None = None
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

    def key(self, source: Tokens, target: Tokens, row: int, sketch: NDArray[np.uint16]) -> np.uint64:
        """Exact key of a pair, which holds its `sketch`."""
        return np.uint64(pair_key(_words(source, row), _words(target, row), sketch))

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
            taken = int(np.count_nonzero(found[:done] == Reason.ACCEPTED))
            before = young.count
            done, young.count, key = admit(
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
                NO_INDEX if self._old is None else self._old.index,
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
                self._old, self._young = self._young, Generation(self.size)
            keys, sketches = keys[room:], sketches[room:]

    # How they travel.

    def waiting(self) -> Segment:
        """Pairs that are in no page yet."""
        return self._pairs(self.stored)

    def since_mark(self) -> Segment:
        """Of these, the pairs that were added since `mark`."""
        return self._pairs(max(self.stored, self._marked))

    def mark(self) -> None:
        """From here on counts as new for `since_mark`."""
        self._marked = self.count

    def make_pages(self) -> list[tuple[int, Segment]]:
        """Pages, with their indices, of the pairs that wait, if there are enough; they wait no longer."""
        waiting = self.waiting()
        made = []
        while len(waiting) >= LEAST:
            page = Segment(waiting.first, waiting.keys[:MOST], waiting.sketches[:MOST])
            made.append((self.pages, page))
            self._note(page)
            waiting = waiting.after(self.stored)
        return made

    def replay(self, page: Segment) -> None:
        """Remember pairs again, on restore: what follows the newest of them that is known.

        Pairs between the two have been forgotten by now, as the page begins with a generation.
        """
        if page.first > self.count:
            self.begin_at(page.first)
        page = page.after(self.count)
        self._extend(page.keys, page.sketches)
        self.mark()

    def replay_stored(self, page: Segment) -> None:
        """The same for a page of the topic, the next in order."""
        self.replay(page)
        self._note(page)

    def begin_at(self, number: int) -> None:
        """Start restoring at the first pair that is still remembered, with which a generation begins."""
        self._young, self._old, self.count = Generation(self.size), None, number

    def _note(self, page: Segment) -> None:
        self._firsts.append((self.pages, page.first))
        self.pages += 1
        self.stored = page.first + len(page)

    def _pairs(self, start: int) -> Segment:
        """The remembered pairs from a number on, copied."""
        start = max(start, self.first)
        base = self.count - self._young.count
        parts = [self._young.rows(start - base, self.size)]
        if self._old is not None and start < base:
            parts.insert(0, self._old.rows(start - base + self.size, self.size))
        keys, sketches = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Segment(start, keys, sketches)


def first_remembered(count: int, size: int) -> int:
    """Number of the oldest pair that is remembered after `count`, with generations of `size`."""
    return max(0, (count // size - 1) * size)
