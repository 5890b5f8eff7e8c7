"""Encoders other than hashing: wrapped, cached, named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from toy import Toy, stream, target

from craft_stream import encoders
from craft_stream.encoders import dense
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.scoring.embedding import EmbeddingError
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.tokenized import TokenizedPairs
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


def test_texts_are_encoded_alone_and_never_twice() -> None:
    """Every call has one text, a known text is not asked for again, and rows keep their order."""
    foreign = Counting()
    encoder = DenseEncoder(foreign, "counting")
    items = [f"text {i % 7}" for i in range(200)]
    found = embed(encoder, items)
    assert foreign.calls == [1] * 8
    assert np.array_equal(found, HashingEncoder(48).encode(items))
    assert np.array_equal(embed(encoder, items[::-1]), found[::-1])
    assert encoder.encoded == len(foreign.calls) == 8


def test_an_encoder_that_says_so_gets_many_texts_at_once() -> None:
    """`batched` and `expensive` of the foreign encoder are heard."""
    foreign = Counting()
    foreign.batched, foreign.expensive = True, False  # type: ignore[attr-defined]
    encoder = DenseEncoder(foreign, "counting")
    items = [f"text {i}" for i in range(200)]
    assert np.array_equal(embed(encoder, items), HashingEncoder(48).encode(items))
    assert foreign.calls == [1, 128, 72]
    assert not encoder.expensive


def test_each_side_may_have_its_own_encoder() -> None:
    """The target side is encoded by the second encoder, kept apart from the first; lengths must agree."""
    one, other = Counting(), Counting()
    other.encode = lambda inputs, **_: -HashingEncoder(48).encode(inputs)  # type: ignore[method-assign, assignment]
    encoder = DenseEncoder(one, "two", other)
    texts = TextBatch.pack(["a text"])
    sides = [
        encoder.embed(texts, tokenize(texts), np.arange(1), np.zeros(0, np.float32), side)
        for side in ("source", "target", "source")
    ]
    assert np.array_equal(sides[0], -sides[1])
    assert np.array_equal(sides[0], sides[2])
    with pytest.raises(ConfigurationError, match="48 and 32 dimensions"):
        DenseEncoder(one, "two", HashingEncoder(32))


@pytest.mark.parametrize("separate", [False, True])
def test_both_sides_of_pairs_are_what_each_is_alone(separate: bool) -> None:
    """Where one encoder serves both sides they come in one call, else in one each; the vectors are those of `embed`."""
    one, other = Counting(), Counting()
    one.batched = other.batched = True  # type: ignore[attr-defined]
    encoder = DenseEncoder(one, "two", other if separate else None)
    sides = [f"text {i}" for i in range(5)], [f"texte {i}" for i in range(5)]
    pairs, rows, weights = (
        TokenizedPairs.of(PairBatch.pack(*sides)),
        np.array([3, 1]),
        np.zeros(0, np.float32),
    )
    x, y = encoder.embed_pairs(pairs, rows, (weights, weights))
    assert np.array_equal(x, HashingEncoder(48).encode(["text 3", "text 1"]))
    assert np.array_equal(y, HashingEncoder(48).encode(["texte 3", "texte 1"]))
    assert one.calls[1:] == ([2] if separate else [4])


@pytest.mark.parametrize("together", [False, True])
def test_what_an_encoder_raises_is_named_as_its_fault(together: bool) -> None:
    """Not as the selector's: another policy says what becomes of the record."""

    class Brittle(Counting):
        batched = together

        def encode(self, inputs: Sequence[str], **named: Any) -> np.ndarray:
            if "bad" in inputs:
                raise MemoryError("no room")
            return super().encode(inputs, **named)

    encoder = DenseEncoder(Brittle(), "brittle")
    assert embed(encoder, ["good"]).shape == (1, encoder.dimensions)
    with pytest.raises(EmbeddingError, match="MemoryError: no room"):
        embed(encoder, ["good", "bad"])


def test_an_encoder_that_says_what_to_do_is_heard() -> None:
    """Its own ConfigurationError, at the first text or later, is not taken for a fault of the text."""

    class Padless(Counting):
        def encode(self, inputs: Sequence[str], **named: Any) -> np.ndarray:
            raise ConfigurationError("set encoder.options.batch_size = 1")

    with pytest.raises(ConfigurationError, match="batch_size"):
        DenseEncoder(Padless(), "padless")


def test_threads_may_share_an_encoder() -> None:
    """Eight threads that ask for overlapping texts, more than are kept, all get the right rows."""
    encoder = DenseEncoder(Counting(), "counting")
    items = [f"text {i}" for i in range(300)]
    expected = HashingEncoder(48).encode(items)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as pool:
        patch.setattr(dense, "_KEPT", 50)
        found = list(pool.map(lambda shift: embed(encoder, items[shift:]), range(0, 160, 10)))
    for shift, rows in zip(range(0, 160, 10), found, strict=True):
        assert np.array_equal(rows, expected[shift:])


@pytest.mark.parametrize("concurrent", [False, True])
def test_threads_encode_side_by_side_where_an_encoder_says_so(concurrent: bool) -> None:
    """A learner's texts hold up no decision where `concurrent` is true; elsewhere `encode` is called by one at a time."""
    inside, most = 0, 0
    foreign = Counting()
    foreign.concurrent = concurrent  # type: ignore[attr-defined]
    encoder = DenseEncoder(foreign, "counting")
    meet, encode = Barrier(2), foreign.encode

    def slow(inputs: Sequence[str], **options: Any) -> np.ndarray:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if concurrent:
            meet.wait(10)
        else:
            time.sleep(0.01)
        inside -= 1
        return encode(inputs, **options)

    foreign.encode = slow  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda text: embed(encoder, [text]), ("one text", "another")))
    assert most == 1 + concurrent
    assert np.array_equal(np.concatenate(found), HashingEncoder(48).encode(["one text", "another"]))
    assert encoder.encoded == 3


def test_the_engine_works_with_a_foreign_encoder() -> None:
    """Learner and selector with a dense encoder find the domain, and its model is refused by another encoder."""
    toy, encoder = Toy(), DenseEncoder(Counting(), "counting")
    hashing = Parameters(selection=SelectionParameters(rate=0.05))
    parameters = replace(hashing, encoder=encoder.digest)
    learner = Learner(parameters, encoder)
    learner.observe_target(*target(toy))
    crawl = stream(toy, 3000)
    learner.observe(crawl.batch)
    model = learner.publish()
    selector = Selector(parameters, encoder)
    decisions = selector.decide(TokenizedPairs.of(crawl.batch), Ledger(selector.parameters), model)
    assert decisions.accepted.sum() > 100
    assert crawl.in_domain[decisions.accepted].mean() > 0.9
    with pytest.raises(IntegrityError, match="counting"):
        Selector(hashing, HashingEncoder()).decide(TokenizedPairs.of(crawl.batch), Ledger(hashing), model)
    with pytest.raises(ConfigurationError, match="hashing-128-2, this is counting"):
        Selector(hashing, encoder)


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's encoder is loaded by its name; unknown kinds and options name what there is."""
    entry = EntryPoint("counting", f"{__name__}:make", encoders.GROUP)
    monkeypatch.setattr(encoders, "entry_points", lambda group: EntryPoints([entry]))
    assert encoders.load_encoder("counting").dimensions == 48
    assert encoders.load_encoder("counting").digest.startswith("counting-?-")
    with pytest.raises(ConfigurationError, match="counting"):
        encoders.load_encoder("other")
    with pytest.raises(ConfigurationError, match="options"):
        encoders.load_encoder("hashing", depth=3)


def test_a_missing_model_is_said() -> None:
    """sentence-transformers without a model, or without the package, says what to do."""
    with pytest.raises(ConfigurationError, match="model"):
        encoders.load_encoder("sentence-transformers")
