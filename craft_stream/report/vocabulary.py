"""Words that tell clusters apart."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import islice

_WORD = re.compile(r"[^\W\d_]{3,30}")
_MOST = 4_000  # words of a cluster that are remembered
_USUAL = 0.5  # of a word's share of all words: a cluster with as much has the word
_FEW = 200  # words below which those count that came once


class Vocabulary:
    """Counts of words by cluster, of a sample."""

    def __init__(self) -> None:
        self._by_cluster: dict[int, Counter[str]] = {}

    def add(self, cluster: int, text: str) -> None:
        """Add a text's words, each once."""
        known = self._by_cluster.setdefault(cluster, Counter())
        known.update(set(_WORD.findall(text[:500].lower())))
        if len(known) > 2 * _MOST:
            self._by_cluster[cluster] = Counter(dict(known.most_common(_MOST)))

    def telling(self, count: int) -> dict[int, list[str]]:
        """By cluster, words that are far more frequent in it than elsewhere, by n log(n N / (m M)), as likelihood ratios.

        Words that most clusters have, such as articles, are told of none.
        """
        whole: Counter[str] = Counter()
        for known in self._by_cluster.values():
            whole.update(known)
        total = whole.total()
        sizes = {cluster: known.total() for cluster, known in self._by_cluster.items()}

        def tells(word: str) -> bool:
            usual = _USUAL * whole[word] / total
            having = sum(known[word] >= usual * sizes[c] for c, known in self._by_cluster.items())
            return having <= max(len(sizes) / 2, 1)

        found = {}
        for cluster, known in self._by_cluster.items():
            own = sizes[cluster]
            rank = {
                word: n * math.log(n * total / (whole[word] * own))
                for word, n in known.items()
                if n > 1 or own < _FEW
            }
            ordered = sorted(rank, key=lambda word: (-rank[word], word))
            found[cluster] = list(islice(filter(tells, ordered), count))
        return found
