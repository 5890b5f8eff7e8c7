"""Surface features of a pair: lengths, copies, numbers, marks, capitals, characters. What garbled, copied or cut text shows."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch
from craft_stream.text.mojibake import mojibake_signs
from craft_stream.text.ngrams import CHARACTER_BITS, CHARACTER_BYTES, character_ngram
from craft_stream.text.tokens import FORMS, MARK, NUMBER, WORD, Tokens

FEATURES = (
    "length_ratio",
    "token_ratio",
    "number_mismatch",
    "mark_mismatch",
    "copied_target",
    "copied_source",
    "all_copied",
    "final_mark",
    "non_ascii",
    "language_ratio",
    "target_characters",
    "worst_characters",
    "source_characters",
    "mojibake",
    "length",
    "digit_mismatch",
    "capitals",
    "capitals_difference",
    "source_language_ratio",
    "source_worst_characters",
)
# Tokens of a side that are compared with the other side's: the comparison is quadratic.
COMPARED_TOKENS = 128
_WINDOW = 16


@dataclass(frozen=True, slots=True)
class Characters:
    """Log-probabilities of byte 4-grams.

    Attributes:
        source, target: float32 [2^CHARACTER_BITS], log p of a 4-gram on each side of the stream.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]

    @classmethod
    def from_counts(cls, source: NDArray[np.float32], target: NDArray[np.float32]) -> Characters:
        """Smoothed by .3 a 4-gram; counts float32 [2^CHARACTER_BITS] each."""

        def log_probability(counts: NDArray[np.float32]) -> NDArray[np.float32]:
            smoothed = counts.astype(np.float64) + 0.3
            total, seen = np.log(smoothed.sum()), np.flatnonzero(counts)
            found = np.full(len(counts), np.log(0.3) - total, np.float32)
            found[seen] = np.log(smoothed[seen]) - total
            return found

        return cls(log_probability(source), log_probability(target))


# Classes of characters: 0 to 9 a digit of any script, else one of these.
_CAPITAL, _LETTER, _OTHER = 10, 11, 12


def _character_classes() -> NDArray[np.uint8]:
    """Class of each character of the Basic Multilingual Plane, uint8 [65536]."""
    classes = np.full(0x10000, _LETTER, np.uint8)
    classes[0x2000:0x3000] = _OTHER
    for code in range(0x2000):
        character = chr(code)
        if not character.isalpha():
            classes[code] = _OTHER
        elif character.lower() != character:
            classes[code] = _CAPITAL
    forms = FORMS >> np.uint64(8)
    digits = (forms >= ord("0")) & (forms <= ord("9"))
    classes[digits] = forms[digits] - ord("0")
    return classes


_CLASSES = _character_classes()


@numba.njit(cache=True, nogil=True)
def _count(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    classes: NDArray[np.uint8],
    digits: NDArray[np.int64],
    sign: int,
) -> tuple[int, int, int, int, int]:
    """Characters, those beyond ASCII, letters, capitals and digits of a text; each digit adds `sign` to its place."""
    characters, other, letters, capitals, numerals = 0, 0, 0, 0, 0
    for p in range(start, stop):
        code = np.int64(buffer[p])
        if code & 0xC0 == 0x80:
            continue
        characters += 1
        if code >= 0xC0:
            other += 1
            if code < 0xE0 and p + 1 < stop:
                code = (code & 31) << 6 | (np.int64(buffer[p + 1]) & 63)
            elif code < 0xF0 and p + 2 < stop:
                code = (
                    (code & 15) << 12 | (np.int64(buffer[p + 1]) & 63) << 6 | (np.int64(buffer[p + 2]) & 63)
                )
        kind = classes[code]
        if kind < _CAPITAL:
            digits[kind] += sign
            numerals += 1
        elif kind < _OTHER:
            letters += 1
            capitals += kind == _CAPITAL
    return characters, other, letters, capitals, numerals


@numba.njit(cache=True, nogil=True)
def _familiarity(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    own: NDArray[np.float32],
    other: NDArray[np.float32],
) -> tuple[np.float32, np.float32, np.float32]:
    """How much likelier a text's 4-grams are on its own side than on the other, and than uniform ones; the worst window.

    Means over the first `CHARACTER_BYTES`; relative to a uniform 4-gram, so that numbers do not move with the table's size.
    """
    window = np.empty(_WINDOW, np.float64)
    uniform = CHARACTER_BITS * np.log(2.0)
    ratio = 0.0
    total = 0.0
    running = 0.0
    worst = 0.0
    count = 0
    for p in range(start, min(stop - 3, start + CHARACTER_BYTES)):
        g = np.int64(character_ngram(buffer, p))
        x = np.float64(own[g])
        ratio += max(-4.0, min(4.0, x - np.float64(other[g])))
        x += uniform
        total += x
        slot = count % _WINDOW
        if count >= _WINDOW:
            running -= window[slot]
        window[slot] = x
        running += x
        count += 1
        if count == _WINDOW or (count > _WINDOW and running < worst):
            worst = running
    if count < _WINDOW:
        worst = total * _WINDOW / max(count, 1)
    return np.float32(ratio / (count + 3.0)), np.float32(total / (count + 3.0)), np.float32(worst / _WINDOW)


@numba.njit(cache=True, nogil=True)
def _surface(
    source_bytes: NDArray[np.uint8],
    source_ends: NDArray[np.int64],
    source: NDArray[np.uint64],
    source_kinds: NDArray[np.uint8],
    source_offsets: NDArray[np.int64],
    target_bytes: NDArray[np.uint8],
    target_ends: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_kinds: NDArray[np.uint8],
    target_offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    source_table: NDArray[np.float32],
    target_table: NDArray[np.float32],
    classes: NDArray[np.uint8],
    out: NDArray[np.float32],
) -> None:
    digits = np.empty(10, np.int64)
    for n in range(len(rows)):
        row = rows[n]
        o = out[n]
        a = source_offsets[row]
        b = min(source_offsets[row + 1], a + COMPARED_TOKENS)
        c = target_offsets[row]
        d = min(target_offsets[row + 1], c + COMPARED_TOKENS)
        digits[:] = 0
        source_characters, _, source_letters, source_capitals, source_digits = _count(
            source_bytes, source_ends[row], source_ends[row + 1], classes, digits, 1
        )
        target_characters, non_ascii, target_letters, target_capitals, target_digits = _count(
            target_bytes, target_ends[row], target_ends[row + 1], classes, digits, -1
        )
        o[0] = np.float32(np.log((target_characters + 2.0) / (source_characters + 2.0)))
        o[1] = np.float32(np.log((d - c + 1.0) / (b - a + 1.0)))
        numbers = 0
        missing_numbers = 0
        marks = 0
        missing_marks = 0
        copied = 0
        target_words = 0
        source_words = 0
        for j in range(c, d):
            hit = False
            for i in range(a, b):
                if source[i] == target[j]:
                    hit = True
                    break
            kind = target_kinds[j]
            if kind == NUMBER:
                numbers += 1
                missing_numbers += not hit
            elif kind == MARK:
                marks += 1
                missing_marks += not hit
            else:
                target_words += 1
                copied += hit
        for i in range(a, b):
            kind = source_kinds[i]
            if kind == WORD:
                source_words += 1
                continue
            hit = False
            for j in range(c, d):
                if source[i] == target[j]:
                    hit = True
                    break
            if kind == NUMBER:
                numbers += 1
                missing_numbers += not hit
            else:
                marks += 1
                missing_marks += not hit
        o[2] = np.float32(missing_numbers / (numbers + 1.0))
        o[3] = np.float32(missing_marks / (marks + 1.0))
        o[4] = np.float32(copied / (target_words + 0.5))
        o[5] = np.float32(copied / (source_words + 0.5))
        o[6] = np.float32(1) if target_words > 0 and copied == target_words else np.float32(0)
        o[7] = 0
        if b > a and d > c:
            source_mark = source_kinds[b - 1] == MARK
            target_mark = target_kinds[d - 1] == MARK
            if source_mark != target_mark:
                o[7] = 1
            elif source_mark and source[b - 1] != target[d - 1]:
                o[7] = 0.5
        o[8] = np.float32(non_ascii / (target_characters + 1.0))
        o[9], o[10], o[11] = _familiarity(
            target_bytes, target_ends[row], target_ends[row + 1], target_table, source_table
        )
        o[18], o[12], o[19] = _familiarity(
            source_bytes, source_ends[row], source_ends[row + 1], source_table, target_table
        )
        signs = mojibake_signs(target_bytes, target_ends[row], target_ends[row + 1])
        o[13] = np.float32(min(signs, 4))
        o[14] = np.float32(np.log(d - c + 1.0))
        o[15] = np.float32(np.abs(digits).sum() / (source_digits + target_digits + 1.0))
        capitals = source_capitals / (source_letters + 1.0)
        o[16] = np.float32(capitals)
        o[17] = np.float32(target_capitals / (target_letters + 1.0) - capitals)


def surface_features(
    source: TextBatch,
    source_tokens: Tokens,
    target: TextBatch,
    target_tokens: Tokens,
    rows: NDArray[np.int64],
    characters: Characters,
) -> NDArray[np.float32]:
    """`FEATURES` of the pairs at `rows`, float32 [rows, 20]."""
    out = np.empty((len(rows), len(FEATURES)), np.float32)
    _surface(
        source.buffer,
        source.offsets,
        source_tokens.words,
        source_tokens.kinds,
        source_tokens.offsets,
        target.buffer,
        target.offsets,
        target_tokens.words,
        target_tokens.kinds,
        target_tokens.offsets,
        rows,
        characters.source,
        characters.target,
        _CLASSES,
        out,
    )
    return out
