"""Accepted pairs that are remembered, so that none is accepted twice, exactly or nearly.

Exact duplicates by a 64-bit key of both sides' tokens (equal but for case and spaces), near duplicates by the Jaccard
similarity of the word bigrams of both sides, from sketches (`selection.sketches`). Comparing signatures of 64 bytes instead,
always an estimate, refused a fifth more pairs than are near duplicates of command line messages, where short texts repeat
their phrases; counting shared bands over all remembered pairs together, as a Bloom filter must, three times as many.

Bounded memory: two generations of up to `size` pairs each; when the younger is full, the older is forgotten, so between
size and 2 size accepted pairs are remembered (reach in pairs of the stream: that over the budget's rate). The size may change:
the younger goes on, or ends if it is that full; what is forgotten stays so. Another pair passes
for an exact duplicate with probability size x 2^-64, one of the very same bigrams with 2^-16 (it is a near one in any case);
for a near one if it is as similar as the estimate's error allows.

How pairs are stored is `segments`' business; which are remembered does not depend on it.
"""

from __future__ import annotations

from collections import deque

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Reason
from craft_stream.selection.generation import EMPTY, UNIT, Generation, Index, Query, Words, admit
from craft_stream.selection.segments import LEAST, MOST, Segment
from craft_stream.text.hashing import chain
from craft_stream.text.tokenized import TokenizedPairs

# Of a generation that nothing ends.
_ENDLESS = 1 << 40


@numba.njit(cache=True, nogil=True)
def _chain(h: np.uint64, keys: NDArray[np.uint64]) -> np.uint64:
    for key in keys:
        h = chain(h, key)
    return h


class SeenPairs:
    """Remembers accepted pairs.

    Attributes:
        size: of a generation.
        count: pairs that were ever remembered.
        stored: of these, those that are in segments (or were forgotten before they were stored).
        segments: segments that were ever made.
        chain: hash of all keys that were ever added, in order.
    """

    def __init__(self, size: int) -> None:
        self.size = whole_generations(size)
        self.count = self.stored = self.segments = 0
        self.chain = np.uint64(0)
        self._young = Generation(self.size)
        self._old: Generation | None = None
        self._firsts_of = 0, 0  # of the older generation and of the younger
        self._firsts: deque[tuple[int, int]] = deque()
        self._marked = 0

    @property
    def first(self) -> int:
        """Number of the oldest pair that is remembered."""
        return self._firsts_of[0]

    @property
    def generations(self) -> tuple[int, int]:
        """Numbers of the first pairs of the older generation and of the younger; the same where there is only one."""
        return self._firsts_of

    @property
    def first_segment(self) -> int:
        """Index of the oldest segment that holds a pair which is remembered."""
        while len(self._firsts) > 1 and self._firsts[1][1] <= self.first:
            self._firsts.popleft()
        return self._firsts[0][0] if self._firsts else self.segments

    # What is asked of it.

    def admit(self, pairs: TokenizedPairs, query: Query) -> NDArray[np.uint8]:
        """Accept those of the pairs, in order, that are new and for which there is room; remember them.

        Returns:
            uint8 [n], `Reason`: accepted, duplicate, near duplicate, or over budget.
        """
        return self.admit_words(_words(pairs), query)

    def admit_words(self, sides: tuple[Words, Words], query: Query) -> NDArray[np.uint8]:
        """The same of pairs of which nothing but the words of both sides is at hand."""
        source, target = sides
        found = np.empty(len(query.rows), np.uint8)
        start = 0
        while start < len(found):
            young, before = self._young, self._young.count
            stop = min(start + young.free, len(found))  # all of them may be accepted
            count = admit(
                source, target, query, young.index, before, self._old_index, True, found, start, stop
            )
            self._count(young.grow_to(count))
            start = stop
        return found

    def ask(self, pairs: TokenizedPairs, query: Query) -> NDArray[np.uint8]:
        """What `admit` would say of a single pair; nothing is remembered."""
        return self._look(pairs, query, self._old_index)

    def hold(self, pairs: TokenizedPairs, query: Query) -> NDArray[np.bool_]:
        """Which pairs are like one that is remembered and still will be if all others are accepted, bool [n].

        Args:
            pairs: a batch.
            query: without room for any, duplicates first.
        """
        ends = (
            self._young.count + len(query.rows) > self._young.size
        )  # so that the old generation is forgotten
        found = self._look(pairs, query, EMPTY if ends else self._old_index)
        return np.not_equal(found, Reason.OVER_BUDGET)

    def _look(self, pairs: TokenizedPairs, query: Query, old: Index) -> NDArray[np.uint8]:
        found, (source, target), young = np.empty(len(query.rows), np.uint8), _words(pairs), self._young
        admit(source, target, query, young.index, young.count, old, False, found, 0, len(found))
        return found

    @property
    def _old_index(self) -> Index:
        return EMPTY if self._old is None else self._old.index

    def add(self, keys: NDArray[np.uint64], sketches: NDArray[np.uint16]) -> None:
        """Remember pairs, in order, whatever they are."""
        while len(keys):
            room = self._young.free
            self._count(self._young.add(keys[:room], sketches[:room]))
            keys, sketches = keys[room:], sketches[room:]

    def _count(self, keys: NDArray[np.uint64]) -> None:
        """Pairs have been added to the young generation, which ends with the last that fits."""
        self.chain = np.uint64(_chain(self.chain, keys))
        self.count += len(keys)
        if self._young.count == self._young.size:
            self._old, self._young = self._young, Generation(self.size)
            self._firsts_of = self._firsts_of[1], self.count

    # How the size changes.

    def resize(self, size: int) -> None:
        """Generations of another size from here on."""
        self.size = whole_generations(size)
        old, young = self._firsts_of
        full = self.count - young >= self.size
        self.divide(*(young, self.count) if full else (old, young))

    def merge(self) -> None:
        """One generation without end, until `divide`: nothing is forgotten."""
        self.size = _ENDLESS
        self.divide(self.first, self.first)

    def divide(self, old: int, young: int) -> None:
        """Make generations of the pairs from two numbers on; pairs before the first are forgotten."""
        held, chained, count = self._pairs(old), self.chain, self.count
        self.begin_at(old, young)
        self.add(held.keys, held.sketches)
        self.chain, self.count = chained, count

    # How they travel.

    def waiting(self) -> Segment:
        """Pairs that are in no segment yet."""
        return self._pairs(self.stored)

    def since_mark(self) -> Segment:
        """Of these, the pairs that were added since `mark`."""
        return self._pairs(max(self.stored, self._marked))

    def mark(self) -> None:
        """From here on counts as new for `since_mark`."""
        self._marked = self.count

    def make_segments(self) -> list[tuple[int, Segment]]:
        """Segments, with their indices, of the pairs that wait, if there are enough; they wait no longer."""
        waiting = self.waiting()
        made = []
        while len(waiting) >= LEAST:
            segment = Segment(waiting.first, waiting.keys[:MOST], waiting.sketches[:MOST])
            made.append((self.segments, segment))
            self._note(segment)
            waiting = waiting.after(self.stored)
        return made

    def replay(self, segment: Segment) -> None:
        """Remember pairs again, on restore: what follows the newest of them that is known.

        Pairs between the two have been forgotten by now, as the segment begins with a generation.
        """
        if segment.first > self.count:
            self.begin_at(segment.first, segment.first)
        segment = segment.after(self.count)
        self.add(segment.keys, segment.sketches)
        self.mark()

    def replay_stored(self, segment: Segment) -> None:
        """The same for a segment of the topic, the next in order."""
        self.replay(segment)
        self._note(segment)

    def begin_at(self, old: int, young: int) -> None:
        """Start restoring at the first pair that is still remembered; the generations begin with these numbers."""
        self._young, self._old, self.count = Generation(young - old or self.size), None, old
        self._firsts_of = old, old

    def _note(self, segment: Segment) -> None:
        self._firsts.append((self.segments, segment.first))
        self.segments += 1
        self.stored = segment.first + len(segment)

    def _pairs(self, start: int) -> Segment:
        """The remembered pairs from a number on, copied."""
        start = max(start, self.first)
        base = self.count - self._young.count
        parts = [self._young.rows(start - base, self._young.count)]
        if self._old is not None and start < base:
            parts.insert(0, self._old.rows(start - base + self._old.count, self._old.count))
        keys, sketches = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Segment(start, keys, sketches)


def _words(pairs: TokenizedPairs) -> tuple[Words, Words]:
    source, target = pairs.source, pairs.target
    return Words(source.words, source.offsets), Words(target.words, target.offsets)


def whole_generations(size: int) -> int:
    """Pairs of a generation, where so many are asked for."""
    return max(size // UNIT, 1) * UNIT
