"""Profiles of texts: what three bytes come how often, which tells languages from one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch

_BUCKETS = 1 << 16


def profile(texts: TextBatch) -> NDArray[np.float64]:
    """Roots of the frequencies of each three bytes, in hashed buckets, float64 [2^16] of length 1; a product is a cosine."""
    text = texts.buffer[texts.offsets[0] : texts.offsets[-1]].astype(np.int64)
    hashed = ((text[:-2] * 65_599 + text[1:-1]) * 65_599 + text[2:]) & (_BUCKETS - 1)
    roots = np.sqrt(np.bincount(hashed, minlength=_BUCKETS).astype(np.float64))
    return np.asarray(roots / max(float(np.linalg.norm(roots)), 1.0))
