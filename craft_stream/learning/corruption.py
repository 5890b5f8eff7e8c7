"""Pairs that are no translations, made from pairs that are: what P(clean) learns to tell apart, without any label.

Each kind of `KINDS` is a fault that crawls have. Gross ones: another pair's target side, cuts, copies of either side, both
sides in one language, a language that is neither (a letter cipher, which is one that nobody knows; another script), mojibake.
Near misses: the next pair's target side, one of like length, one that shares words with the source, another number, words out
of order. Which kinds are worth it was measured on people's labels (ADR 38).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_CYRILLIC = str.maketrans({c: chr(0x430 + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")})
# A cut is a fault when it takes at least a fifth of the text.
_LARGEST_REST = 0.8
_NEIGHBOURS = 16
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Corrupted pairs.

    Attributes:
        sources, targets: their texts.
        parents: index of the pair that each was made from.
        kinds: of `KINDS`, which each is.
    """

    sources: list[str]
    targets: list[str]
    parents: list[int]
    kinds: list[str]


def cipher(text: str, rng: Generator) -> str:
    """Permute most of the letters that occur: words of no language, with this text's lengths and marks."""
    small = text.lower()
    letters = sorted(filter(str.isalpha, set(small)))
    if len(letters) < 3:
        return text[::-1]
    order = rng.permutation(len(letters))
    kept = rng.random() * 0.6
    table = {c: (c if rng.random() < kept else letters[order[i]]) for i, c in enumerate(letters)}
    return small.translate(str.maketrans(table))


def other_script(text: str) -> str:
    """Latin letters as Cyrillic ones."""
    return text.lower().translate(_CYRILLIC)


def mojibake(text: str) -> str:
    """UTF-8 read as Windows-1252."""
    return text.encode().decode("cp1252", "replace")


def cut(text: str, rng: Generator) -> str:
    """A head, a tail or the middle left out: 20 to 75 % of the words stay."""
    words = text.split(" ")
    kept = max(1, int(len(words) * rng.uniform(0.2, 0.75)))
    return " ".join(words[:kept] if rng.random() < 0.7 else words[-kept:])


def change_number(text: str, rng: Generator) -> str:
    """One of the numbers replaced by another of as many digits; the same text where it has none."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    one = found[int(rng.integers(len(found)))]
    digits = "".join(str((int(digit) + int(rng.integers(1, 10))) % 10) for digit in one.group())
    return text[: one.start()] + digits + text[one.end() :]


def salad(text: str, rng: Generator) -> str:
    """The words in another order, one in six twice."""
    words = text.split(" ")
    words += [word for word in words if rng.random() < 1 / 6]
    return " ".join(words[i] for i in rng.permutation(len(words)))


@dataclass(frozen=True)
class _Material:
    """Clean pairs to spoil.

    Attributes:
        sources, targets: their texts.
        rng: of all that is drawn.
        other: int64 [n], of each another pair, at random.
        neighbour: int64 [n], one whose target side is about as long.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    rng: Generator
    other: NDArray[np.int64]
    neighbour: NDArray[np.int64]

    @classmethod
    def of(cls, sources: Sequence[str], targets: Sequence[str], rng: Generator) -> _Material:
        by_length = np.argsort([len(text) for text in targets], kind="stable")
        cycle = rng.permutation(len(sources))
        other, neighbour = np.empty(len(sources), np.int64), np.empty(len(sources), np.int64)
        other[cycle] = np.roll(cycle, 1)
        neighbour[by_length] = np.roll(by_length, int(rng.integers(1, 5)))
        return cls(sources, targets, rng, other, neighbour)

    @cached_property
    def words(self) -> list[frozenset[str]]:
        return [frozenset(text.lower().split()) for text in self.sources]

    def lookalike(self, i: int) -> str:
        """The target side of the pair, of 16 at random, whose source shares most words with this one's at about its length."""
        own, source = self.words[i], self.sources[i]
        best, best_score = "", -np.inf
        for other in self.rng.integers(0, len(self.sources), _NEIGHBOURS):
            if self.sources[other] == source:
                continue
            union = len(own | self.words[other]) or 1
            ratio = np.log((len(self.sources[other]) + 1) / (len(source) + 1))
            score = len(own & self.words[other]) / union - 0.3 * abs(float(ratio))
            if score > best_score:
                best, best_score = self.targets[other], score
        return best


def _shorter(text: str, rng: Generator) -> str:
    found = cut(text, rng)
    return found if len(found) < _LARGEST_REST * len(text) else ""


Kind = Callable[[_Material, int], tuple[str, str]]
# What is made of pair i of some material; an empty side, or a pair that is clean, is nothing.
KINDS: dict[str, Kind] = {
    "random": lambda m, i: (m.sources[i], m.targets[m.other[i]]),
    "next": lambda m, i: (m.sources[i], m.targets[(i + 1) % len(m.targets)]),
    "length": lambda m, i: (m.sources[i], m.targets[m.neighbour[i]]),
    "lookalike": lambda m, i: (m.sources[i], m.lookalike(i)),
    "cut": lambda m, i: (m.sources[i], _shorter(m.targets[i], m.rng)),
    "cut_source": lambda m, i: (_shorter(m.sources[i], m.rng), m.targets[i]),
    "number": lambda m, i: (m.sources[i], change_number(m.targets[i], m.rng)),
    "salad": lambda m, i: (m.sources[i], salad(m.targets[i], m.rng)),
    "copy": lambda m, i: (m.sources[i], m.sources[i]),
    "copy_target": lambda m, i: (m.targets[i], m.targets[i]),
    "one_language": lambda m, i: (m.sources[i], m.sources[m.other[i]]),
    "target_language": lambda m, i: (m.targets[m.other[i]], m.targets[i]),
    "cipher": lambda m, i: (m.sources[i], cipher(m.targets[i], m.rng)),
    "script": lambda m, i: (m.sources[i], other_script(m.targets[i])),
    "mojibake": lambda m, i: (m.sources[i], mojibake(m.targets[i])),
}


def corrupt(
    sources: Sequence[str], targets: Sequence[str], rng: Generator, kinds: Sequence[str] = tuple(KINDS)
) -> Corrupted:
    """Corruptions of every pair, one of every kind that applies to it; none that equals a pair given."""
    material, out = _Material.of(sources, targets, rng), Corrupted([], [], [], [])
    clean = set(zip(sources, targets, strict=True))
    for i in range(len(sources)):
        for kind in kinds:
            source, target = KINDS[kind](material, i)
            if source and target and (source, target) not in clean:
                out.sources.append(source)
                out.targets.append(target)
                out.parents.append(i)
                out.kinds.append(kind)
    return out
