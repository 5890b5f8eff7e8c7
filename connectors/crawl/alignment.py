"""Two pages to sentence pairs: blocks by structure first, then sentences inside a pair of blocks.

Flat over a page, Gale and Church's lengths alone lose their way where blocks are missing on one side (79 % of the
beads right with 5 % missing); tags hold the pages together, and lengths decide among equal tags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import galechurch
import numpy as np
from icu4py.breakers import SentenceBreaker
from numpy.typing import NDArray

from connectors.crawl.blocks import Block
from connectors.crawl.languages import is_surely

# Gale and Church (1993): target characters for a source character, and the variance of that for one character.
# Text of the web varies more than their parliament's: 6.8 is theirs, and short blocks need an error of their own.
VARIANCE = 6.8
SHORT = 20.0
# Costs are in units of -log probability.
GAP = 4.0  # a block without partner: about 1 in 50
OTHER_PLACE = 2.0  # the same innermost tag in other tags
OTHER_TAG = 7.0
SAME_TEXT = -3.0  # a name, a number, a command left as it was
SAME_LINKS = -3.0
OTHER_LINKS = (
    6.0  # an index is sorted anew in each language: equal tags, alike lengths, and other pages meant
)
_TAIL = 16.0  # lengths that fit worse are all equally hopeless
LONGEST_SENTENCE = 2_000
_NO_LETTER = re.compile(r"[\W\d_]+")


class AlignedPair(NamedTuple):
    """Two sentences that say the same.

    Attributes:
        source, target: the texts.
        block: numbers of the blocks on the two pages, from 0.
        sentence: numbers of the first sentences in their blocks, from 0.
        score: how usual the ratio of the two lengths is among translations, in (0, 1].
    """

    source: str
    target: str
    block: tuple[int, int]
    sentence: tuple[int, int]
    score: float


def align(
    source: Sequence[Block],
    target: Sequence[Block],
    languages: tuple[str, str],
    *,
    least: float = 0.005,
    mixed: bool = False,
) -> list[AlignedPair]:
    """Sentence pairs of two pages that translate one another.

    Sentences that are the same on both sides but for digits and punctuation, have no letter, or are longer than
    `LONGEST_SENTENCE` characters are no pairs; nor are beads of two sentences with two, or with none.

    Args:
        source: blocks of the one page.
        target: blocks of the other.
        languages: their codes.
        least: smallest score of a pair.
        mixed: a page holds much text of another language: pairs of which both sides are in the first language, and so
            untranslated, are left out.
    """
    pairs: list[AlignedPair] = []
    for i, j in align_blocks(source, target):
        if source[i].text == target[j].text:
            continue
        pairs.extend(
            AlignedPair(one, other, (i, j), place, score)
            for one, other, place in _align_sentences(source[i].text, target[j].text, languages)
            if _is_pair(one, other)
            and not (mixed and is_surely(other, languages[0]) and is_surely(one, languages[0]))
            and (score := length_score(len(one), len(other))) >= least
        )
    return pairs


def align_blocks(source: Sequence[Block], target: Sequence[Block]) -> list[tuple[int, int]]:
    """Pairs of blocks, in order, at the least sum of costs: dynamic programming over both sequences, a row at a time."""
    n, m = len(source), len(target)
    if not n or not m:
        return []
    match = _costs(source, target)
    steps = np.empty((n + 1, m + 1), dtype=np.int8)  # 0 both, 1 source alone, 2 target alone
    across = GAP * np.arange(m + 1)
    row = across.copy()
    steps[0], steps[:, 0] = 2, 1
    for i in range(1, n + 1):
        up = row + GAP
        both = np.concatenate(([np.inf], row[:-1] + match[i - 1]))
        best = np.minimum(up, both)
        row = np.minimum.accumulate(best - across) + across
        steps[i] = np.where(row < best - 1e-9, 2, np.where(up < both, 1, 0))
    steps[0, 0] = 0
    path = []
    i, j = n, m
    while i and j:
        step = int(steps[i, j])
        if step == 0:
            path.append((i - 1, j - 1))
        i -= step != 2
        j -= step != 1
    path.reverse()
    return path


def _costs(source: Sequence[Block], target: Sequence[Block]) -> NDArray[np.float64]:
    places: dict[str, int] = {}
    tags: dict[str, int] = {}
    texts: dict[str, int] = {}
    links: dict[tuple[str, ...], int] = {(): 0}
    codes = [
        np.array(
            [
                (
                    places.setdefault(block.path, len(places)),
                    tags.setdefault(block.path.rpartition("/")[2], len(tags)),
                    texts.setdefault(block.text, len(texts)),
                    len(block.text),
                    links.setdefault(block.links, len(links)),
                )
                for block in blocks
            ],
            dtype=np.int32,
        )
        for blocks in (source, target)
    ]
    one, other = (side[:, None] if k == 0 else side[None, :] for k, side in enumerate(codes))
    lengths = one[..., 3].astype(np.float64), other[..., 3].astype(np.float64)
    difference = (lengths[1] - lengths[0]) ** 2
    costs = np.minimum(difference / (VARIANCE * (lengths[0] + lengths[1] + SHORT)), _TAIL)
    costs += np.where(
        one[..., 1] != other[..., 1], OTHER_TAG, np.where(one[..., 0] != other[..., 0], OTHER_PLACE, 0)
    )
    costs[one[..., 2] == other[..., 2]] += SAME_TEXT
    linked = (one[..., 4] > 0) & (other[..., 4] > 0)
    costs += np.where(linked, np.where(one[..., 4] == other[..., 4], SAME_LINKS, OTHER_LINKS), 0)
    return costs


def length_score(source: int, target: int) -> float:
    """How usual two lengths (characters) are for translations: the two-sided tail of Gale and Church's delta."""
    deviation = abs(target - source) / math.sqrt(VARIANCE * (source + target + SHORT) / 2)
    return math.erfc(deviation / math.sqrt(2))


def _align_sentences(
    source: str, target: str, languages: tuple[str, str]
) -> list[tuple[str, str, tuple[int, int]]]:
    one, other = _sentences(source, languages[0]), _sentences(target, languages[1])
    if len(one) == 1 and len(other) == 1:
        return [(source, target, (0, 0))]
    beads = galechurch.align(one, other).beads
    pairs = []
    for bead in beads:
        left, right = one[bead.source_start : bead.source_end], other[bead.target_start : bead.target_end]
        if left and right and len(left) + len(right) < 4:
            pairs.append((" ".join(left), " ".join(right), (bead.source_start, bead.target_start)))
    return pairs


def _sentences(text: str, language: str) -> list[str]:
    return [stripped for sentence in SentenceBreaker(text, language) if (stripped := sentence.strip())]


def _is_pair(source: str, target: str) -> bool:
    """Whether both sides say something, and not the same thing but for digits, quotes and spaces."""
    if max(len(source), len(target)) > LONGEST_SENTENCE:
        return False
    one, other = _NO_LETTER.sub("", source).casefold(), _NO_LETTER.sub("", target).casefold()
    return bool(one and other) and one != other
