"""Whether an encoder knows both languages: whether the sides of the target's pairs are nearer to one another than to others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.likeness import LEAST_DISTANCE, Likeness, cosines
from craft_stream.scoring.trees import BoostedTrees

# Pairs of the target that it takes to say.
_LEAST_PAIRS = 100
# Probability that a pair is nearer than texts that do not belong together. The Universal Sentence Encoder reaches .997 in
# languages that it knows; in nine that it does not names and numbers make .785 to .943.
_LEAST_APART = 0.97


def measure_likeness(
    source: NDArray[np.float32], target: NDArray[np.float32], trees: BoostedTrees
) -> Likeness | None:
    """The scale of cosines by the target's pairs; None where the encoder does not know both languages.

    Args:
        source, target: unit vectors of both sides of the target's pairs, float32 [n, D].
        trees: see `Likeness`.
    """
    count = len(source)
    if count < _LEAST_PAIRS:
        return None
    related, unrelated = cosines(source, target), cosines(source, np.roll(target, count // 2, axis=0))
    below = np.searchsorted(np.sort(unrelated), related)
    if below.mean() < _LEAST_APART * count:
        return None
    found = Likeness(float(related.mean()), float(unrelated.mean()), trees)
    return found if found.related > found.unrelated + LEAST_DISTANCE else None
