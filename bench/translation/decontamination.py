"""Keeps a test set's sentences out of what is trained on.

A pair is contaminated if one of its sides says the same as a side of a test pair in that language, or shares thirteen
consecutive words with one. Texts are compared by their words alone: NFKC, case folded, without punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

SHARED = 13
_WORD = re.compile(r"\w+")


def words(text: str) -> tuple[str, ...]:
    """The words by which texts are compared."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class TestTexts:
    """All sides of all test sets."""

    __test__ = False  # no test case, whatever its name begins with

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        sides: tuple[list[str], list[str]] = ([], [])
        for pair in pairs:
            for side, text in zip(sides, pair, strict=True):
                side.append(text)
        said = [[found for found in map(words, side) if found] for side in sides]
        self._whole = [set(side) for side in said]
        self._runs = [{run for text in side for run in _runs(text)} for side in said]

    def contaminate(self, source: str, target: str) -> bool:
        """Whether training on this pair would show a test sentence."""
        for text, whole, runs in zip((source, target), self._whole, self._runs, strict=True):
            found = words(text)
            if found in whole or any(run in runs for run in _runs(found)):
                return True
        return False


def _runs(found: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (found[start : start + SHARED] for start in range(len(found) - SHARED + 1))
