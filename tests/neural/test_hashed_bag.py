"""The hashing encoder as a module of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from craft_stream.encoders.hashed_bag import HashedBag
from craft_stream.encoders.hashing import HashingEncoder

TEXTS = ["The invoice is due.", "", "Un chat dort au soleil.", "日本語 text", "a" * 5000]


def test_vectors_are_the_encoders() -> None:
    """Bit for bit as `HashingEncoder.encode` gives them; to float32's rounding where torch normalises them once more."""
    model = SentenceTransformer(modules=[HashedBag(96)], device="cpu")
    expected = HashingEncoder(96).encode(TEXTS)
    assert np.array_equal(model.encode(TEXTS), expected)
    assert np.array_equal(model.encode(TEXTS[0]), expected[0])
    assert np.allclose(model.encode(TEXTS, normalize_embeddings=True), expected, rtol=0, atol=1e-7)
    assert model.get_embedding_dimension() == 96
    assert np.array_equal(
        model.encode(TEXTS, prompt="so: "), HashingEncoder(96).encode([f"so: {text}" for text in TEXTS])
    )


def test_a_saved_one_is_the_same(tmp_path: Path) -> None:
    """Saved and loaded again it gives the same vectors; similarities too."""
    model = SentenceTransformer(modules=[HashedBag(64)], device="cpu")
    model.save(str(tmp_path))
    again = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=True)
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    assert isinstance(again[0], HashedBag)
    assert float(again.similarity(again.encode(TEXTS[:1]), again.encode(TEXTS[:1]))[0, 0]) > 0.9999
