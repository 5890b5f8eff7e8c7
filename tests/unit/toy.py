"""A toy language pair: words of two domains, translated word by word; and streams of it with labelled noise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.scoring.model import Model
from craft_stream.text.batch import PairBatch

# A quarter less work than with 128 dimensions, where it is not the vectors that are tested.
SMALL = load_encoder("hashing", dimensions=32)
_SYLLABLES = ["ba", "ko", "ri", "tu", "me", "sa", "lo", "ni", "ve", "pa", "du", "ge"]


def _word(rng: random.Random, syllables: int) -> str:
    return "".join(rng.choices(_SYLLABLES, k=syllables))


class Toy:
    """Words of a domain and of everything else, with their translations; those of a seed are equal."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = random.Random(seed)
        self.common = [_word(rng, 2) for _ in range(60)]
        self.domain = [_word(rng, 4) for _ in range(80)]
        self.other = [_word(rng, 3) for _ in range(300)]
        self.translation = {w: w[::-1] + "x" for w in (*self.common, *self.domain, *self.other)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Toy) and other.seed == self.seed

    def __hash__(self) -> int:
        return hash(self.seed)

    def pair(self, rng: random.Random, in_domain: bool) -> tuple[str, str]:
        """A sentence of 5 to 12 words and its translation."""
        words = [
            rng.choice(self.common if rng.random() < 0.4 else self.domain if in_domain else self.other)
            for _ in range(rng.randint(5, 12))
        ]
        return " ".join(words) + ".", " ".join(self.translation[w] for w in words) + "."


@dataclass
class Stream:
    """A stream with its labels.

    Attributes:
        batch: the pairs; in_domain, clean: bool [n].
    """

    batch: PairBatch
    in_domain: np.ndarray
    clean: np.ndarray


@cache
def stream(toy: Toy, size: int, share: float = 0.1, noise: float = 0.2, seed: int = 1) -> Stream:
    """`size` pairs, `share` of them in the domain, `noise` of all misaligned or copied."""
    rng = random.Random(seed)
    in_domain = np.array([rng.random() < share for _ in range(size)])
    clean = np.array([rng.random() >= noise for _ in range(size)])
    pairs = [toy.pair(rng, bool(d)) for d in in_domain]
    for i in np.flatnonzero(~clean):
        source, _ = pairs[i]
        pairs[i] = (source, source if rng.random() < 0.3 else toy.pair(rng, bool(in_domain[i]))[1])
    in_domain.flags.writeable = clean.flags.writeable = False  # many tests have the same
    return Stream(PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs]), in_domain, clean)


def target(toy: Toy, size: int = 100, seed: int = 2) -> tuple[list[str], PairBatch]:
    """Identifiers and clean pairs of the domain."""
    return [f"t{i:05d}" for i in range(size)], _domain(toy, size, seed)


@cache
def _domain(toy: Toy, size: int, seed: int) -> PairBatch:
    rng = random.Random(seed)
    pairs = [toy.pair(rng, True) for _ in range(size)]
    return PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs])


@cache
def versions() -> tuple[Model, Model]:
    """Two versions that the default learner makes of the toy, the second after more of the stream; learned once a process."""
    toy, learner = Toy(), Learner(Parameters(), load_encoder())
    learner.observe_target(*target(toy))
    learner.observe(stream(toy, 3000, seed=5).batch)
    first = learner.publish()
    learner.observe(stream(toy, 3000, seed=6).batch)
    return first, learner.publish()
