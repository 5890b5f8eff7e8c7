"""Any encoder with `encode`, as the engine wants it: sentence-transformers and packages of others.

Texts are encoded in batches of one fixed size, the last one filled up with empty texts, because a neural encoder's last bits
change with the shape of its batch. The newest embeddings are kept, as the same text is asked for more than once: to find its
cluster, and again for its features when it passes the gate.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError
from craft_stream.scoring.embedding import nearest
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokens import Tokens

_KEPT = 16_384


class Encoder(Protocol):
    """What sentence-transformers models are, and what an entry point must give."""

    def encode(self, inputs: Sequence[str], batch_size: int = ..., normalize_embeddings: bool = ...) -> Any:
        """Embeddings of texts, an array [texts, D], of unit length when normalised."""


class DenseEncoder:
    """Wraps an encoder that turns texts into dense vectors.

    Attributes:
        dimensions: D, as found by encoding one text.
        digest: names the encoder and its weights.
    """

    def __init__(self, encoder: Encoder, digest: str, batch_size: int = 64) -> None:
        self.digest = digest
        self._encoder = encoder
        self._batch_size = batch_size
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self.dimensions = len(self._encode(["a"])[0])

    def embed(
        self, texts: TextBatch, tokens: Tokens, rows: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `scoring.embedding.Embedder`; tokens and their weights are not looked at."""
        wanted = [texts.text(int(row)) for row in rows]
        fresh = list(dict.fromkeys(text for text in wanted if text not in self._known))
        for text, vector in zip(fresh, self._encode(fresh), strict=True):
            self._known[text] = vector
        found = [self._known[text] for text in wanted]
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return np.stack(found) if found else np.zeros((0, self.dimensions), np.float32)

    def nearest(
        self, texts: TextBatch, tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
    ) -> NDArray[np.int16]:
        """See `scoring.embedding.Embedder`."""
        return nearest(self.embed(texts, tokens, np.arange(len(texts)), weights), centroids)

    def _encode(self, texts: list[str]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), self._batch_size):
            part = texts[start : start + self._batch_size]
            padded = part + [""] * (self._batch_size - len(part))
            vectors = self._encoder.encode(padded, batch_size=self._batch_size, normalize_embeddings=True)
            array = np.asarray(vectors, np.float32)
            if array.ndim != 2 or not np.isfinite(array).all():
                raise ConfigurationError(
                    f"the encoder {self.digest} gave an array of shape {array.shape} or values that are not finite"
                )
            found.extend(array[: len(part)])
        return found
