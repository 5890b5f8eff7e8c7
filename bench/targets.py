"""Targets as people have them: few pairs, with copies, misaligned or crawled pairs among them."""

from __future__ import annotations

import numpy as np

from bench.corpus import Corpus
from craft_stream.text.batch import PairBatch

KINDS = ("whole", "first", "copied", "misaligned", "crawled", "rest", "source", "target")
# Of the stream, what `rest` leaves to select from.
FIRST = 1 / 3


def target_pairs(corpus: Corpus, domain: str, how: str = "whole") -> PairBatch:
    """The target of a domain.

    Args:
        corpus: with its targets.
        domain: whose.
        how: `whole`; `source` or `target` (its texts of that side alone); `first:N` (N pairs of it, drawn); `rest` (all clean
            pairs of the domain in the last two thirds of the stream, which copies some of the first third); or with a share P
            of its pairs replaced by their sources (`copied:P`), by targets of one another (`misaligned:P`), or by pairs of the
            stream (`crawled:P`).
    """
    kind, _, argument = how.partition(":")
    if kind == "rest":
        rows = np.flatnonzero(corpus.labels.of(domain) & corpus.labels.sound)
        return corpus.pairs.take(rows[rows >= int(FIRST * len(corpus.pairs))])
    texts = corpus.target(domain)
    sources, targets = list(texts.sources), list(texts.targets)
    if kind == "source":
        return PairBatch.of_side(sources, "source")
    if kind == "target":
        return PairBatch.of_side(targets, "target")
    rng = np.random.default_rng(2)
    drawn: list[int] = rng.permutation(len(sources)).tolist()
    if kind == "first":
        first = sorted(drawn[: int(argument)])
        return PairBatch.pack([sources[row] for row in first], [targets[row] for row in first])
    spoilt = drawn[: round(len(sources) * float(argument or 0))]
    if kind == "copied":
        for row in spoilt:
            targets[row] = sources[row]
    elif kind == "misaligned":
        others = [texts.targets[row] for row in np.roll(spoilt, 1).tolist()]
        for row, other in zip(spoilt, others, strict=True):
            targets[row] = other
    elif kind == "crawled":
        crawl = corpus.pairs.take(rng.choice(len(corpus.pairs), len(spoilt), replace=False))
        for row, source, target in zip(spoilt, crawl.source.texts(), crawl.target.texts(), strict=True):
            sources[row], targets[row] = source, target
    elif kind != "whole":
        raise ValueError(f"no target {how!r}; known: {', '.join(KINDS)}")
    return PairBatch.pack(sources, targets)
