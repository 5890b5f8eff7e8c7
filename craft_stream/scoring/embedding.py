"""How the engine sees an encoder: embeddings of chosen texts, and the nearest centroid of every text."""

from __future__ import annotations

from typing import Literal, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import Tokens

Side = Literal["source", "target"]
# Cluster of a pair whose embedding was not asked for.
NO_CLUSTER = -1


class EmbeddingError(Exception):
    """The encoder failed on a text."""


class Embedder(Protocol):
    """Embeds texts that are already tokenised.

    Attributes:
        dimensions: D.
        digest: names the encoder and its weights; a Model made with another is refused.
        expensive: a text costs milliseconds, so only what its words have not decided is embedded (`selection.rule`).
    """

    dimensions: int
    digest: str
    expensive: bool

    def embed(
        self,
        texts: TextBatch,
        tokens: Tokens,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        side: Side = "source",
    ) -> NDArray[np.float32]:
        """Unit embeddings of texts `rows` of one side of pairs, float32 [rows, D].

        A row depends on its own text alone, to the bit, whatever is embedded beside it. `weights` are stem weights, which
        an encoder may ignore.
        """

    def embed_pairs(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        weights: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `embed` gives of both sides of the pairs at `rows`; `weights` of the stems of each."""

    def nearest(
        self, texts: TextBatch, tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
    ) -> NDArray[np.int16]:
        """Index of the nearest column of `centroids` [D, K] for every text, int16 [texts]."""


def in_turn(
    embedder: Embedder,
    pairs: TokenizedPairs,
    rows: NDArray[np.int64],
    weights: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`Embedder.embed_pairs` of one that has nothing to gain from both sides at once."""
    batch = pairs.batch
    x = embedder.embed(batch.source, pairs.source, rows, weights[0])
    return x, embedder.embed(batch.target, pairs.target, rows, weights[1], "target")


@numba.njit(cache=True, nogil=True)
def _nearest(x: NDArray[np.float32], centroids: NDArray[np.float32], out: NDArray[np.int16]) -> None:
    clusters = centroids.shape[1]
    products = np.empty(clusters, np.float32)
    for i in range(len(x)):
        products[:] = 0
        for d in range(x.shape[1]):
            v = x[i, d]
            row = centroids[d]
            for k in range(clusters):
                products[k] += v * row[k]
        best = 0
        for k in range(1, clusters):
            if products[k] > products[best]:
                best = k
        out[i] = best


def nearest(x: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int16]:
    """Index of the nearest column of centroids [D, K] for each row of x [n, D], int16 [n].

    Not by matrix product, whose sums, and so whose ties, move with the shape of the batch.
    """
    out = np.empty(len(x), np.int16)
    _nearest(x, centroids, out)
    return out
