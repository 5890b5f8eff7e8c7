"""Encoders of the sentence-transformers package: any model name or local folder."""

from __future__ import annotations

import hashlib
from typing import Any

from craft_stream.encoders.dense import DenseEncoder
from craft_stream.errors import ConfigurationError


def load(model: str = "", batch_size: int = 64, **options: Any) -> DenseEncoder:
    """The encoder of a sentence-transformers model.

    Args:
        model: a name, or a local folder, for which no network is needed.
        batch_size: texts encoded at a time, fixed.
        options: passed to `SentenceTransformer` (device, prompts, truncate_dim, model_kwargs, ...).

    Raises:
        ConfigurationError: the extra is not installed, or the model cannot be loaded.
    """
    if not model:
        raise ConfigurationError(
            'encoder.options.model is missing: a model name or folder, as in {model = "PATH"}'
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigurationError(
            "sentence-transformers is not installed: pip install 'craft-stream[sentence-transformers]'"
        ) from error
    try:
        transformer = SentenceTransformer(model, **options)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"the sentence-transformers model {model!r} cannot be loaded: {error}"
        ) from error
    return DenseEncoder(transformer, f"sentence-transformers-{_digest(transformer)}", batch_size)


def _digest(transformer: Any) -> str:
    """16 hexadecimal digits over the names, shapes and values of all weights."""
    sha = hashlib.sha256(repr(transformer).encode())
    for name, tensor in sorted(transformer.state_dict().items()):
        sha.update(f"{name} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
