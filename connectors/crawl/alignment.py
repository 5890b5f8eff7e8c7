"""Two pages to sentence pairs: blocks by structure first (`structure`), then sentences inside a pair of blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import galechurch
from icu4py.breakers import SentenceBreaker

from connectors.crawl.blocks import Block
from connectors.crawl.structure import SHORT, VARIANCE, align_blocks
from craft_stream.language_identification import is_surely

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
    least: float = 0.002,
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
        mixed: a page holds much text of another language: targets that are in the first language, and hold most of
            the source's words as they were, are untranslated and left out.
    """
    pairs: list[AlignedPair] = []
    for i, j in align_blocks(source, target):
        if source[i].text == target[j].text:
            continue
        pairs.extend(
            AlignedPair(one, other, (i, j), place, score)
            for one, other, place in _align_sentences(source[i].text, target[j].text, languages)
            if _is_pair(one, other)
            and not (mixed and _is_copied(one, other) and is_surely(other, languages[0]))
            and (score := length_score(len(one), len(other))) >= least
        )
    return pairs


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


def _is_copied(source: str, target: str) -> bool:
    """Whether the target holds half of the source's words, names and what is no word apart.

    Language alone cannot tell: sentences full of English names pass for English in any language.
    """
    words = [word for word in source.split() if word.isalpha() and word.islower()]
    there = set(target.split())
    return 2 * sum(word in there for word in words) >= len(words)


def _is_pair(source: str, target: str) -> bool:
    """Whether both sides say something, and not the same thing but for digits, quotes and spaces."""
    if max(len(source), len(target)) > LONGEST_SENTENCE:
        return False
    one, other = _NO_LETTER.sub("", source).casefold(), _NO_LETTER.sub("", target).casefold()
    return bool(one and other) and one != other
