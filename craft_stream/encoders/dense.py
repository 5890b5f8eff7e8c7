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
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, CraftError
from craft_stream.scoring.embedding import EmbeddingError, Side, in_turn, nearest
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import Tokens

# 50 MB at 384 dimensions: the reservoir, its corruptions and a Model's calibration fit in.
_KEPT = 32_768
# Encoded at a time: an encoder that serves one thread after the other does not let a learner's thousands hold up a decision.
# Of 64 the Universal Sentence Encoder fills its batches with 11.3 texts each, of 128 with 11.9, of 256 with 12.1.
_TURN = 128


class Encoder(Protocol):
    """What sentence-transformers models are, and what an entry point must give.

    It may have four attributes more, which are taken as these where they are missing: `expensive` = True (texts cost
    milliseconds: embed only what must be), `batched` = False (True: `encode` may be given many texts at once, since a row
    does not depend on the others to the bit), `concurrent` = False (True: threads may call `encode` at the same time, as the
    learner's and the selector's do), `digest` = "" (names the weights, where the package's version does not).
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
        concurrent = all(getattr(encoder, "concurrent", False) for encoder in self._sides.values())
        self._turn: AbstractContextManager[Any] = nullcontext() if concurrent else threading.Lock()
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
        return self._in_turns([texts.text(int(row)) for row in rows], side)

    def embed_pairs(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        weights: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `scoring.embedding.Embedder`; texts of both sides share batches where one encoder serves both."""
        if self._separate:
            return in_turn(self, pairs, rows, weights)
        batch = pairs.batch
        texts = [side.text(int(row)) for side in (batch.source, batch.target) for row in rows]
        both = self._in_turns(texts, "source")
        return both[: len(rows)], both[len(rows) :]

    def _in_turns(self, texts: list[str], side: Side) -> NDArray[np.float32]:
        found = np.zeros((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _TURN):
            turn = texts[start : start + _TURN]
            found[start : start + len(turn)] = self._look_up(turn, side)
        return found

    def nearest(
        self, texts: TextBatch, tokens: Tokens, weights: NDArray[np.float32], centroids: NDArray[np.float32]
    ) -> NDArray[np.int16]:
        """See `scoring.embedding.Embedder`."""
        return nearest(self.embed(texts, tokens, np.arange(len(texts)), weights), centroids)

    def _look_up(self, texts: list[str], side: Side) -> NDArray[np.float32]:
        apart = self._separate and side == "target"
        with self._lock:
            known = {text: self._known[apart, text] for text in texts if (apart, text) in self._known}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        with self._turn:
            known |= zip(fresh, self._encode(fresh, side), strict=True)
        with self._lock:
            for text in texts:
                self._known[apart, text] = known[text]
                self._known.move_to_end((apart, text))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return np.stack([known[text] for text in texts])

    def _encode(self, texts: list[str], side: Side) -> list[NDArray[np.float32]]:
        encoder = self._sides[side]
        together = getattr(encoder, "batched", False)
        with self._lock:
            self.encoded += len(texts)
        turns = [texts] if together and texts else [[text] for text in texts]
        found: list[NDArray[np.float32]] = []
        for turn in turns:
            try:
                vectors = encoder.encode(turn, batch_size=_TURN if together else 1, normalize_embeddings=True)
            except CraftError:  # the encoder, not a text, is wrong, and it says what to do
                raise
            except Exception as error:  # whatever it is, these texts cause it
                raise EmbeddingError(f"the encoder failed ({type(error).__name__}: {error})") from error
            found += list(self._checked(vectors))
        return found

    def _checked(self, vectors: Any) -> NDArray[np.float32]:
        array = np.asarray(vectors, np.float32)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ConfigurationError(
                f"the encoder {self.digest} gave an array of shape {array.shape} or values that are not finite"
            )
        return array
