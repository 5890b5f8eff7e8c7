"""The hashing encoder as a module of sentence-transformers: `SentenceTransformer(modules=[HashedBag(128)])`.

For programs that know only sentence-transformers. The vectors are those of `HashingEncoder.encode`, bit for bit; with
`normalize_embeddings=True` torch scales what has unit length already, and the last bit may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from sentence_transformers.base.modules import InputModule

from craft_stream.encoders.hashing import HashingEncoder


class HashedBag(InputModule):  # type: ignore[misc]  # sentence-transformers is not installed where types are checked
    """Bags of hashed stems, without weights.

    Attributes:
        dimensions: D.
    """

    config_keys: ClassVar[list[str]] = ["dimensions"]
    save_in_root = False

    def __init__(self, dimensions: int = 128) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.tokenizer = None
        self._encoder = HashingEncoder(dimensions)

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """The embeddings themselves, float32 [texts, D]: there is nothing between a text and its bag."""
        texts = [(prompt or "") + text for text in inputs]
        return {"sentence_embedding": torch.from_numpy(self._encoder.encode(texts))}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """What `preprocess` made."""
        return features

    def get_embedding_dimension(self) -> int:
        """D."""
        return self.dimensions

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)
