"""Words that tell clusters apart."""

from __future__ import annotations

import math
import re
from collections import Counter
from heapq import nsmallest

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
        clusters = {cluster: known for cluster, known in self._by_cluster.items() if known}
        sizes = {cluster: known.total() for cluster, known in clusters.items()}
        whole: Counter[str] = Counter()
        for known in clusters.values():
            whole.update(known)
        total = whole.total()
        having: Counter[str] = Counter()  # clusters that have a word
        for cluster, known in clusters.items():
            usual = _USUAL * sizes[cluster] / total
            having.update(word for word, n in known.items() if n >= usual * whole[word])
        most = max(len(clusters) / 2, 1)
        found = {}
        for cluster, known in clusters.items():
            own = sizes[cluster]
            rank = {
                word: n * math.log(n * total / (whole[word] * own))
                for word, n in known.items()
                if having[word] <= most and (n > 1 or own < _FEW)
            }
            found[cluster] = nsmallest(count, rank, key=lambda word: (-rank[word], word))
        return found
