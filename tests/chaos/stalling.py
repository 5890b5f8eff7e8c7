"""An encoder that stops for a while when it finds a file: for test_encoder, which installs it as an entry point."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 32


class Stalling:
    """Vectors from a hash of the text's words; sleeps `seconds` once for each time that `trigger` is put there."""

    def __init__(self, trigger: str, seconds: float) -> None:
        self._trigger, self._seconds = Path(trigger), seconds

    def encode(
        self, inputs: Sequence[str], batch_size: int = 64, normalize_embeddings: bool = True
    ) -> NDArray[np.float32]:
        """See `craft_stream.encoders.dense.Encoder`."""
        if self._trigger.exists():
            self._trigger.unlink()
            time.sleep(self._seconds)
        vectors = np.zeros((len(inputs), DIMENSIONS), np.float32)
        for row, text in enumerate(inputs):
            for word in text.split():
                vectors[row, sum(word.encode()) % DIMENSIONS] += 1
            vectors[row, 0] += 0.1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
