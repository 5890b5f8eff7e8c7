"""Links between the words of both sides: which word is the translation of which, one to one.

A source word e and a target word f attract one another by (.1 + .9 t(f|e)/p(f)) (.1 + .9 t(e|f)/p(e)), each ratio 400 at
most (see `scoring.lexicon`); words of equal stems by `_COPIED` at least, a number only an equal one, by `_NUMBER`. Two words
are linked where each attracts the other most, and by more than `_LEAST`: the intersection of both directions (Och and Ney
2003). One word may be the lexicon's best translation of many, but has one link. So lists that share a part of their entries,
which teach the lexicon that every entry translates every other, have few links.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring import lexicon
from craft_stream.scoring.lexicon import (
    JOINT_UNIT,
    LARGEST_RATIO,
    LEXICON_TOKENS,
    Lexicon,
    Tables,
    Words,
    make_room,
    score_words,
)
from craft_stream.text.bags import STEM_BITS
from craft_stream.text.hashing import GOLDEN, mix
from craft_stream.text.tokens import MARK, MAX_TOKENS, NUMBER, Tokens

FEATURES = ("linked", "linked_least", "crossing")
_SCORES = len(lexicon.FEATURES)
# Up to so many source words each is compared with every target word; of a longer text, those within the band around the
# place where the translation stands when both sides run alike. So a text of 500 words costs 12 times one of 40, not 150.
_WHOLE = 40
_BAND = 24
# exp(4) and exp(6): a word that is copied attracts as one that is well known, a number more. 9: three times chance both ways.
_COPIED = np.float32(54.6)
_NUMBER = np.float32(403.4)
_LEAST = np.float32(9.0)


class _Room(NamedTuple):
    """Where `_link_words` works, one pair after the other: [MAX_TOKENS] each."""

    word: NDArray[np.uint64]
    stems: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    place: NDArray[np.int64]
    number: NDArray[np.bool_]
    per_mass: NDArray[np.float32]
    prior: NDArray[np.float32]
    strength: NDArray[np.float32]
    best: NDArray[np.int64]
    choice: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def _link_words(
    source: Words,
    target: Words,
    row: int,
    tables: Tables,
    found: NDArray[np.uint32],
    room: _Room,
    out: NDArray[np.float32],
) -> None:
    """`FEATURES` of the pair at `row` into `out`, float32 [3]; `found` as `score_words` leaves it."""
    joint, source_mass, target_mass, source_count, target_count, totals = tables
    word, stems, keys, place, number, per_mass, prior, strength, best, choice = room
    buckets = np.uint64(len(joint) // 4 - 1)
    shift = np.uint64(64 - STEM_BITS)
    unit, one, half = np.float32(JOINT_UNIT), np.float32(1), np.float32(0.5)
    low, high, largest = np.float32(0.1), np.float32(0.9), np.float32(LARGEST_RATIO)
    source_scale = np.float32(1.0 / (totals[0] + 1001.0))
    target_scale = np.float32(1.0 / (totals[1] + 1001.0))
    first, target_first = source.offsets[row], target.offsets[row]
    ns = 0
    for p in range(source.offsets[row], source.offsets[row + 1]):
        if source.kinds[p] != MARK:
            stem = source.stems[p]
            v = np.int64(stem >> shift)
            word[ns], stems[ns], keys[ns] = source.words[p], stem, stem * GOLDEN
            number[ns] = source.kinds[p] == NUMBER
            per_mass[ns] = one / (source_mass[v] + one)
            prior[ns] = (source_count[v] + half) * source_scale
            strength[ns] = 0
            best[ns] = -1
            place[ns] = p - first
            ns += 1
    nt = 0
    for p in range(target.offsets[row], target.offsets[row + 1]):
        nt += target.kinds[p] != MARK
    j = 0
    for p in range(target.offsets[row], target.offsets[row + 1]):
        if target.kinds[p] == MARK:
            continue
        stem, is_number = target.stems[p], target.kinds[p] == NUMBER
        v = np.int64(stem >> shift)
        probability = (target_count[v] + half) * target_scale
        inverse = one / probability
        per_target = one / (target_mass[v] + one)
        start, stop = 0, ns
        if ns > _WHOLE:
            middle = j * ns // nt
            start, stop = max(0, middle - _BAND), min(ns, middle + _BAND + 1)
        most = _LEAST
        choice[j] = -1
        for i in range(start, stop):
            x = np.float32(0)
            if number[i] or is_number:
                if word[i] == target.words[p]:
                    x = _NUMBER
            else:
                count = np.uint32(0)
                if p - target_first < LEXICON_TOKENS and place[i] < LEXICON_TOKENS:
                    count = found[p - target_first, place[i]]
                else:
                    key = mix(keys[i] + stem)
                    s = np.int64(key & buckets) * 4
                    tag = np.uint32(key >> np.uint64(32)) | np.uint32(1)
                    if joint[s] == tag:
                        count = joint[s + 1]
                    elif joint[s + 2] == tag:
                        count = joint[s + 3]
                if count > 0:
                    c = np.float32(count) * unit
                    forward = min((c + probability) * per_mass[i] * inverse, largest)
                    backward = min((c + prior[i]) * per_target / prior[i], largest)
                    x = (low + high * forward) * (low + high * backward)
                if x < _COPIED and stems[i] == stem:
                    x = _COPIED
            if x > most:
                most = x
                choice[j] = i
            if x > strength[i]:
                strength[i] = x
                best[i] = j
        j += 1
    links = 0
    crossing = 0.0
    for j in range(nt):
        i = choice[j]
        if i >= 0 and best[i] == j:
            links += 1
            crossing += abs(i / ns - j / nt)
    out[0] = np.float32(2 * links / (ns + nt + 1.0))
    out[1] = np.float32(links / (max(ns, nt) + 1.0))
    out[2] = np.float32(crossing / (links + 1.0))


@numba.njit(cache=True, nogil=True)
def _word_features(
    source: Words, target: Words, rows: NDArray[np.int64], tables: Tables, out: NDArray[np.float32]
) -> None:
    scored = make_room()
    linked = _Room(
        np.empty(MAX_TOKENS, np.uint64),
        np.empty(MAX_TOKENS, np.uint64),
        np.empty(MAX_TOKENS, np.uint64),
        np.empty(MAX_TOKENS, np.int64),
        np.empty(MAX_TOKENS, np.bool_),
        np.empty(MAX_TOKENS, np.float32),
        np.empty(MAX_TOKENS, np.float32),
        np.empty(MAX_TOKENS, np.float32),
        np.empty(MAX_TOKENS, np.int64),
        np.empty(MAX_TOKENS, np.int64),
    )
    for n in range(len(rows)):
        score_words(source, target, rows[n], tables, scored, out[n, :_SCORES])
        _link_words(source, target, rows[n], tables, scored.found, linked, out[n, _SCORES:])


def word_features(
    source: Tokens, target: Tokens, rows: NDArray[np.int64], known: Lexicon
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`scoring.lexicon.FEATURES` of the pairs at `rows`, float32 [rows, 9], and `FEATURES`, float32 [rows, 3].

    Of the latter: links as a share of the words of both sides and of the longer side's, and how far apart linked words stand,
    as a share of their sides, on average. Both are computed together, so that two words are looked up once.
    """
    out = np.empty((len(rows), _SCORES + len(FEATURES)), np.float32)
    sides = [Words(side.words, side.stems, side.kinds, side.offsets) for side in (source, target)]
    _word_features(sides[0], sides[1], rows, known.tables, out)
    return out[:, :_SCORES], out[:, _SCORES:]
