"""Which fault a pair shows that is too unlikely to be clean: a reason that a person can act on.

P(clean) decides that the pair is rejected; this only names the reason, by the features that stand out most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.quality import FEATURES
from craft_stream.selection.decisions import Reason

MOJIBAKE = FEATURES.index("mojibake")
_COPIED = FEATURES.index("copied_target")
_UNKNOWN = FEATURES.index("unknown")
_LANGUAGE = FEATURES.index("target_characters")
_WORST = FEATURES.index("worst_characters")
_COVERAGE = FEATURES.index("coverage")

# Shares of the pair's words; log-odds of 4-grams against uniform ones. Chosen on the labels of the en-fr development stream.
_MOST_COPIED = 0.8
_MOST_UNKNOWN = 0.4
_LEAST_FAMILIAR = 1.5


def faults(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Reason of each row of features [n, F]: copy, garbled, wrong_language, else misaligned; uint8 [n]."""
    reasons = np.full(len(features), Reason.MISALIGNED, np.uint8)
    foreign = (features[:, _UNKNOWN] > _MOST_UNKNOWN) | (features[:, _LANGUAGE] < _LEAST_FAMILIAR)
    reasons[foreign] = Reason.WRONG_LANGUAGE
    reasons[features[:, MOJIBAKE] > 0] = Reason.GARBLED
    reasons[features[:, _COPIED] > _MOST_COPIED] = Reason.COPY
    return reasons
