"""Lexicon scores: how well the words of one side are explained by the words of the other.

The lexicon holds joint expected counts c(e, f) of source stem e and target stem f (IBM Model 1, symmetric posteriors; see
`learning.lexicon`). A target word's support is the largest ratio t(f|e)/p(f) over the source words, and a pair's score the
mean of log(.1 + .9 ratio) over its target words; the same the other way round. The largest ratio rather than the mean, as
one good translation is all that a word needs. The mean support of the two weakest words of each side is a feature too:
a pair that is right but for one word ("Close"/"Open", "month"/"year") has a high mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.bags import STEM_BITS
from craft_stream.text.hashing import GOLDEN, mix
from craft_stream.text.tokens import WORD

# Joint counts are kept as integers of 1/1024, so that adding and evicting are exact.
JOINT_UNIT = 1 / 1024
# Of the table of joint counts.
BUCKET_BITS = 18
# Words of a side that the lexicon looks at; longer sides are judged on their head.
LEXICON_TOKENS = 40
# Pseudo-count that shrinks a rare word's translations towards p(f).
SMOOTHING = 1.0
LARGEST_RATIO = 400.0
# log(.1 + .9 LARGEST_RATIO): the support of a word that could not be better translated.
_STRONGEST = 5.89
FEATURES = (
    "forward",
    "backward",
    "weaker",
    "coverage",
    "back_coverage",
    "tail_coverage",
    "unknown",
    "weakest",
    "back_weakest",
)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Expected counts of word pairs, hashed.

    Attributes:
        joint: uint32 [4 x buckets]; a bucket is two ways of (tag, count in units of 1/1024).
        source_mass, target_mass: float32 [2^STEM_BITS], posterior mass of a stem.
        source_count, target_count: float32 [2^STEM_BITS], occurrences of a stem.
        totals: float64 [2], occurrences of all stems on the source and the target side.
    """

    joint: NDArray[np.uint32]
    source_mass: NDArray[np.float32]
    target_mass: NDArray[np.float32]
    source_count: NDArray[np.float32]
    target_count: NDArray[np.float32]
    totals: NDArray[np.float64]

    @classmethod
    def empty(cls, bucket_bits: int = BUCKET_BITS) -> Lexicon:
        """A lexicon that knows nothing, of 2^bucket_bits buckets (4 MB at 18).

        A table of 16 MB finds no more, and waits for memory: with 2^18 buckets a pair's features take .68 of the time, and
        learning a pair .56; good is within .003 on seven domains, also where all 551,304 pairs are learned from.
        """
        stems = 1 << STEM_BITS
        return cls(
            joint=np.zeros(4 << bucket_bits, np.uint32),
            source_mass=np.zeros(stems, np.float32),
            target_mass=np.zeros(stems, np.float32),
            source_count=np.zeros(stems, np.float32),
            target_count=np.zeros(stems, np.float32),
            totals=np.zeros(2),
        )

    @property
    def tables(self) -> Tables:
        """Its arrays."""
        return Tables(**{item.name: getattr(self, item.name) for item in fields(self)})

    def copy(self) -> Lexicon:
        """A lexicon of its own arrays."""
        return Lexicon(**{item.name: getattr(self, item.name).copy() for item in fields(self)})


class Tables(NamedTuple):
    """The arrays of a `Lexicon`, as kernels take them."""

    joint: NDArray[np.uint32]
    source_mass: NDArray[np.float32]
    target_mass: NDArray[np.float32]
    source_count: NDArray[np.float32]
    target_count: NDArray[np.float32]
    totals: NDArray[np.float64]


class Words(NamedTuple):
    """The tokens of a side, as kernels take them; see `Tokens`."""

    words: NDArray[np.uint64]
    stems: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    offsets: NDArray[np.int64]


class Room(NamedTuple):
    """Where `score_words` works, one pair after the other: [LEXICON_TOKENS] each.

    Attributes:
        found: uint32 [LEXICON_TOKENS, LEXICON_TOKENS], joint counts of the pair's first target and source words, in units; what
            lies behind their last words is of pairs before.
    """

    keys: NDArray[np.uint64]
    per_mass: NDArray[np.float32]
    prior: NDArray[np.float32]
    best_back: NDArray[np.float32]
    found: NDArray[np.uint32]


@numba.njit(cache=True, nogil=True)
def make_room() -> Room:
    """Room for any pair."""
    return Room(
        np.empty(LEXICON_TOKENS, np.uint64),
        np.empty(LEXICON_TOKENS, np.float32),
        np.empty(LEXICON_TOKENS, np.float32),
        np.empty(LEXICON_TOKENS, np.float32),
        np.empty((LEXICON_TOKENS, LEXICON_TOKENS), np.uint32),
    )


@numba.njit(cache=True, nogil=True)
def _two_least(value: float, least: float, second: float) -> tuple[float, float]:
    """The least and the second of three numbers, of which `least` <= `second`."""
    if value < least:
        return value, least
    return least, min(value, second)


@numba.njit(cache=True, nogil=True)
def score_words(
    source: Words, target: Words, row: int, tables: Tables, room: Room, out: NDArray[np.float32]
) -> None:
    """`FEATURES` of the pair at `row` into `out`, float32 [9]; zeros where a side has no tokens. `room.found` is set."""
    key_base, per_mass, prior, best_back, found = room
    joint, source_mass, target_mass, source_count, target_count, totals = tables
    buckets = np.uint64(len(joint) // 4 - 1)
    shift = np.uint64(64 - STEM_BITS)
    smoothing = np.float32(SMOOTHING)
    unit = np.float32(JOINT_UNIT)
    largest = np.float32(LARGEST_RATIO)
    source_scale = np.float32(1.0 / (totals[0] + 1001.0))
    target_scale = np.float32(1.0 / (totals[1] + 1001.0))
    a = source.offsets[row]
    c = target.offsets[row]
    ns = min(source.offsets[row + 1] - a, LEXICON_TOKENS)
    nt = min(target.offsets[row + 1] - c, LEXICON_TOKENS)
    if ns == 0 or nt == 0:
        out[:] = 0
        return
    largest_per_mass = np.float32(0)
    largest_per_target = np.float32(0)
    for i in range(ns):
        stem = source.stems[a + i]
        v = np.int64(stem >> shift)
        key_base[i] = stem * GOLDEN
        per_mass[i] = np.float32(1) / (source_mass[v] + smoothing)
        prior[i] = (source_count[v] + np.float32(0.5)) * source_scale
        best_back[i] = 0
        if per_mass[i] > largest_per_mass:
            largest_per_mass = per_mass[i]
    weakest = _STRONGEST
    weaker = _STRONGEST
    back_weakest = _STRONGEST
    back_weaker = _STRONGEST
    forward = 0.0
    covered = 0
    words = 0
    unknown = 0
    for j in range(nt):
        stem = target.stems[c + j]
        v = np.int64(stem >> shift)
        pj = (target_count[v] + np.float32(0.5)) * target_scale
        inverse_pj = np.float32(1) / pj
        per_target = np.float32(1) / (target_mass[v] + smoothing)
        if target.kinds[c + j] == WORD:
            words += 1
            if target_count[v] < 3:
                unknown += 1
        # A pair of words that is not in the table has a count of 0. Of those, the word of the least mass has the
        # largest ratio, rounding included, so that only what is found need be computed: the same to the bit.
        if per_target > largest_per_target:
            largest_per_target = per_target
        best = smoothing * pj * largest_per_mass * inverse_pj
        for i in range(ns):
            key = mix(key_base[i] + stem)
            s = np.int64(key & buckets) * 4
            tag = np.uint32(key >> np.uint64(32)) | np.uint32(1)
            found[j, i] = 0
            if joint[s] == tag:
                found[j, i] = joint[s + 1]
            elif joint[s + 2] == tag:
                found[j, i] = joint[s + 3]
            else:
                continue
            count = np.float32(found[j, i]) * unit
            x = (count + smoothing * pj) * per_mass[i] * inverse_pj
            if x > best:
                best = x
            x = (count + smoothing * prior[i]) * per_target / prior[i]
            if x > best_back[i]:
                best_back[i] = x
        if best > largest:
            best = largest
        support = np.log(0.1 + 0.9 * np.float64(best))
        forward += support
        if target.kinds[c + j] == WORD:
            weakest, weaker = _two_least(support, weakest, weaker)
        if best > 3:
            covered += 1
    backward = 0.0
    covered_back = 0
    tail = 0
    for i in range(ns):
        x = max(best_back[i], smoothing * prior[i] * largest_per_target / prior[i])
        x = min(x, largest)
        support = np.log(0.1 + 0.9 * np.float64(x))
        backward += support
        if source.kinds[a + i] == WORD:
            back_weakest, back_weaker = _two_least(support, back_weakest, back_weaker)
        if x > 3:
            covered_back += 1
            if i >= ns - 4:
                tail += 1
    out[0] = np.float32(forward / nt)
    out[1] = np.float32(backward / ns)
    out[2] = min(out[0], out[1])
    out[3] = np.float32(covered) / np.float32(nt)
    out[4] = np.float32(covered_back) / np.float32(ns)
    out[5] = np.float32(tail) / np.float32(min(ns, 4))
    out[6] = np.float32(unknown) / np.float32(words + 1)
    out[7] = np.float32(0.5 * (weakest + weaker))
    out[8] = np.float32(0.5 * (back_weakest + back_weaker))
