"""The hashing encoder: bags of hashed stems. No weights, no network, equal on every machine, 400,000 sentences a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import hashing_digest
from craft_stream.scoring.embedding import Side, in_turn
from craft_stream.text.bags import STEM_BITS, bags, nearest_bags
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import Tokens, tokenize


class HashingEncoder:
    """Embeds a text as the signed sum of its hashed stems.

    Attributes:
        dimensions: D.
        digest: see `parameters.hashing_digest`.
        expensive: False: a text costs 2 us.
    """

    expensive = False

    def __init__(self, dimensions: int = 128) -> None:
        self.dimensions = dimensions
        self.digest = hashing_digest(dimensions)
        self._equal_weights = np.ones(1 << STEM_BITS, np.float32)

    def encode(
        self, inputs: Sequence[str] | str, batch_size: int = 1024, normalize_embeddings: bool = True
    ) -> NDArray[np.float32]:
        """Embeddings, float32 [texts, D] ([D] for one text), as `SentenceTransformer.encode` gives them.

        Every stem weighs the same; in a Model stems are weighed by inverse document frequency.

        Args:
            inputs: texts, or one text.
            batch_size: texts packed at a time; has no influence on the result.
            normalize_embeddings: rows have unit length either way; False is refused, as there is nothing to leave out.
        """
        if not normalize_embeddings:
            raise ValueError(
                "the hashing encoder only gives unit vectors: leave normalize_embeddings at True"
            )
        if isinstance(inputs, str):
            return np.asarray(self.encode([inputs], batch_size)[0])
        out = np.zeros((len(inputs), self.dimensions), np.float32)
        for start in range(0, len(inputs), batch_size):
            texts = TextBatch.pack(inputs[start : start + batch_size])
            rows = np.arange(len(texts))
            out[start : start + len(texts)] = self.embed(texts, tokenize(texts), rows, self._equal_weights)
        return out

    def embed(
        self,
        texts: TextBatch,
        tokens: Tokens,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        side: Side = "source",
    ) -> NDArray[np.float32]:
        """See `scoring.embedding.Embedder`."""
        return bags(tokens, rows, weights, self.dimensions)

    def embed_pairs(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        weights: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `scoring.embedding.Embedder`."""
        return in_turn(self, pairs, rows, weights)

    def nearest(
        self, texts: TextBatch, tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
    ) -> NDArray[np.int16]:
        """See `scoring.embedding.Embedder`."""
        return nearest_bags(tokens, weights, centroids)
