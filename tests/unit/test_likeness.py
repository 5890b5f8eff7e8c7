"""The likeness of a pair's sides: known where an encoder has one space for both languages, a feature, never a rule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy, stream, target

from craft_stream import codec
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.errors import IntegrityError
from craft_stream.learning.learner import Learner
from craft_stream.learning.likeness import measure_likeness
from craft_stream.meanings import FEATURES as MEANINGS
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.likeness import Likeness
from craft_stream.scoring.model import MAGIC, Model
from craft_stream.scoring.parts import long_rows
from craft_stream.scoring.quality import FEATURES, LIKENESS, TEXT_FEATURES
from craft_stream.scoring.scorer import Scorer
from craft_stream.scoring.translation import JUDGED_FEATURES
from craft_stream.scoring.trees import BoostedTrees, human_judgement, human_judgement_of_likeness
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

Parts = dict[str, object]


class Bilingual:
    """Puts a text of the toy's second language where its translation is."""

    def encode(
        self, inputs: Sequence[str], batch_size: int = 1, normalize_embeddings: bool = True
    ) -> np.ndarray:
        """A word that ends in x is its translation backwards."""
        words = [[w.strip(".") for w in text.split()] for text in inputs]
        return HashingEncoder(64).encode(
            [" ".join(w[-2::-1] if w.endswith("x") else w for w in own) for own in words]
        )


PARAMETERS = Parameters(
    LearningParameters(embedded_rate=0.2), SelectionParameters(rate=0.05, gate=4.0), "two"
)


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def encoder() -> DenseEncoder:
    return DenseEncoder(Bilingual(), "two")


@pytest.fixture(scope="module")
def model(toy: Toy, encoder: DenseEncoder) -> Model:
    learner = Learner(PARAMETERS, encoder)
    learner.observe_target(*target(toy, 200))
    learner.observe(stream(toy, 3000, share=0.2).batch)
    return learner.publish()


def unit(rng: np.random.Generator, count: int, dimensions: int = 32) -> np.ndarray:
    rows = rng.normal(0, 1, (count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(seed=st.integers(0, 1000), scale=st.floats(0.2, 1))
@settings(max_examples=20)
def test_the_scale_is_that_of_the_target(seed: int, scale: float) -> None:
    """Whatever cosines an encoder gives: the target's pairs lie around 1/2, texts that do not belong together around -1/2."""
    rng = np.random.default_rng(seed)
    shared = unit(rng, 1)  # what all of its vectors have in common, as with those of many neural encoders
    x, noise = unit(rng, 400), unit(rng, 400)
    y = 0.8 * x + 0.6 * noise
    x, y = (scale * rows + (1 - scale) * shared for rows in (x, y))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    likeness = measure_likeness(x, y, human_judgement())
    assert likeness is not None
    assert likeness.scaled(x, y).mean() == pytest.approx(0.5, abs=0.01)
    assert likeness.scaled(x, np.roll(y, 200, axis=0)).mean() == pytest.approx(-0.5, abs=0.01)


def test_an_encoder_of_one_language_has_no_likeness() -> None:
    """Sides that are hardly nearer than others, or a target too small to say."""
    rng = np.random.default_rng(1)
    x = unit(rng, 400)
    assert measure_likeness(x, unit(rng, 400), human_judgement()) is None
    assert measure_likeness(x, 0.2 * x + unit(rng, 400), human_judgement()) is None
    assert measure_likeness(x[:50], x[:50], human_judgement()) is None


def test_an_encoder_whose_vectors_lie_close_together_has_no_likeness() -> None:
    """Its cosines rank pairs rightly, but a Model with such a scale could not be read."""
    rng = np.random.default_rng(1)
    shared, x = unit(rng, 1), unit(rng, 400)
    near = shared + 0.01 * x
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    assert measure_likeness(x, x, human_judgement()) is not None
    assert measure_likeness(near, near, human_judgement()) is None


def test_the_shipped_trees_know_one_feature_more() -> None:
    """The likeness, which they look at in many places, and which speaks for a pair whose words do not say enough."""
    trees = human_judgement_of_likeness()
    assert trees.features.max() == len(JUDGED_FEATURES)
    assert (trees.features == len(JUDGED_FEATURES)).any(axis=1).sum() > 30
    assert np.isfinite(trees.leaves).all()


def test_the_model_says_what_it_adds(toy: Toy, encoder: DenseEncoder, model: Model) -> None:
    """With an encoder of both languages there is one feature more, the last: trees with the likeness less those without."""
    assert model.translation.likeness is not None
    scorer, pairs = Scorer(model, encoder), TokenizedPairs.of(stream(toy, 100).batch)
    rows = np.arange(len(pairs))
    embeddings = scorer.embed(pairs, rows, scorer.clusters(pairs))
    features = scorer.features(pairs, rows, embeddings)
    assert scorer.feature_names == (*FEATURES, LIKENESS)
    assert features.shape == (len(pairs), len(FEATURES) + 1)
    judged = features[:, : len(JUDGED_FEATURES)]
    scaled = model.translation.likeness.scaled(embeddings.source, embeddings.target)
    both = model.translation.likeness.trees.score(np.c_[judged, scaled].astype(np.float32))
    assert np.allclose(features[:, -1], both - features[:, TEXT_FEATURES - 1], atol=1e-5)
    explained = Selector(PARAMETERS, encoder).explain("a", "b", Ledger(PARAMETERS), model)
    assert set(explained["contributions"]) == set(scorer.feature_names) <= set(MEANINGS)


def test_without_vectors_no_pair_is_judged_better_than_it_could_be(
    toy: Toy, encoder: DenseEncoder, model: Model
) -> None:
    """The bound by which the cascade spares the encoder holds with the likeness too."""
    scorer, pairs = Scorer(model, encoder), TokenizedPairs.of(stream(toy, 400).batch)
    rows = np.arange(len(pairs))
    features = scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)))
    most = scorer.without_embedding(scorer.text_features(pairs, rows))[:, 1]
    assert (scorer.quality(features) <= most).all()


def test_a_copy_has_the_greatest_likeness_and_is_no_translation(
    toy: Toy, encoder: DenseEncoder, model: Model
) -> None:
    """A cosine of 1 does not save it."""
    rng = random.Random(5)
    sources = [toy.pair(rng, True)[0] for _ in range(50)]
    scorer = Scorer(model, encoder)
    pairs, rows = TokenizedPairs.of(PairBatch.pack(sources, sources)), np.arange(50)
    embeddings = scorer.embed(pairs, rows, scorer.clusters(pairs))
    assert model.translation.likeness is not None
    assert (model.translation.likeness.scaled(embeddings.source, embeddings.target) > 0.499).all()
    assert (scorer.quality(scorer.features(pairs, rows, embeddings)) < np.log(0.1)).all()


def test_it_selects_through_the_cascade(toy: Toy, encoder: DenseEncoder, model: Model) -> None:
    """Learner, Model and selector agree; most of the stream is embedded by nobody."""
    crawl = stream(toy, 2000, share=0.2, seed=9)
    ledger = Ledger(PARAMETERS)
    found = Selector(PARAMETERS, encoder).decide(TokenizedPairs.of(crawl.batch), ledger, model)
    assert found.accepted.sum() > 40
    assert crawl.clean[found.accepted].mean() > 0.95
    assert found.embedded < 800


def test_it_comes_back_from_bytes(model: Model, toy: Toy) -> None:
    """The trees and the scale are in the Model; one without them reads as before."""
    data = model.encode()
    assert codec.decode(MAGIC, data)[0]["format"] == 6  # 0.1.0 reads 5, and says that it needs an upgrade
    again = Model.decode(data)
    assert again.digest == model.digest
    assert isinstance(again.translation.likeness, Likeness)
    assert again.translation.likeness.related == model.translation.likeness.related  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("translation.likeness.related", -0.9),
        ("translation.likeness.related", "near"),
        ("translation.likeness.trees.features", np.full((150, 15), len(JUDGED_FEATURES) + 1, np.int16)),
        ("translation.likeness.trees.leaves", np.zeros((150, 15), np.float32)),
        ("translation.likeness.trees.leaves", None),
        ("translation.likeness.more", 1.0),
    ],
)
def test_a_damaged_likeness_is_refused(model: Model, name: str, value: object) -> None:
    """By its name, before a kernel sees it."""
    parts: Parts = {**model.header, **model.arrays}
    if value is None:
        del parts[name]
    else:
        parts[name] = value
    with pytest.raises(IntegrityError):
        Model.of(parts)


def test_a_likeness_that_the_classifier_does_not_weigh_is_refused(model: Model) -> None:
    """And the other way round: features and weights are of one number."""
    parts: Parts = {**model.header, **model.arrays}
    less = {key: value for key, value in parts.items() if not key.startswith("translation.likeness.")}
    with pytest.raises(IntegrityError, match="features"):
        Model.of(less)


def test_a_gain_is_what_the_trees_say_more() -> None:
    """A tree that asks for the likeness alone adds what its leaf says, whatever the words."""
    trees = BoostedTrees(
        np.full((1, 1), len(JUDGED_FEATURES), np.int16),
        np.zeros((1, 1), np.float32),
        np.array([[-1, 2]], np.float32),
    )
    likeness = Likeness(0.8, 0.2, trees)
    x = np.eye(2, dtype=np.float32)
    judged, without = np.zeros((2, len(JUDGED_FEATURES)), np.float32), np.array([0.5, -0.5], np.float32)
    assert likeness.gain(judged, without, x, x).tolist() == [1.5, 2.5]
    assert likeness.gain(judged, without, x, x[::-1]).tolist() == [-1.5, -0.5]


def test_of_a_paragraph_too_a_gain_is_what_the_likeness_says(
    toy: Toy, encoder: DenseEncoder, model: Model
) -> None:
    """Trees that never look at it add nothing to a pair that is judged in parts, as to any other."""
    rng = random.Random(8)
    sides = [[toy.pair(rng, True) for _ in range(count)] for count in (1, 5, 40, 60)]
    pairs = TokenizedPairs.of(
        PairBatch.pack(
            *([" ".join(pair[side] + "." for pair in paragraph) for paragraph in sides] for side in (0, 1))
        )
    )
    words = human_judgement()
    blind = replace(
        model, translation=replace(model.translation, judgement=words, likeness=Likeness(0.8, 0.2, words))
    )
    scorer, rows = Scorer(blind, encoder), np.arange(len(pairs))
    assert len(long_rows(pairs, rows)) == 2
    features = scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)))
    assert np.abs(features[:, -1]).max() < 1e-6
