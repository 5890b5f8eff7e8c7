"""Any encoder with `encode`, as the engine wants it: sentence-transformers and packages of others.

A decision must not depend on how the log was cut into batches, and a neural encoder's last bits change with the shape of its
batch: with MiniLM, two in five sentences differ by 1e-7 when others stand beside them, since all are padded to the longest.
So texts are given to `encode` one at a time, or in shapes that depend on the text alone where the encoder sees to that
itself. The embeddings used last are kept: a text is asked for more than once, to be learned from, to calibrate one version
after the other and to be judged.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError
from craft_stream.scoring.embedding import Side, nearest
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokens import Tokens

# 50 MB at 384 dimensions: the reservoir, its corruptions and a Model's calibration fit in.
_KEPT = 32_768
# The lock is held for so many texts at a time: a learner's thousands do not hold up a decision.
_TURN = 64


class Encoder(Protocol):
    """What sentence-transformers models are, and what an entry point must give.

    It may have three attributes more, which are taken as these where they are missing: `expensive` = True (texts cost
    milliseconds: embed only what must be), `batched` = False (True: `encode` may be given many texts at once, since a row
    does not depend on the others to the bit), `digest` = "" (names the weights, where the package's version does not).
    """

    def encode(self, inputs: Sequence[str], batch_size: int = ..., normalize_embeddings: bool = ...) -> Any:
        """Embeddings of texts, an array [texts, D], of unit length when normalised."""


class DenseEncoder:
    """Wraps encoders that turn texts into dense vectors.

    Args:
        source: of the source sides.
        digest: names the encoder and its weights.
        target: of the target sides; None: the same.

    Attributes:
        dimensions: D, as found by encoding one text.
        digest: as given.
        expensive: see `scoring.embedding.Embedder`.
        encoded: texts that `encode` was given.

    Raises:
        ConfigurationError: the sides' encoders give vectors of different lengths, or none that are finite.
    """

    def __init__(self, source: Encoder, digest: str, target: Encoder | None = None) -> None:
        self.digest = digest
        self.encoded = 0
        self._sides: dict[Side, Encoder] = {"source": source, "target": target or source}
        self._separate = target is not None
        self.expensive = any(getattr(encoder, "expensive", True) for encoder in self._sides.values())
        self._known: OrderedDict[tuple[bool, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self.dimensions = len(self._encode(["a"], "source")[0])
        if self._separate and (found := len(self._encode(["a"], "target")[0])) != self.dimensions:
            raise ConfigurationError(
                f"the encoders of the two sides give {self.dimensions} and {found} dimensions: they must be equal, "
                "truncate_dim can make them so"
            )

    def embed(
        self,
        texts: TextBatch,
        tokens: Tokens,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        side: Side = "source",
    ) -> NDArray[np.float32]:
        """See `scoring.embedding.Embedder`; tokens and their weights are not looked at."""
        found = np.zeros((len(rows), self.dimensions), np.float32)
        for start in range(0, len(rows), _TURN):
            turn = [texts.text(int(row)) for row in rows[start : start + _TURN]]
            with self._lock:
                found[start : start + len(turn)] = self._look_up(turn, side)
        return found

    def nearest(
        self, texts: TextBatch, tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
    ) -> NDArray[np.int16]:
        """See `scoring.embedding.Embedder`."""
        return nearest(self.embed(texts, tokens, np.arange(len(texts)), weights), centroids)

    def _look_up(self, texts: list[str], side: Side) -> NDArray[np.float32]:
        apart = self._separate and side == "target"
        fresh = [text for text in dict.fromkeys(texts) if (apart, text) not in self._known]
        for text, vector in zip(fresh, self._encode(fresh, side), strict=True):
            self._known[apart, text] = vector
        for text in texts:
            self._known.move_to_end((apart, text))
        found = np.stack([self._known[apart, text] for text in texts])
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    def _encode(self, texts: list[str], side: Side) -> list[NDArray[np.float32]]:
        encoder = self._sides[side]
        together = getattr(encoder, "batched", False)
        self.encoded += len(texts)
        if together and texts:
            return list(self._checked(encoder.encode(texts, batch_size=_TURN, normalize_embeddings=True)))
        return [
            self._checked(encoder.encode([text], batch_size=1, normalize_embeddings=True))[0]
            for text in texts
        ]

    def _checked(self, vectors: Any) -> NDArray[np.float32]:
        array = np.asarray(vectors, np.float32)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ConfigurationError(
                f"the encoder {self.digest} gave an array of shape {array.shape} or values that are not finite"
            )
        return array
