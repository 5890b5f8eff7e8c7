"""The lexicon, learned online: one stepwise EM step of IBM Model 1 on each pair, both directions at once.

For source stem e and target stem f of a pair, t = (c(e,f) + a p(f)) / (c(e) + a) and r = (c(e,f) + a p(e)) / (c(f) + a), each
damped by the distance of the words' relative positions, 1 / (1 + d (i/n - j/m)^2). The posterior is the geometric mean of
both directions' (agreement: Liang et al. 2006), weighted by the pair's P(clean), and is added to c(e,f), c(e) and c(f).
A full bucket of the joint table gives up the smaller of its two counts when the new one is larger, and else is worn down
by it (lossy counting), so memory is bounded and rare pairs of words make room.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.lexicon import JOINT_UNIT, LEXICON_TOKENS, SMOOTHING, Lexicon
from craft_stream.text.bags import STEM_BITS
from craft_stream.text.hashing import GOLDEN, mix
from craft_stream.text.tokens import Tokens

_DISTORTION = 10.0
# Products of posteriors below this are not worth a slot: 1/70 of a translation.
_SMALLEST = 2e-4


@numba.njit(cache=True, nogil=True, fastmath=True)
def _learn(
    source: NDArray[np.uint64],
    source_offsets: NDArray[np.int64],
    target: NDArray[np.uint64],
    target_offsets: NDArray[np.int64],
    weights: NDArray[np.float32],
    joint: NDArray[np.uint32],
    source_mass: NDArray[np.float32],
    target_mass: NDArray[np.float32],
    source_count: NDArray[np.float32],
    target_count: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    limit = LEXICON_TOKENS
    buckets = np.uint64(len(joint) // 4 - 1)
    shift = np.uint64(64 - STEM_BITS)
    smoothing = np.float32(SMOOTHING)
    distortion = np.float32(_DISTORTION)
    unit = np.float32(JOINT_UNIT)
    one = np.float32(1)
    forward = np.empty((limit, limit), np.float32)
    backward = np.empty((limit, limit), np.float32)
    place = np.empty((limit, limit), np.int64)
    keys = np.empty((limit, limit), np.uint64)
    forward_sum = np.empty(limit, np.float32)
    backward_sum = np.empty(limit, np.float32)
    key_base = np.empty(limit, np.uint64)
    per_mass = np.empty(limit, np.float32)
    prior = np.empty(limit, np.float32)
    for k in range(len(weights)):
        weight = weights[k]
        if weight <= 0:
            continue
        a = source_offsets[k]
        c = target_offsets[k]
        ns = min(source_offsets[k + 1] - a, limit)
        nt = min(target_offsets[k + 1] - c, limit)
        if ns == 0 or nt == 0:
            continue
        source_scale = np.float32(1.0 / (totals[0] + 1001.0))
        target_scale = np.float32(1.0 / (totals[1] + 1001.0))
        for i in range(ns):
            stem = source[a + i]
            v = np.int64(stem >> shift)
            key_base[i] = stem * GOLDEN
            per_mass[i] = one / (source_mass[v] + smoothing)
            prior[i] = (source_count[v] + np.float32(0.5)) * source_scale
            backward_sum[i] = prior[i]
        for j in range(nt):
            stem = target[c + j]
            v = np.int64(stem >> shift)
            pj = (target_count[v] + np.float32(0.5)) * target_scale
            per_target = one / (target_mass[v] + smoothing)
            z = pj
            for i in range(ns):
                key = mix(key_base[i] + stem)
                s = np.int64(key & buckets) * 4
                tag = np.uint32(key >> np.uint64(32)) | np.uint32(1)
                count = np.float32(0)
                where = np.int64(-1)
                if joint[s] == tag:
                    where = s + 1
                elif joint[s + 2] == tag:
                    where = s + 3
                if where >= 0:
                    count = np.float32(joint[where]) * unit
                place[j, i] = where
                keys[j, i] = key
                apart = np.float32(i) / np.float32(ns) - np.float32(j) / np.float32(nt)
                damp = one / (one + distortion * apart * apart)
                t = (count + smoothing * pj) * per_mass[i] * damp
                r = (count + smoothing * prior[i]) * per_target * damp
                forward[j, i] = t
                backward[j, i] = r
                z += t
                backward_sum[i] += r
            forward_sum[j] = z
        totals[0] += ns
        totals[1] += nt
        for i in range(ns):
            source_count[np.int64(source[a + i] >> shift)] += one
            backward_sum[i] = one / backward_sum[i]
        for j in range(nt):
            v = np.int64(target[c + j] >> shift)
            target_count[v] += one
            inverse = one / forward_sum[j]
            for i in range(ns):
                product = forward[j, i] * inverse * backward[j, i] * backward_sum[i]
                if product < np.float32(_SMALLEST):
                    continue
                posterior = np.sqrt(product) * weight
                add = np.uint32(posterior / unit)
                if add == 0:
                    continue
                where = place[j, i]
                if where < 0:
                    key = keys[j, i]
                    s = np.int64(key & buckets) * 4
                    tag = np.uint32(key >> np.uint64(32)) | np.uint32(1)
                    if joint[s] == tag:
                        where = s + 1
                    elif joint[s + 2] == tag:
                        where = s + 3
                    else:
                        if joint[s + 1] > joint[s + 3]:
                            s += 2
                        if joint[s + 1] > add:
                            joint[s + 1] -= add
                            continue
                        joint[s] = tag
                        joint[s + 1] = 0
                        where = s + 1
                if joint[where] < np.uint32(4_000_000_000):
                    joint[where] += add
                source_mass[np.int64(source[a + i] >> shift)] += posterior
                target_mass[v] += posterior


def learn_lexicon(lexicon: Lexicon, source: Tokens, target: Tokens, weights: NDArray[np.float32]) -> None:
    """One step on each pair; weights float32 [pairs], 0 leaves a pair out. Changes `lexicon` in place."""
    _learn(
        source.stems,
        source.offsets,
        target.stems,
        target.offsets,
        weights,
        lexicon.joint,
        lexicon.source_mass,
        lexicon.target_mass,
        lexicon.source_count,
        lexicon.target_count,
        lexicon.totals,
    )
