"""Keys of texts and pairs: 64-bit hashes of tokens, equal where only case, spaces and forms of letters differ."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.hashing import chain, mix
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import MARK, WORD, Tokens


@numba.njit(cache=True, nogil=True)
def _pair_keys(
    source: NDArray[np.uint64],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
) -> None:
    for n in range(len(rows)):
        row = rows[n]
        h = np.uint64(source_offsets[row + 1] - source_offsets[row] + 1)
        for word in source[source_offsets[row] : source_offsets[row + 1]]:
            h = chain(h, word)
        h = mix(h + np.uint64(0x5F3759DF))
        for word in target[target_offsets[row] : target_offsets[row + 1]]:
            h = chain(h, word)
        keys[n] = h


def pair_keys(pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Keys of the pairs at `rows`, uint64 [rows]: of all tokens of both sides, in their order."""
    keys = np.empty(len(rows), np.uint64)
    source, target = pairs.source, pairs.target
    _pair_keys(source.words, source.offsets, target.words, target.offsets, rows, keys)
    return keys


@numba.njit(cache=True, nogil=True)
def _text_keys(
    words: NDArray[np.uint64], kinds: NDArray[np.uint8], offsets: NDArray[np.int64], keys: NDArray[np.uint64]
) -> None:
    for n in range(len(keys)):
        h = np.uint64(1)
        letters = False
        for k in range(offsets[n], offsets[n + 1]):
            if kinds[k] != MARK:
                h = chain(h, words[k])
                letters = letters or kinds[k] == WORD
        keys[n] = max(h, np.uint64(1)) if letters else np.uint64(0)


def text_keys(tokens: Tokens) -> NDArray[np.uint64]:
    """Keys of texts, uint64 [texts]: of their words and numbers, marks aside; 0 for a text without a word."""
    keys = np.empty(len(tokens), np.uint64)
    _text_keys(tokens.words, tokens.kinds, tokens.offsets, keys)
    return keys
