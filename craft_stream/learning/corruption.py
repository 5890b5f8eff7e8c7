"""Pairs that are no translations, made from pairs that are: what P(clean) learns to tell apart, without any label.

Each kind is a fault that crawls have: misaligned (another pair's target side; one of like length; one that shares words
with the source), cut on either side, a copy, the wrong language (another source; a letter cipher, which is a language
that nobody knows; another script), mojibake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

_CYRILLIC = {c: chr(0x430 + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
# A cut is a fault when it takes at least a fifth of the text.
_LARGEST_REST = 0.8
_NEIGHBOURS = 16
_CONTENT_LETTERS = 4


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Corrupted pairs.

    Attributes:
        sources, targets: their texts.
        parents: index of the pair that each was made from.
    """

    sources: list[str]
    targets: list[str]
    parents: list[int]


def cipher(text: str, rng: Generator) -> str:
    """Permute most of the letters that occur: words of no language, with this text's lengths and marks."""
    letters = sorted({c for c in text.lower() if c.isalpha()})
    if len(letters) < 3:
        return text[::-1]
    order = rng.permutation(len(letters))
    kept = rng.random() * 0.6
    table = {c: (c if rng.random() < kept else letters[order[i]]) for i, c in enumerate(letters)}
    return "".join(table.get(c, c) for c in text.lower())


def other_script(text: str) -> str:
    """Latin letters as Cyrillic ones."""
    return "".join(_CYRILLIC.get(c, c) for c in text.lower())


def mojibake(text: str) -> str:
    """UTF-8 read as Windows-1252."""
    return text.encode().decode("cp1252", "replace")


def cut(text: str, rng: Generator) -> str:
    """A head, a tail or the middle left out: 20 to 75 % of the words stay."""
    words = text.split(" ")
    kept = max(1, int(len(words) * rng.uniform(0.2, 0.75)))
    return " ".join(words[:kept] if rng.random() < 0.7 else words[-kept:])


def swap_words(text: str, vocabulary: Sequence[str], rng: Generator) -> str:
    """Every fourth content word, at least one, replaced by a word of another pair."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= _CONTENT_LETTERS]
    if not places or not vocabulary:
        return text
    for i in rng.choice(places, max(1, len(places) // 4), replace=False):
        words[i] = vocabulary[int(rng.integers(len(vocabulary)))]
    return " ".join(words)


def _lookalike(index: int, words: Sequence[frozenset[str]], sources: Sequence[str], rng: Generator) -> int:
    """Of 16 random pairs the one whose source shares most words with this pair's and has about its length."""
    own, best, best_score = words[index], -1, -np.inf
    for other in rng.integers(0, len(words), _NEIGHBOURS):
        if sources[other] == sources[index]:
            continue
        union = len(own | words[other]) or 1
        ratio = np.log((len(sources[other]) + 1) / (len(sources[index]) + 1))
        score = len(own & words[other]) / union - 0.3 * abs(float(ratio))
        if score > best_score:
            best, best_score = int(other), score
    return best


def corrupt(sources: Sequence[str], targets: Sequence[str], rng: Generator) -> Corrupted:
    """Corruptions of every pair, of every kind that applies to it: 6 to 9 a pair; none that equals a pair given."""
    n = len(sources)
    shuffled = rng.permutation(n)
    by_length = np.argsort([len(text) for text in targets], kind="stable")
    neighbour = np.empty(n, np.int64)
    neighbour[by_length] = np.roll(by_length, int(rng.integers(1, 5)))
    words = [frozenset(text.lower().split()) for text in sources]
    out = Corrupted([], [], [])
    vocabulary = [word for text in targets for word in text.split(" ") if len(word) >= _CONTENT_LETTERS]
    clean = set(zip(sources, targets, strict=True))

    def add(source: str, target: str, parent: int) -> None:
        if (source, target) not in clean and source and target:
            out.sources.append(source)
            out.targets.append(target)
            out.parents.append(parent)

    scramble: tuple[Callable[[str], str], ...] = (lambda text: cipher(text, rng), other_script)
    for i in range(n):
        source, target = sources[i], targets[i]
        add(source, targets[shuffled[i]], i)
        add(source, targets[neighbour[i]], i)
        alike = _lookalike(i, words, sources, rng)
        if alike >= 0:
            add(source, targets[alike], i)
        shorter = cut(target, rng)
        if len(shorter) < _LARGEST_REST * len(target):
            add(source, shorter, i)
        shorter = cut(source, rng)
        if len(shorter) < _LARGEST_REST * len(source):
            add(shorter, target, i)
        add(source, swap_words(target, vocabulary, rng), i)
        add(source, source, i)
        add(source, sources[shuffled[i]], i)
        add(source, scramble[i % 2](target), i)
        add(source, mojibake(target), i)
    return out
