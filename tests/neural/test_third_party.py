"""An encoder that another package brings by entry point: docs/examples/use-encoder, installed for real."""

from __future__ import annotations

import numpy as np
import pytest

from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize
from tests.unit.toy import Toy, stream, target

PAIRS = [
    ("The invoice is due tomorrow.", "La facture est due demain."),
    ("A cat sleeps in the sun.", "Un chat dort au soleil."),
    ("Close the file before you leave.", "Fermez le fichier avant de partir."),
]


@pytest.fixture(scope="module")
def encoder() -> Embedder:
    return load_encoder("use")


def embed(encoder: Embedder, items: list[str]) -> np.ndarray:
    texts = TextBatch.pack(items)
    return encoder.embed(texts, tokenize(texts), np.arange(len(items)), np.zeros(0, np.float32))


def test_translations_are_near_and_copies_nearer(encoder: Embedder) -> None:
    """A sentence's translation is its nearest French one; its copy is nearer still, so a cosine alone must not decide."""
    x = embed(encoder, [source for source, _ in PAIRS])
    y = embed(encoder, [translation for _, translation in PAIRS])
    assert ((x @ y.T).argmax(axis=1) == np.arange(len(PAIRS))).all()
    assert ((x * x).sum(axis=1) > (x * y).sum(axis=1)).all()


def test_a_row_depends_on_its_text_alone(encoder: Embedder) -> None:
    """To the bit, in company or alone."""
    items = [text for pair in PAIRS for text in pair]
    apart = np.concatenate([embed(load_encoder("use"), [item]) for item in items])
    assert np.array_equal(embed(encoder, items), apart)


def test_options_are_in_the_digest() -> None:
    """Other options, another digest; options that it does not take are refused."""
    assert load_encoder("use", threads=2).digest != load_encoder("use").digest
    with pytest.raises(ConfigurationError, match="options"):
        load_encoder("use", depth=3)


def test_the_engine_runs_on_it(encoder: Embedder) -> None:
    """Learner and selector work with it, through the cascade."""
    learning, selection = LearningParameters(embedded_rate=0.1), SelectionParameters(rate=0.05, gate=4.0)
    parameters = Parameters(learning, selection, encoder.digest)
    toy = Toy()
    learner = Learner(parameters, encoder)
    learner.observe_target(*target(toy, 40))
    crawl = stream(toy, 1000, share=0.2)
    learner.observe(crawl.batch)
    selector = Selector(parameters, encoder)
    decisions = selector.decide(
        TokenizedPairs.of(crawl.batch), Ledger(selector.parameters), learner.publish()
    )
    assert decisions.accepted.sum() > 10
    assert crawl.in_domain[decisions.accepted].mean() > 0.8
    assert decisions.embedded < 300
