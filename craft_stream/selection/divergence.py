"""How far what was accepted is from the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def divergence(target: NDArray[np.float64], accepted: NDArray[np.float64]) -> float:
    """KL(target || accepted) over the clusters, in nats, 0 or more.

    Half a pair is added to each cluster (the prior of Krichevsky and Trofimov), so that a cluster without pairs counts for
    what is known of it: little among a hundred accepted pairs, much among a million. A constant added to shares made it
    infinite in all but name after the first pairs.

    Args:
        target: shares, float64 [K].
        accepted: pairs, float64 [K].
    """
    p = target / target.sum()
    q = (accepted + 0.5) / (accepted + 0.5).sum()
    held = p > 0
    return max(float(np.sum(p[held] * np.log(p[held] / q[held]))), 0.0)
