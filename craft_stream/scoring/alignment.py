"""Links between the words of both sides: which word is the translation of which, one to one.

A source word e and a target word f attract one another by (.1 + .9 t(f|e)/p(f)) (.1 + .9 t(e|f)/p(e)), each ratio 400 at
most (see `scoring.lexicon`); words of equal stems by `_COPIED` at least, a number only an equal one, by `_NUMBER`. Two words
are linked where each attracts the other most, and by more than `_LEAST`: the intersection of both directions (Och and Ney
2003). One word may be the lexicon's best translation of many, but has one link. So lists that share a part of their entries,
which teach the lexicon that every entry translates every other, have few links.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.lexicon import JOINT_UNIT, LARGEST_RATIO, Lexicon
from craft_stream.text.bags import STEM_BITS
from craft_stream.text.hashing import GOLDEN, mix
from craft_stream.text.tokens import MARK, MAX_TOKENS, NUMBER, Tokens

FEATURES = ("linked", "linked_least", "crossing")
# Up to so many source words each is compared with every target word; of a longer text, those within the band around the
# place where the translation stands when both sides run alike. So a text of 500 words costs 12 times one of 40, not 150.
_WHOLE = 40
_BAND = 24
# exp(4) and exp(6): a word that is copied attracts as one that is well known, a number more. 9: three times chance both ways.
_COPIED = np.float32(54.6)
_NUMBER = np.float32(403.4)
_LEAST = np.float32(9.0)


@numba.njit(cache=True, nogil=True)
def _alignment(
    source: NDArray[np.uint64],
    source_stems: NDArray[np.uint64],
    source_kinds: NDArray[np.uint8],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_stems: NDArray[np.uint64],
    target_kinds: NDArray[np.uint8],
    target_offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    joint: NDArray[np.uint32],
    source_mass: NDArray[np.float32],
    target_mass: NDArray[np.float32],
    source_count: NDArray[np.float32],
    target_count: NDArray[np.float32],
    totals: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    buckets = np.uint64(len(joint) // 4 - 1)
    shift = np.uint64(64 - STEM_BITS)
    unit, one, half = np.float32(JOINT_UNIT), np.float32(1), np.float32(0.5)
    low, high, largest = np.float32(0.1), np.float32(0.9), np.float32(LARGEST_RATIO)
    source_scale = np.float32(1.0 / (totals[0] + 1001.0))
    target_scale = np.float32(1.0 / (totals[1] + 1001.0))
    word = np.empty(MAX_TOKENS, np.uint64)
    stems = np.empty(MAX_TOKENS, np.uint64)
    keys = np.empty(MAX_TOKENS, np.uint64)
    number = np.empty(MAX_TOKENS, np.bool_)
    per_mass = np.empty(MAX_TOKENS, np.float32)
    prior = np.empty(MAX_TOKENS, np.float32)
    strength = np.empty(MAX_TOKENS, np.float32)
    best = np.empty(MAX_TOKENS, np.int64)
    choice = np.empty(MAX_TOKENS, np.int64)
    for n in range(len(rows)):
        row = rows[n]
        ns = 0
        for p in range(source_offsets[row], source_offsets[row + 1]):
            if source_kinds[p] != MARK:
                stem = source_stems[p]
                v = np.int64(stem >> shift)
                word[ns], stems[ns], keys[ns] = source[p], stem, stem * GOLDEN
                number[ns] = source_kinds[p] == NUMBER
                per_mass[ns] = one / (source_mass[v] + one)
                prior[ns] = (source_count[v] + half) * source_scale
                strength[ns] = 0
                best[ns] = -1
                ns += 1
        nt = 0
        for p in range(target_offsets[row], target_offsets[row + 1]):
            nt += target_kinds[p] != MARK
        j = 0
        for p in range(target_offsets[row], target_offsets[row + 1]):
            if target_kinds[p] == MARK:
                continue
            stem, is_number = target_stems[p], target_kinds[p] == NUMBER
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
                    if word[i] == target[p]:
                        x = _NUMBER
                else:
                    key = mix(keys[i] + stem)
                    s = np.int64(key & buckets) * 4
                    tag = np.uint32(key >> np.uint64(32)) | np.uint32(1)
                    count = np.uint32(0)
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
        out[n, 0] = np.float32(2 * links / (ns + nt + 1.0))
        out[n, 1] = np.float32(links / (max(ns, nt) + 1.0))
        out[n, 2] = np.float32(crossing / (links + 1.0))


def alignment_features(
    source: Tokens, target: Tokens, rows: NDArray[np.int64], lexicon: Lexicon
) -> NDArray[np.float32]:
    """`FEATURES` of the pairs at `rows`, float32 [rows, 3].

    Links as a share of the words of both sides and of the longer side's, and how far apart linked words stand, as a share of
    their sides, on average.
    """
    out = np.empty((len(rows), len(FEATURES)), np.float32)
    _alignment(
        source.words,
        source.stems,
        source.kinds,
        source.offsets,
        target.words,
        target.stems,
        target.kinds,
        target.offsets,
        rows,
        lexicon.joint,
        lexicon.source_mass,
        lexicon.target_mass,
        lexicon.source_count,
        lexicon.target_count,
        lexicon.totals,
        out,
    )
    return out
