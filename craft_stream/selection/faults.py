"""Which fault a pair shows that is too unlikely to be clean: a reason that a person can act on.

P(clean) decides that the pair is rejected; `faults` only names the reason, by the features that stand out most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.quality import FEATURES
from craft_stream.selection.decisions import Reason

_MOJIBAKE = FEATURES.index("mojibake")
_COPIED = FEATURES.index("copied_target")
_UNKNOWN = FEATURES.index("unknown")
_CHARACTERS = FEATURES.index("target_characters")

# Shares of the pair's words; log-odds of 4-grams against uniform ones. Chosen on the labels of the en-fr development stream.
_MOST_COPIED = 0.8
_MOST_UNKNOWN = 0.4
_LEAST_FAMILIAR = 1.5


def fitness(features: NDArray[np.float32], quality: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """What is left of log P(clean) above its floor, float32 [n]; minus infinity for text that is double-encoded.

    Args:
        features: float32 [n, 24 or more], those of the text first.
        quality: float32 [n], log P(clean).
        floor: of it.
    """
    return np.where(features[:, _MOJIBAKE] > 0, np.float32(-np.inf), quality - np.float32(floor))


def all_faults(
    features: NDArray[np.float32], quality: NDArray[np.float32], floor: float, foreign: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """What makes each pair no good translation, whether or not the rule comes to ask; `Reason.ACCEPTED`: nothing; uint8 [n].

    Args:
        features: float32 [n, 24 or more], those of the text first.
        quality: float32 [n], log P(clean).
        floor: of it.
        foreign: bool [n], those of another language.
    """
    fit = fitness(features, quality, floor) >= 0
    found = np.where(fit, np.uint8(Reason.ACCEPTED), faults(features))
    return np.where(foreign, np.uint8(Reason.OTHER_LANGUAGE), found)


def faults(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Reason of each row of features [n, 24 or more]: copy, garbled, unfamiliar_text, else misaligned; uint8 [n]."""
    reasons = np.full(len(features), Reason.MISALIGNED, np.uint8)
    unfamiliar = (features[:, _UNKNOWN] > _MOST_UNKNOWN) | (features[:, _CHARACTERS] < _LEAST_FAMILIAR)
    reasons[unfamiliar] = Reason.UNFAMILIAR_TEXT
    reasons[features[:, _MOJIBAKE] > 0] = Reason.GARBLED
    reasons[features[:, _COPIED] > _MOST_COPIED] = Reason.COPY
    return reasons
