"""Where two texts stand in each of many JSON objects, found in bulk and without the interpreter's lock.

No JSON parser: it knows the records that nearly all are, and says of any other, right or wrong, that a parser must look. It
never takes for a pair what is none: grammar and UTF-8 are checked byte by byte. Of a side that comes twice the last counts, as
for the parser. Left to it are escapes, sides that may be blank, numbers of more than 15 digits or with an exponent, and what is
broken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

_DIGITS = 15  # a number of no more is in every parser's range
_LEVELS = 60  # of nesting; a bit each
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _POINT = (ord(c) for c in '"\\,:-.')
_BRACE, _BRACE_END, _BRACKET, _BRACKET_END = (ord(c) for c in "{}[]")
# what came last: an opening bracket, a comma, a name with its colon, a value
_OPENED, _COMMA_READ, _NAMED, _VALUE_READ = range(4)


@numba.njit(cache=True, nogil=True)
def _past_blanks(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    while p < end and (buffer[p] == 32 or buffer[p] == 10 or buffer[p] == 13 or buffer[p] == 9):
        p += 1
    return p


@numba.njit(cache=True, nogil=True)
def _character(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    """Length of the character at p, which is not ASCII; 0 where it is no UTF-8."""
    c = buffer[p]
    if c < 0xC2 or c > 0xF4:
        return 0
    size = 2 if c < 0xE0 else 3 if c < 0xF0 else 4
    if p + size > end:
        return 0
    for k in range(1, size):
        if buffer[p + k] & 0xC0 != 0x80:
            return 0
    second = buffer[p + 1]
    # overlong, surrogates, beyond U+10FFFF
    if (c == 0xE0 and second < 0xA0) or (c == 0xED and second > 0x9F):
        return 0
    if (c == 0xF0 and second < 0x90) or (c == 0xF4 and second > 0x8F):
        return 0
    return size


@numba.njit(cache=True, nogil=True)
def _past_text(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    """The place of the quote that closes a string whose text begins at p; -1: ask."""
    while p < end:
        c = buffer[p]
        if c == _QUOTE:
            return p
        if c < 32 or c == _BACKSLASH:
            return -1
        size = 1 if c < 0x80 else _character(buffer, p, end)
        if size == 0:
            return -1
        p += size
    return -1


@numba.njit(cache=True, nogil=True)
def _past_digits(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    while p < end and 48 <= buffer[p] <= 57:
        p += 1
    return p


@numba.njit(cache=True, nogil=True)
def _past_scalar(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    """The place behind the number or word at p; -1: ask."""
    for word in (b"true", b"false", b"null"):
        if p + len(word) <= end:
            same = True
            for k in range(len(word)):
                same &= buffer[p + k] == word[k]
            if same:
                return p + len(word)
    start = p + 1 if buffer[p] == _MINUS else p
    p = _past_digits(buffer, start, end)
    if p == start or (buffer[start] == 48 and p > start + 1):
        return -1
    if p < end and buffer[p] == _POINT:
        point = p
        p = _past_digits(buffer, point + 1, end)
        if p == point + 1:
            return -1
    return -1 if p - start > _DIGITS or (p < end and buffer[p] | 32 == 101) else p


@numba.njit(cache=True, nogil=True)
def _is(buffer: NDArray[np.uint8], start: int, stop: int, name: NDArray[np.uint8]) -> bool:
    if stop - start != len(name):
        return False
    same = True
    for k in range(len(name)):
        same &= buffer[start + k] == name[k]
    return same


@numba.njit(cache=True, nogil=True)
def _visible(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether a text surely holds more than spaces and controls.

    Spaces beyond ASCII: U+0085 and U+00A0, U+1680, U+2000 to U+205F, U+3000; what shares their first bytes counts as one.
    """
    for p in range(start, stop):
        c = buffer[p]
        if 32 < c < 127 or (c > 0xC2 and not 0xE1 <= c <= 0xE3):
            return True
        if 0xE1 <= c <= 0xE3 and buffer[p + 1] > 0x81 and buffer[p + 1] != 0x9A:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _find(
    buffer: NDArray[np.uint8],
    p: int,
    end: int,
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    found: NDArray[np.int64],
) -> bool:
    """Whether [p, end) is an object with both sides for certain; `found`, int64 [4], is where they begin and end."""
    found[:] = -1
    p = _past_blanks(buffer, p, end)
    if p >= end or buffer[p] != _BRACE:
        return False
    depth, arrays = 1, 0  # a bit of `arrays` for each level
    last, side = _OPENED, -1
    p += 1
    while True:
        p = _past_blanks(buffer, p, end)
        if p >= end:
            return False
        c = buffer[p]
        in_array = (arrays >> depth) & 1 == 1
        if last in (_OPENED, _VALUE_READ) and c == (_BRACKET_END if in_array else _BRACE_END):
            depth -= 1
            p += 1
            last = _VALUE_READ
            if depth == 0:
                return _past_blanks(buffer, p, end) == end and found[0] >= 0 and found[2] >= 0
        elif last == _VALUE_READ:
            if c != _COMMA:
                return False
            p += 1
            last = _COMMA_READ
        elif last != _NAMED and not in_array:
            stop = _past_text(buffer, p + 1, end) if c == _QUOTE else -1
            if stop < 0:
                return False
            if depth == 1:
                side = (
                    0 if _is(buffer, p + 1, stop, source) else 2 if _is(buffer, p + 1, stop, target) else -1
                )
            p = _past_blanks(buffer, stop + 1, end)
            if p >= end or buffer[p] != _COLON:
                return False
            p += 1
            last = _NAMED
        elif c == _QUOTE:
            stop = _past_text(buffer, p + 1, end)
            if stop < 0:
                return False
            if side >= 0:
                if not _visible(buffer, p + 1, stop):
                    return False
                found[side], found[side + 1] = p + 1, stop
                side = -1
            p = stop + 1
            last = _VALUE_READ
        elif side >= 0:
            return False
        elif c in (_BRACE, _BRACKET):
            depth += 1
            if depth > _LEVELS:
                return False
            arrays = (arrays & ~(1 << depth)) | ((c == _BRACKET) << depth)
            p += 1
            last = _OPENED
        else:
            p = _past_scalar(buffer, p, end)
            if p < 0:
                return False
            last = _VALUE_READ


@numba.njit(cache=True, nogil=True)
def _find_all(
    buffer: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    longest: int,
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    spans: NDArray[np.int64],
) -> None:
    found = np.empty(4, np.int64)
    for i in range(len(offsets) - 1):
        start, end = offsets[i], offsets[i + 1]
        if end - start <= longest and _find(buffer, start, end, source, target, found):
            spans[:, i] = found


def find_sides(
    values: Sequence[bytes], names: tuple[str, str], longest: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Find the sides called `names` in each value.

    Returns:
        The values, end to end; and int64 [4, values], where in them the source begins and ends, and the target: -1 where a
        parser must look, as in a value of more than `longest` bytes.
    """
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=offsets[1:])
    buffer = np.frombuffer(b"".join(values), np.uint8)
    source, target = (np.frombuffer(name.encode(), np.uint8) for name in names)
    spans = np.full((4, len(values)), -1, np.int64)
    _find_all(buffer, offsets, longest, source, target, spans)
    return buffer, spans
