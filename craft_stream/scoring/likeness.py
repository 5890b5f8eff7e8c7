"""What the likeness of a pair's sides in one space of meaning adds to what people's judgement says of its words.

A multilingual encoder puts a text and its translation near one another. The cosine of both sides is one more feature of
boosted trees that people's labels have taught (`scoring.trees`), never a rule: a copy has the cosine 1. The trees know it
on a scale that is the same with every encoder and language: 1/2 is the mean of the target's pairs, -1/2 that of texts which do
not belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.trees import BoostedTrees

# Of the two means: where all texts lie close together cosines tell nothing.
LEAST_DISTANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of an encoder that knows both languages.

    Attributes:
        related: mean cosine of the sides of the target's pairs.
        unrelated: of sides of different pairs.
        trees: log-odds of a translation, of `scoring.translation.JUDGED_FEATURES` and then the scaled cosine.
    """

    related: float
    unrelated: float
    trees: BoostedTrees

    def scaled(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled cosines of rows of unit vectors, float32 [n]."""
        middle, distance = (self.related + self.unrelated) / 2, self.related - self.unrelated
        return ((cosines(source, target) - np.float32(middle)) / np.float32(distance)).astype(np.float32)

    def gain(
        self,
        judged: NDArray[np.float32],
        without: NDArray[np.float32],
        source: NDArray[np.float32],
        target: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Log-odds less those of the words alone, float32 [n].

        Args:
            judged: `JUDGED_FEATURES` of the pairs, float32 [n, 32].
            without: log-odds that follow from these alone, float32 [n].
            source, target: unit vectors of the sides, float32 [n, D].
        """
        values = np.concatenate([judged, self.scaled(source, target)[:, None]], axis=1)
        return self.trees.score(values) - without


def cosines(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each row of unit vectors with its like, float32 [n]."""
    found: NDArray[np.float32] = (source * target).sum(axis=1)
    return found
