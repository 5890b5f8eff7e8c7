"""The cascade: what needs no embedding gets none, and no decision depends on that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoders import Counting
from toy import Stream, Toy, stream, target

from craft_stream.encoders.dense import DenseEncoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import FEATURES, QualityClassifier, log_probability, without_embedding
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.pacing import ahead
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

SIZE = 4000
TEXT_FEATURES = len(FEATURES) - 6


def parameters(**selection: object) -> Parameters:
    return Parameters(
        LearningParameters(embedded_rate=0.2),
        SelectionParameters(**{"rate": 0.05, **selection}),  # type: ignore[arg-type]
        "counting",
    )


@pytest.fixture(scope="module")
def encoder() -> DenseEncoder:
    return DenseEncoder(Counting(), "counting")


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def models(toy: Toy, encoder: DenseEncoder) -> list[Model]:
    """Two versions, the second after more of the stream."""
    learner = Learner(parameters(), encoder)
    learner.observe_target(*target(toy))
    learner.observe(stream(toy, 3000, seed=5).batch)
    first = learner.publish()
    learner.observe(stream(toy, 3000, seed=6).batch)
    return [first, Model.decode(learner.publish().encode())]


@pytest.fixture(scope="module")
def crawl(toy: Toy) -> Stream:
    """A stream whose last third repeats an earlier one, so that duplicates of accepted pairs come."""
    once = stream(toy, 2 * SIZE // 3, share=0.2)
    again = np.r_[np.arange(len(once.batch)), np.arange(SIZE - len(once.batch))]
    texts = once.batch.take(again)
    return Stream(replace(texts, positions=np.arange(SIZE)), once.in_domain[again], once.clean[again])


def run(
    batch: PairBatch, encoder: DenseEncoder, models: list[Model], size: int, **selection: object
) -> tuple[Decisions, Ledger]:
    """Decide in pieces; the second model is offered from the middle on."""
    selector = Selector(parameters(**selection), encoder)
    ledger = Ledger(selector.parameters)
    parts = []
    for start in range(0, len(batch), size):
        piece = batch.slice(start, min(start + size, len(batch)))
        split = int(np.searchsorted(piece.positions, 2048))
        for part, model in ((piece.slice(0, split), models[0]), (piece.slice(split, len(piece)), models[1])):
            parts.append(selector.decide(TokenizedPairs.of(part), ledger, model))
    return Decisions.concatenate(parts), ledger


@pytest.fixture(scope="module")
def decided(crawl: Stream, encoder: DenseEncoder, models: list[Model]) -> tuple[Decisions, Ledger]:
    return run(crawl.batch, encoder, models, 1024)


def test_it_selects(crawl: Stream, decided: tuple[Decisions, Ledger]) -> None:
    """The budget is spent on clean pairs of the domain, and no accepted pair comes twice."""
    accepted = decided[0].accepted
    assert 0.9 * 0.05 * SIZE <= accepted.sum() <= 0.05 * SIZE + ahead(SelectionParameters(rate=0.05), SIZE)
    assert (crawl.in_domain & crawl.clean)[accepted].mean() > 0.9
    assert decided[1].reasons[Reason.DUPLICATE] > 0


@pytest.mark.parametrize("size", [7, 300, 4096])
def test_decisions_do_not_depend_on_the_batches(
    crawl: Stream, encoder: DenseEncoder, models: list[Model], decided: tuple[Decisions, Ledger], size: int
) -> None:
    """Other pieces give the same decisions, to the bit, and the same ledger: a twin in the same batch or an earlier one."""
    found, ledger = run(crawl.batch, encoder, models, size)
    for name in Decisions.__slots__:
        assert np.array_equal(getattr(decided[0], name), getattr(found, name), equal_nan=name == "quality"), (
            name
        )
    assert ledger.digest() == decided[1].digest()


def test_embedding_all_that_pass_the_gate_decides_the_same(
    crawl: Stream,
    encoder: DenseEncoder,
    models: list[Model],
    decided: tuple[Decisions, Ledger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the step that rejects by words alone more is embedded, and reasons, acceptances and ledger are the same."""
    bounded = Scorer.without_embedding

    def unbounded(self: Scorer, text: np.ndarray) -> np.ndarray:
        found = bounded(self, text)
        found[:, 1] = 0
        return found

    monkeypatch.setattr(Scorer, "without_embedding", unbounded)
    found, ledger = run(crawl.batch, encoder, models, 1024)
    assert np.array_equal(found.reason, decided[0].reason)
    accepted = found.accepted
    for name in Decisions.__slots__:
        assert np.array_equal(getattr(found, name)[accepted], getattr(decided[0], name)[accepted]), name
    assert ledger.digest() == decided[1].digest()
    assert found.embedded > decided[0].embedded


def test_little_is_embedded(toy: Toy, models: list[Model], decided: tuple[Decisions, Ledger]) -> None:
    """About the gate's share is embedded, of junk next to nothing, and the encoder is asked for no more than that.

    The gate is a quantile of what came before: over five epochs it lets through 1.16 times its share.
    """
    share = SelectionParameters().gate * 0.05
    assert decided[0].embedded <= 1.25 * share * SIZE
    counting = DenseEncoder(Counting(), "counting")
    junk = PairBatch.pack(*(["!? 7"] * 3000, [f"{i} Ã©Ã¨ Ã©" for i in range(3000)]))
    before = counting.encoded
    found, _ = run(junk, counting, models, 1024)
    assert found.embedded == 0
    assert counting.encoded - before == 0
    fresh = stream(toy, 2000, share=0.02, noise=0.9, seed=9)
    found, _ = run(fresh.batch, counting, models, 1024)
    assert 0 < found.embedded < 0.25 * 2000
    assert counting.encoded <= 2 * found.embedded + 2 + 2 * int((found.reason == Reason.DUPLICATE).sum())


def test_what_is_not_embedded_says_so(decided: tuple[Decisions, Ledger]) -> None:
    """A pair without an embedding has no cluster, no help and no quality; one with an embedding has all three."""
    decisions = decided[0]
    without = decisions.cluster < 0
    assert np.isnan(decisions.quality[without]).all()
    assert (decisions.dual[without] == 0).all()
    assert np.isfinite(decisions.quality[~without]).all()
    assert not without[decisions.accepted].any()
    assert decisions.embedded == (~without).sum()


def test_the_paper_needs_every_embedding(crawl: Stream, encoder: DenseEncoder, models: list[Model]) -> None:
    """The method "craft" looks at embeddings alone, so everything is embedded and the budget is kept."""
    found, ledger = run(crawl.batch, encoder, models, 1024, method="craft")
    assert found.embedded == SIZE
    assert found.accepted.sum() <= 0.05 * SIZE + ahead(ledger.selection, SIZE)
    assert np.isfinite(found.score).all()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1 << 32), scale=st.sampled_from([0.0, 0.01, 1.0, 30.0]))
def test_no_embedding_beats_the_bound(seed: int, scale: float) -> None:
    """Whatever classifier and features: log P(clean) with any prediction features is at most the bound without them."""
    rng = np.random.default_rng(seed)
    count = len(FEATURES)
    classifier = QualityClassifier(
        rng.normal(0, 1, count).astype(np.float32),
        rng.uniform(0.05, 3, count).astype(np.float32),
        rng.normal(0, scale, 2 * count + 1).astype(np.float32),
    )
    features = (rng.normal(0, 1, (200, count)) * rng.choice([0.1, 1, 10, 1000], (200, 1))).astype(np.float32)
    expected, most = without_embedding(features[:, :TEXT_FEATURES], classifier).T
    assert (log_probability(features, classifier) <= most).all()
    assert (expected <= most).all()
