"""Two texts out of each of many flat JSON objects, straight into the buffers that the kernels read.

No JSON parser in its own right: it understands what nearly every record looks like, and says of any other, right or wrong,
that a real parser must look at it. It never takes for a pair what is none: grammar, UTF-8 and escapes are checked byte by
byte. Left to the parser are nested values, escapes in names, a side that comes twice, unpaired surrogates, numbers of more
than 15 digits or with an exponent, and sides that may be blank. .8 us a pair, where a parser, its objects and their packing
take 3.2. Where it sees that no parser could go on it says why and where: a parser's exception takes 2 us, all of them under
the interpreter's lock, and a stream may be nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch

_DIGITS = 15  # a number of no more is in every parser's range


class Finding(IntEnum):
    """What was found in a value."""

    ASK = 0
    """a parser must tell"""
    SIDES = 1
    NOT_UTF8 = 2
    NO_VALUE = 3
    """a character that no value begins with"""
    NO_KEY = 4
    NO_COLON = 5
    NO_COMMA = 6
    CUT_OFF = 7
    """it ends too early"""
    MORE = 8
    """something stands behind the object"""


# a kernel that names an enumeration's members is compiled in three times the time
_ASK, _SIDES, _NOT_UTF8, _NO_VALUE, _NO_KEY, _NO_COLON, _NO_COMMA, _CUT_OFF, _MORE = map(int, Finding)
_QUOTE, _BACKSLASH, _COMMA, _COLON, _OPEN, _CLOSE = 34, 92, 44, 58, 123, 125


@dataclass(frozen=True, slots=True)
class Sides:
    """What was found.

    Attributes:
        findings: int8 [values], of `Finding`.
        places: int64 [values], of what is wrong, if it is known: the byte that is no UTF-8, else the character.
        source, target: the sides of every value, empty where they were not found.
    """

    findings: NDArray[np.int8]
    places: NDArray[np.int64]
    source: TextBatch
    target: TextBatch

    @property
    def understood(self) -> NDArray[np.bool_]:
        """Which values hold a pair for certain."""
        return np.asarray(self.findings == Finding.SIDES, np.bool_)


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
def _hexadecimal(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    """The four digits at p, -1 where they are none."""
    if p + 4 > end:
        return -1
    value = 0
    for k in range(4):
        c = int(buffer[p + k])
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c <= 102:
            c -= 87
        elif 65 <= c <= 70:
            c -= 55
        else:
            return -1
        value = value * 16 + c
    return value


@numba.njit(cache=True, nogil=True)
def _string(
    buffer: NDArray[np.uint8], p: int, end: int, out: NDArray[np.uint8], at: int
) -> tuple[int, int, bool]:
    """Read a string's text from p, behind the quote, into `out` at `at`.

    Returns the place behind the closing quote (-1: ask; -2: the value ends within), where the text ends in `out`, and
    whether it held an escape.
    """
    escaped = False
    while p < end:
        c = buffer[p]
        if c == _QUOTE:
            return p + 1, at, escaped
        if c < 32:
            return -1, at, escaped
        if c == _BACKSLASH:
            escaped = True
            if p + 1 >= end:
                return -1, at, escaped
            c = buffer[p + 1]
            p += 2
            if c == 117:  # u
                code = _hexadecimal(buffer, p, end)
                p += 4
                if code < 0 or 0xDC00 <= code <= 0xDFFF:
                    return -1, at, escaped
                if code >= 0xD800 and code <= 0xDBFF:
                    if p + 1 >= end or buffer[p] != _BACKSLASH or buffer[p + 1] != 117:
                        return -1, at, escaped
                    low = _hexadecimal(buffer, p + 2, end)
                    if low < 0xDC00 or low > 0xDFFF:
                        return -1, at, escaped
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    p += 6
                if code < 0x80:
                    out[at] = code
                    at += 1
                elif code < 0x800:
                    out[at] = 0xC0 | (code >> 6)
                    out[at + 1] = 0x80 | (code & 63)
                    at += 2
                elif code < 0x10000:
                    out[at] = 0xE0 | (code >> 12)
                    out[at + 1] = 0x80 | ((code >> 6) & 63)
                    out[at + 2] = 0x80 | (code & 63)
                    at += 3
                else:
                    out[at] = 0xF0 | (code >> 18)
                    out[at + 1] = 0x80 | ((code >> 12) & 63)
                    out[at + 2] = 0x80 | ((code >> 6) & 63)
                    out[at + 3] = 0x80 | (code & 63)
                    at += 4
                continue
            if c == 110:
                c = np.uint8(10)
            elif c == 116:
                c = np.uint8(9)
            elif c == 114:
                c = np.uint8(13)
            elif c == 98:
                c = np.uint8(8)
            elif c == 102:
                c = np.uint8(12)
            elif c != _QUOTE and c != _BACKSLASH and c != 47:
                return -1, at, escaped
            out[at] = c
            at += 1
            continue
        if c < 0x80:
            out[at] = c
            at += 1
            p += 1
            continue
        size = _character(buffer, p, end)
        if size == 0:
            return -1, at, escaped
        for k in range(size):
            out[at + k] = buffer[p + k]
        at += size
        p += size
    return -2, at, escaped


@numba.njit(cache=True, nogil=True)
def _scalar(buffer: NDArray[np.uint8], p: int, end: int) -> int:
    """The place behind the number or word at p; -1: ask."""
    c = buffer[p]
    if c == 116 or c == 102 or c == 110:
        word = b"true" if c == 116 else b"null" if c == 110 else b"false"
        if p + len(word) > end:
            return -1
        for k in range(len(word)):
            if buffer[p + k] != word[k]:
                return -1
        return p + len(word)
    if c == 45:
        p += 1
    start = p
    while p < end and 48 <= buffer[p] <= 57:
        p += 1
    if p == start or (buffer[start] == 48 and p > start + 1):
        return -1
    if p < end and buffer[p] == 46:
        point = p
        p += 1
        while p < end and 48 <= buffer[p] <= 57:
            p += 1
        if p == point + 1:
            return -1
    if p - start > _DIGITS or (p < end and (buffer[p] == 101 or buffer[p] == 69)):
        return -1
    return p


@numba.njit(cache=True, nogil=True)
def _may_be_value(c: int) -> bool:
    """Whether a parser may have more to say of a value that begins so: what numbers and words lack, or of a byte order mark."""
    return 48 <= c <= 57 or c in (_QUOTE, _OPEN, 91, 43, 45, 46, 102, 110, 116, 0xEF)  # [ + - . f n t


@numba.njit(cache=True, nogil=True)
def _same(buffer: NDArray[np.uint8], start: int, stop: int, name: NDArray[np.uint8]) -> bool:
    if stop - start != len(name):
        return False
    same = True
    for k in range(len(name)):
        same &= buffer[start + k] == name[k]
    return same


@numba.njit(cache=True, nogil=True)
def _visible(text: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether a text surely holds more than spaces and controls.

    Spaces beyond ASCII: U+0085 and U+00A0, U+1680, U+2000 to U+205F, U+3000; what shares their first bytes counts as one.
    """
    for p in range(start, stop):
        c = text[p]
        if 32 < c < 127 or 0xC3 <= c <= 0xE0 or c >= 0xE4:
            return True
        if c >= 0xC2:
            second = text[p + 1]
            if c == 0xE3 and (second != 0x80 or text[p + 2] != 0x80):
                return True
            if (c == 0xE1 and second != 0x9A) or (c == 0xE2 and second > 0x81):
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _object(
    buffer: NDArray[np.uint8],
    p: int,
    end: int,
    names: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    outs: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]],
    places: NDArray[np.int64],
) -> tuple[int, int]:
    """Read one value; `places` say where its sides begin in `outs`, and then where they end.

    Returns a `Finding`, and the place of what is wrong if that is known.
    """
    source_start, target_start = places[0], places[1]
    found_source = found_target = False
    p = _past_blanks(buffer, p, end)
    if p >= end:
        return _ASK, p
    if buffer[p] != _OPEN:
        return _ASK if _may_be_value(buffer[p]) else _NO_VALUE, p
    p = _past_blanks(buffer, p + 1, end)
    empty = p < end and buffer[p] == _CLOSE
    while not empty:
        if p >= end:
            return _CUT_OFF, end
        if buffer[p] != _QUOTE:
            return _ASK if buffer[p] == _CLOSE else _NO_KEY, p
        key = p + 1
        p, _, escaped = _string(buffer, key, end, outs[2], 0)
        if p < 0 or escaped:
            return _CUT_OFF if p == -2 else _ASK, end
        is_source = _same(buffer, key, p - 1, names[0])
        is_target = _same(buffer, key, p - 1, names[1])
        if (is_source and found_source) or (is_target and found_target):
            return _ASK, p
        p = _past_blanks(buffer, p, end)
        if p >= end:
            return _CUT_OFF, end
        if buffer[p] != _COLON:
            return _NO_COLON, p
        p = _past_blanks(buffer, p + 1, end)
        if p >= end:
            return _CUT_OFF, end
        value = p
        if buffer[p] != _QUOTE:
            if not _may_be_value(buffer[p]):
                return _NO_VALUE, p
            if is_source or is_target:
                return _ASK, p
            p = _scalar(buffer, p, end)
        elif not is_source and not is_target:
            p, _, _ = _string(buffer, value + 1, end, outs[2], 0)
        if is_source:
            p, places[0], _ = _string(buffer, value + 1, end, outs[0], source_start)
            found_source = True
        if is_target:
            p, places[1], _ = _string(buffer, value + 1, end, outs[1], target_start)
            found_target = True
        if p < 0:
            return _CUT_OFF if p == -2 else _ASK, end
        p = _past_blanks(buffer, p, end)
        if p >= end:
            return _CUT_OFF, end
        if buffer[p] == _CLOSE:
            break
        if buffer[p] != _COMMA:
            return _NO_COMMA, p
        p = _past_blanks(buffer, p + 1, end)
    p = _past_blanks(buffer, p + 1, end)
    if p < end:
        return _MORE, p
    whole = (
        found_source
        and found_target
        and _visible(outs[0], source_start, places[0])
        and _visible(outs[1], target_start, places[1])
    )
    return _SIDES if whole else _ASK, p


@numba.njit(cache=True, nogil=True)
def _characters(buffer: NDArray[np.uint8], p: int, end: int) -> tuple[int, int]:
    """How many characters stand from p to the end, or -1; and where the first is that is no UTF-8."""
    count = 0
    while p < end:
        size = 1 if buffer[p] < 0x80 else _character(buffer, p, end)
        if size == 0:
            return -1, p
        p += size
        count += 1
    return count, p


@numba.njit(cache=True, nogil=True)
def _objects(
    buffer: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    longest: int,
    names: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    outs: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]],
    findings: NDArray[np.int8],
    wrong: NDArray[np.int64],
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    places = np.zeros(2, np.int64)
    for i in range(len(findings)):
        start, end = offsets[i], offsets[i + 1]
        source, target = places[0], places[1]
        if end - start <= longest:
            findings[i], place = _object(buffer, start, end, names, outs, places)
            if findings[i] != _SIDES:
                # a parser looks at the whole value's UTF-8 before anything else
                after, bad = _characters(buffer, start, end)
                if after < 0:
                    findings[i], wrong[i] = _NOT_UTF8, bad - start
                else:
                    wrong[i], _ = _characters(buffer, start, place)
        if findings[i] != _SIDES:
            places[0], places[1] = source, target
        ends[0][i + 1], ends[1][i + 1] = places[0], places[1]


def read_objects(values: Sequence[bytes], names: tuple[str, str], longest: int) -> Sides:
    """Read the sides called `names` of each value; of one of more than `longest` bytes a parser must tell."""
    count = len(values)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, count), out=offsets[1:])
    buffer = np.frombuffer(b"".join(values), np.uint8)
    outs = (np.empty(len(buffer), np.uint8), np.empty(len(buffer), np.uint8), np.empty(len(buffer), np.uint8))
    ends = (np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64))
    findings, wrong = np.zeros(count, np.int8), np.zeros(count, np.int64)
    keys = (np.frombuffer(names[0].encode(), np.uint8), np.frombuffer(names[1].encode(), np.uint8))
    _objects(buffer, offsets, longest, keys, outs, findings, wrong, ends)
    for out in outs:
        out.flags.writeable = False  # as `TextBatch.pack` makes them, so that kernels are compiled once
    source, target = (TextBatch(outs[side][: ends[side][-1]], ends[side]) for side in (0, 1))
    return Sides(findings, wrong, source, target)
