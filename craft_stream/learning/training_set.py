"""What P(clean) is fitted on: pairs of the target's sample, and corruptions of a part of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.learning.corruption import corrupt
from craft_stream.learning.reservoir import Sample
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Pairs that are clean, and those of them that are corrupted, each in up to 15 ways: more cost time and change no figure. An
# expensive encoder is spared most.
_PAIRS = (1500, 500)
_EXPENSIVE_PAIRS = (300, 180)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Clean and corrupted pairs.

    Attributes:
        sample: pairs that are translations: the target's, or those of the stream that stand in for texts of one side.
        described: pairs of the target, or its texts, which make clusters.
        target: the pairs of `sample`, all of them.
        clean: int64, rows of `target` that are shown as clean.
        corrupted: pairs that are no translations.
        parents: int64 [corrupted], the row of `target` that each was made from.
    """

    sample: Sample
    described: Sample
    target: TokenizedPairs
    clean: NDArray[np.int64]
    corrupted: TokenizedPairs
    parents: NDArray[np.int64]

    @classmethod
    def of(cls, sample: Sample, described: Sample, seed: int, expensive: bool) -> TrainingSet:
        """Choose and corrupt; the same set for the same samples and seed."""
        rng = np.random.default_rng(seed)
        clean, spoilt = _EXPENSIVE_PAIRS if expensive else _PAIRS
        order = rng.permutation(len(sample))
        chosen, parents = np.sort(order[:clean]), np.sort(order[:spoilt])
        pairs = [sample.pairs[i] for i in parents]
        made = corrupt([pair.source for pair in pairs], [pair.target for pair in pairs], rng)
        corrupted = TokenizedPairs.of(PairBatch.pack(made.sources, made.targets))
        return cls(
            sample,
            described,
            TokenizedPairs.of(sample.batch),
            chosen,
            corrupted,
            parents[np.array(made.parents, np.int64)],
        )
