"""Sentence encoders behind one protocol, `scoring.embedding.Embedder`: three kinds of our own, others by entry point."""

from __future__ import annotations

import hashlib
from importlib.metadata import entry_points
from typing import Any

from craft_stream.errors import ConfigurationError
from craft_stream.scoring.embedding import Embedder

GROUP = "craft_stream.encoders"


def load_encoder(kind: str = "hashing", **options: Any) -> Embedder:
    """The encoder of that kind.

    Args:
        kind: "hashing", "universal-sentence-encoder", "sentence-transformers", or the name of an entry point of the group
            `craft_stream.encoders`: a function that takes the options and returns an object with `encode` (see
            `encoders.dense.Encoder`).
        options: of the encoder.

    Raises:
        ConfigurationError: no such kind, or it takes no such options.
    """
    try:
        if kind == "hashing":
            from craft_stream.encoders.hashing import HashingEncoder

            return HashingEncoder(**options)
        if kind == "universal-sentence-encoder":
            from craft_stream.encoders import universal_sentence_encoder

            return universal_sentence_encoder.load(**options)
        if kind == "sentence-transformers":
            from craft_stream.encoders import sentence_transformer

            return sentence_transformer.load(**options)
        found = {entry.name: entry for entry in entry_points(group=GROUP)}
        if kind in found:
            from craft_stream.encoders.dense import DenseEncoder

            entry = found[kind]
            version = entry.dist.version if entry.dist else "?"
            encoder = entry.load()(**options)
            # The options too: they are all that two encoders of one package may differ in.
            made = repr((sorted(options.items()), getattr(encoder, "digest", "")))
            return DenseEncoder(encoder, f"{kind}-{version}-{hashlib.sha256(made.encode()).hexdigest()[:8]}")
    except TypeError as error:
        raise ConfigurationError(f"encoder.options does not fit {kind}: {error}") from error
    known = ", ".join(["hashing", "universal-sentence-encoder", "sentence-transformers", *found])
    raise ConfigurationError(f'encoder.kind is "{kind}"; there are {known}')
