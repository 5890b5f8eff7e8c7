"""Sentence encoders behind one protocol, `scoring.embedding.Embedder`: the hashing encoder, and others by entry point."""

from __future__ import annotations

from typing import Any

from craft_stream.errors import ConfigurationError
from craft_stream.scoring.embedding import Embedder


def load_encoder(kind: str = "hashing", **options: Any) -> Embedder:
    """The encoder of that kind.

    Raises:
        ConfigurationError: no such kind.
    """
    if kind == "hashing":
        from craft_stream.encoders.hashing import HashingEncoder

        return HashingEncoder(**options)
    raise ConfigurationError(f'encoder.kind is "{kind}"; there is "hashing"')
