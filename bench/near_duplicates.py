"""Near duplicates among selected pairs, measured exactly and by min-hash.

A pair's set is the word bigrams of its source and those of its target, each side with a start mark of its
own. A pair is a near duplicate if an earlier selected pair's set has a Jaccard similarity above .6 with its
own. The min-hash figure is an estimate by 16 bands of 2, at least 6 shared: what a selector can afford; the
exact one is what the bar is about.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(rb"[a-z0-9_\x80-\xff]+|[^\x00-\x20]")
_BANDS, _SHARED = 16, 6

Bigrams = frozenset[int]


def bigrams(sources: Sequence[str], targets: Sequence[str]) -> list[Bigrams]:
    """The set of every pair, as numbers that mean nothing outside this list."""
    numbers: dict[tuple[int, bytes, bytes], int] = {}
    sets = []
    for pair in zip(sources, targets, strict=True):
        found = set()
        for side, text in enumerate(pair):
            before = b""
            for word in _TOKEN.findall(text.lower().encode("utf-8", "replace")):
                found.add(numbers.setdefault((side, before, word), len(numbers)))
                before = word
        sets.append(frozenset(found))
    return sets


def exact_share(sets: Sequence[Bigrams], threshold: float = 0.6) -> float:
    """Share of pairs with an earlier one of Jaccard similarity above `threshold`.

    Prefix filtering (Chaudhuri, Ganti, Kaushik 2006): with all sets sorted from the rarest bigram on, two
    sets above the threshold share one among the first n - ceil(threshold n) + 1, so only pairs that meet
    there are compared.
    """
    frequency = Counter(bigram for found in sets for bigram in found)
    seen: dict[int, list[int]] = defaultdict(list)
    near = 0
    for index, found in enumerate(sets):
        ordered = sorted(found, key=lambda bigram: (frequency[bigram], bigram))
        prefix = ordered[: len(ordered) - int(np.ceil(threshold * len(ordered))) + 1]
        candidates = {other for bigram in prefix for other in seen[bigram]}
        near += any(_above(found, sets[other], threshold) for other in candidates)
        for bigram in prefix:
            seen[bigram].append(index)
    return near / max(len(sets), 1)


def _above(one: Bigrams, other: Bigrams, threshold: float) -> bool:
    shared = len(one & other)
    return shared > threshold * (len(one) + len(other) - shared)


def minhash_share(sets: Sequence[Bigrams]) -> float:
    """Share of pairs that share 6 or more of 16 bands of 2 min-hashes with what came before."""
    seeds = np.random.default_rng(0).integers(1, 1 << 63, 2 * _BANDS, dtype=np.uint64)
    seen: set[tuple[int, int, int]] = set()
    near = 0
    for found in sets:
        minima = _minima(np.fromiter(found, np.uint64, len(found)), seeds)
        bands = [(band, int(minima[2 * band]), int(minima[2 * band + 1])) for band in range(_BANDS)]
        near += sum(band in seen for band in bands) >= _SHARED
        seen.update(bands)
    return near / max(len(sets), 1)


def _minima(values: NDArray[np.uint64], seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """uint64 [32], the smallest splitmix64 of the values under every seed."""
    mixed = values[:, None] * np.uint64(0x9E3779B97F4A7C15) ^ seeds
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    minima: NDArray[np.uint64] = mixed.min(0, initial=np.iinfo(np.uint64).max)
    return minima
