"""Long pairs are judged in parts of a sentence's size: paragraphs whose end is wrong, copied, or in another order.

What people have judged are sentences, and features look at the head of a side, or at all of it at once. A pair of paragraphs is
cut into as many parts on either side, between sentences where that is near, and what it shows are its weakest parts.
"""

from __future__ import annotations

import re
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Tokens of the longer side, marks among them: of 150,000 pairs of a crawl two in 1,000 have more.
LONG = 120
# Of a part. Shorter ones find no more and refuse twice as many that are clean, longer ones let a third of wrong text pass.
_TOKENS = 60
# Of the longer side: 1,000 tokens, all that is read of a text elsewhere, seldom have more.
_MOST_CHARACTERS = 16_000
# From the first mark of a run only, else a text of marks takes time by the square of its length.
_BETWEEN_SENTENCES = re.compile(r"(?<![.!?…।])[.!?…।]++[\"'»”’)\]]*+\s+|[。！？]+")
_BETWEEN_WORDS = re.compile(r"\s+")


def long_rows(pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in `rows` of pairs with a side of more than `LONG` tokens, int64."""
    return np.flatnonzero(_longer(pairs, rows) > LONG)


def in_parts(pairs: TokenizedPairs, rows: NDArray[np.int64]) -> tuple[TokenizedPairs, NDArray[np.int64]]:
    """The parts of the pairs at `rows`, one after the other, and how many each has, int64 [rows]."""
    sources: list[str] = []
    targets: list[str] = []
    counts = -(-_longer(pairs, rows) // _TOKENS)
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        source, target = _heads(pairs.batch.source.text(row), pairs.batch.target.text(row))
        ends = _cuts(source, [k / count for k in range(1, count)])
        # Where the source was cut, as a share of its length: sentences are not equally long.
        other_ends = _cuts(target, [end / max(len(source), 1) for end in ends])
        sources += _pieces(source, ends)
        targets += _pieces(target, other_ends)
    return TokenizedPairs.of(PairBatch.pack(sources, targets)), counts


def _heads(source: str, target: str) -> tuple[str, str]:
    """Both texts; of texts that are too long the same share of each."""
    share = min(1.0, _MOST_CHARACTERS / max(len(source), len(target), 1))
    return source[: round(share * len(source))], target[: round(share * len(target))]


def weakest(scores: NDArray[np.float32], counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Of each pair's parts the two thirds with the lowest scores: places among all parts, int64.

    The third with the lowest refuses .17 to .52 of clean paragraphs, two thirds .08 to .19, and finds as much (ADR 58).
    """
    found, first = [], 0
    for count in counts.tolist():
        order = np.argsort(scores[first : first + count], kind="stable")
        found.append(first + order[: -(-2 * count // 3)])
        first += count
    return found


def _longer(pairs: TokenizedPairs, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of the longer side, int64 [rows]."""
    source, target = pairs.source.offsets, pairs.target.offsets
    longer: NDArray[np.int64] = np.maximum(source[rows + 1] - source[rows], target[rows + 1] - target[rows])
    return longer


def _cuts(text: str, shares: list[float]) -> list[int]:
    """Where to cut a text near these shares of its length, ascending: between sentences, else words, else anywhere."""
    sentences = [found.end() for found in _BETWEEN_SENTENCES.finditer(text)]
    words = [found.end() for found in _BETWEEN_WORDS.finditer(text)]
    reach = len(text) / (len(shares) + 1) / 2
    cuts = [0]
    for share in shares:
        wanted = share * len(text)
        found = (_nearest(sentences, wanted), _nearest(words, wanted))
        near = (place for place in found if place is not None and abs(place - wanted) <= reach)
        cuts.append(max(next(near, round(wanted)), cuts[-1]))
    return cuts[1:]


def _nearest(places: list[int], wanted: float) -> int | None:
    """The nearest of ascending places."""
    at = bisect_left(places, wanted)
    return min(places[max(at - 1, 0) : at + 1], key=lambda place: abs(place - wanted), default=None)


def _pieces(text: str, cuts: list[int]) -> list[str]:
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
