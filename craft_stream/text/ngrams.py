"""Hashed n-grams: words, stems and word bigrams of both sides of a pair, and byte 4-grams of a text.

Each word n-gram counts once a pair: what a text repeats tells no more of its domain (of the half of a domain that scores
highest, .62 in-domain instead of .54 for medical, .61 for .59 for cli). Stems join the forms of a word, which a small
target needs (of the .73 of a domain that score highest, .55 in-domain instead of .52 for medical, .49 for .47 for web).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import Side
from craft_stream.text.hashing import GOLDEN, chain, mix
from craft_stream.text.tokens import Tokens

NGRAM_BITS = 20
CHARACTER_BITS = 18
# A text's characters are judged on its first 200 bytes: enough to tell garbled text, and bounded.
CHARACTER_BYTES = 200


@dataclass(frozen=True, slots=True)
class NGrams:
    """Distinct word n-grams of a batch of pairs, end to end.

    Attributes:
        indices: uint32 [n-grams], below 2^NGRAM_BITS; the sides never share an index but by collision.
        offsets: int64 [pairs + 1].
        middles: int64 [pairs], where those of the target side begin.
    """

    indices: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    middles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slice(self, start: int, stop: int) -> NGrams:
        """N-grams of pairs [start, stop)."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        offsets, middles = self.offsets[start : stop + 1], self.middles[start:stop]
        return NGrams(self.indices[low:high], offsets - low, middles - low)

    def of_side(self, side: Side | None) -> NGrams:
        """Those of one side alone; None: all."""
        if side is None:
            return self
        starts, stops = self.offsets[:-1], self.offsets[1:]
        starts, stops = (starts, self.middles) if side == "source" else (self.middles, stops)
        lengths = stops - starts
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return NGrams(self.indices[places], offsets, offsets[1:] if side == "source" else offsets[:-1])


@numba.njit(cache=True, nogil=True, inline="always")
def _add(
    index: np.uint32,
    indices: NDArray[np.uint32],
    k: int,
    places: NDArray[np.uint32],
    stamps: NDArray[np.uint32],
    stamp: np.uint32,
) -> int:
    mask = len(places) - 1
    at = np.int64(index) & mask
    while stamps[at] == stamp:
        if places[at] == index:
            return k
        at = (at + 1) & mask
    stamps[at] = stamp
    places[at] = index
    indices[k] = index
    return k + 1


@numba.njit(cache=True, nogil=True)
def _word_ngrams(
    source: NDArray[np.uint64],
    source_stems: NDArray[np.uint64],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_stems: NDArray[np.uint64],
    target_offsets: NDArray[np.int64],
    indices: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    middles: NDArray[np.int64],
) -> int:
    shift = np.uint64(64 - NGRAM_BITS)
    longest = 0
    for i in range(len(offsets) - 1):
        words = source_offsets[i + 1] - source_offsets[i] + target_offsets[i + 1] - target_offsets[i]
        longest = max(longest, words)
    size = 16
    while size < 6 * longest:
        size *= 2
    # A hash set that need not be cleared: a place counts as empty unless the pair of its stamp is this one.
    places = np.zeros(size, np.uint32)
    stamps = np.zeros(size, np.uint32)
    k = 0
    for i in range(len(offsets) - 1):
        stamp = np.uint32(i + 1)
        previous = np.uint64(7)
        for p in range(source_offsets[i], source_offsets[i + 1]):
            word = source[p] * GOLDEN
            k = _add(np.uint32(mix(word) >> shift), indices, k, places, stamps, stamp)
            k = _add(np.uint32(chain(previous, word) >> shift), indices, k, places, stamps, stamp)
            k = _add(
                np.uint32(mix(source_stems[p] + np.uint64(9)) >> shift), indices, k, places, stamps, stamp
            )
            previous = word
        middles[i] = k
        previous = np.uint64(8)
        for p in range(target_offsets[i], target_offsets[i + 1]):
            word = target[p] * GOLDEN + np.uint64(0x51ED27)
            k = _add(np.uint32(mix(word) >> shift), indices, k, places, stamps, stamp)
            k = _add(np.uint32(chain(previous, word) >> shift), indices, k, places, stamps, stamp)
            k = _add(
                np.uint32(mix(target_stems[p] + np.uint64(10)) >> shift), indices, k, places, stamps, stamp
            )
            previous = word
        offsets[i + 1] = k
    return k


def word_ngrams(source: Tokens, target: Tokens) -> NGrams:
    """Distinct words, bigrams of words, and stems of both sides, in the order of their first place."""
    indices = np.empty(3 * (len(source.words) + len(target.words)), np.uint32)
    offsets, middles = np.zeros(len(source) + 1, np.int64), np.zeros(len(source), np.int64)
    count = _word_ngrams(
        source.words,
        source.stems,
        source.offsets,
        target.words,
        target.stems,
        target.offsets,
        indices,
        offsets,
        middles,
    )
    return NGrams(indices[:count], offsets, middles)


@numba.njit(cache=True, nogil=True, inline="always")
def character_ngram(buffer: NDArray[np.uint8], p: int) -> np.uint64:
    """Index below 2^CHARACTER_BITS of the byte 4-gram that starts at p; ASCII case is not folded (a cipher keeps none)."""
    value = (
        np.uint64(buffer[p])
        | (np.uint64(buffer[p + 1]) << np.uint64(8))
        | (np.uint64(buffer[p + 2]) << np.uint64(16))
        | (np.uint64(buffer[p + 3]) << np.uint64(24))
    )
    return mix(value + np.uint64(77)) >> np.uint64(64 - CHARACTER_BITS)
