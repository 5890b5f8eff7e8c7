"""Encoders other than hashing: wrapped, cached, named."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from toy import Toy, stream, target

from craft_stream import encoders
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokens import tokenize


class Counting:
    """The hashing encoder as a foreign one, which counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(
        self, inputs: Sequence[str], batch_size: int = 32, normalize_embeddings: bool = False
    ) -> np.ndarray:
        """As sentence-transformers has it."""
        self.calls.append(len(inputs))
        assert normalize_embeddings
        return HashingEncoder(48).encode(inputs)


def make(**options: object) -> Counting:
    assert not options
    return Counting()


def embed(encoder: DenseEncoder, items: list[str]) -> np.ndarray:
    texts = TextBatch.pack(items)
    return encoder.embed(texts, tokenize(texts), np.arange(len(texts)), np.zeros(0, np.float32))


def test_batches_have_one_size_and_nothing_is_encoded_twice() -> None:
    """Every call has the fixed number of texts, a known text is not asked for again, and rows keep their order."""
    foreign = Counting()
    encoder = DenseEncoder(foreign, "counting", batch_size=4)
    items = [f"text {i % 7}" for i in range(20)]
    found = embed(encoder, items)
    assert foreign.calls == [4, 4, 4]
    assert np.array_equal(found, HashingEncoder(48).encode(items))
    assert np.array_equal(embed(encoder, items[::-1]), found[::-1])
    assert foreign.calls == [4, 4, 4]


def test_the_engine_works_with_a_foreign_encoder() -> None:
    """Learner and selector with a dense encoder find the domain, and its model is refused by another encoder."""
    parameters = Parameters(selection=SelectionParameters(rate=0.05))
    toy, encoder = Toy(), DenseEncoder(Counting(), "counting")
    learner = Learner(parameters, encoder)
    learner.observe_target(*target(toy))
    crawl = stream(toy, 3000)
    learner.observe(crawl.batch)
    model = learner.publish()
    decisions = Selector(parameters, encoder).decide(crawl.batch, Ledger(parameters), model)
    assert decisions.accepted.sum() > 100
    assert crawl.in_domain[decisions.accepted].mean() > 0.9
    with pytest.raises(IntegrityError, match="counting"):
        Selector(parameters, HashingEncoder()).decide(crawl.batch, Ledger(parameters), model)


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's encoder is loaded by its name; unknown kinds and options name what there is."""
    entry = EntryPoint("counting", f"{__name__}:make", encoders.GROUP)
    monkeypatch.setattr(encoders, "entry_points", lambda group: EntryPoints([entry]))
    assert encoders.load_encoder("counting").dimensions == 48
    with pytest.raises(ConfigurationError, match="counting"):
        encoders.load_encoder("other")
    with pytest.raises(ConfigurationError, match="options"):
        encoders.load_encoder("hashing", depth=3)


def test_a_missing_model_is_said() -> None:
    """sentence-transformers without a model, or without the package, says what to do."""
    with pytest.raises(ConfigurationError, match="model"):
        encoders.load_encoder("sentence-transformers")
