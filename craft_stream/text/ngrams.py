"""Hashed n-grams: word unigrams and bigrams of both sides of a pair, and byte 4-grams of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.hashing import GOLDEN, chain, mix
from craft_stream.text.tokens import Tokens

NGRAM_BITS = 20
CHARACTER_BITS = 18
# A text's characters are judged on its first 200 bytes: enough to tell garbled text, and bounded.
CHARACTER_BYTES = 200


@dataclass(frozen=True, slots=True)
class NGrams:
    """Word n-grams of a batch of pairs, end to end.

    Attributes:
        indices: uint32 [n-grams], below 2^NGRAM_BITS; the sides never share an index but by collision.
        offsets: int64 [pairs + 1].
    """

    indices: NDArray[np.uint32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@numba.njit(cache=True, nogil=True)
def _word_ngrams(
    source: NDArray[np.uint64],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_offsets: NDArray[np.int64],
    indices: NDArray[np.uint32],
    offsets: NDArray[np.int64],
) -> None:
    shift = np.uint64(64 - NGRAM_BITS)
    k = 0
    for i in range(len(offsets) - 1):
        previous = np.uint64(7)
        for p in range(source_offsets[i], source_offsets[i + 1]):
            word = source[p] * GOLDEN
            indices[k] = np.uint32(mix(word) >> shift)
            indices[k + 1] = np.uint32(chain(previous, word) >> shift)
            k += 2
            previous = word
        previous = np.uint64(8)
        for p in range(target_offsets[i], target_offsets[i + 1]):
            word = target[p] * GOLDEN + np.uint64(0x51ED27)
            indices[k] = np.uint32(mix(word) >> shift)
            indices[k + 1] = np.uint32(chain(previous, word) >> shift)
            k += 2
            previous = word
        offsets[i + 1] = k


def word_ngrams(source: Tokens, target: Tokens) -> NGrams:
    """Unigrams and bigrams of the whole words of both sides."""
    indices = np.empty(2 * (len(source.words) + len(target.words)), np.uint32)
    offsets = np.zeros(len(source) + 1, np.int64)
    _word_ngrams(source.words, source.offsets, target.words, target.offsets, indices, offsets)
    return NGrams(indices, offsets)


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
