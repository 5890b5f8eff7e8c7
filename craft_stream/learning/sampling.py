"""Which pairs of the stream are learned from: a share of the positions, by their hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.hashing import GOLDEN


def sampled(positions: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Rows of a share of the positions: the same ones whenever asked, a smaller share within a larger; int64."""
    hashed = (positions.astype(np.uint64) + np.uint64(1)) * GOLDEN
    return np.flatnonzero((hashed >> np.uint64(32)) < np.uint64(int(share * (1 << 32))))
