"""Boosted trees, what people have judged, and the classifier that starts from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_stream.learning.quality import fit_classifier
from craft_stream.scoring.alignment import FEATURES as ALIGNMENT
from craft_stream.scoring.alignment import word_features
from craft_stream.scoring.lexicon import Lexicon
from craft_stream.scoring.quality import FEATURES, TEXT_FEATURES, log_probability
from craft_stream.scoring.surface import FEATURES as SURFACE
from craft_stream.scoring.surface import Characters, surface_features
from craft_stream.scoring.translation import JUDGED_FEATURES
from craft_stream.scoring.trees import BoostedTrees, human_judgement
from craft_stream.text.batch import PairBatch
from craft_stream.text.ngrams import CHARACTER_BITS
from craft_stream.text.tokenized import TokenizedPairs

JUDGEMENT = FEATURES.index("human_judgement")


def by_hand(trees: BoostedTrees, row: np.ndarray) -> float:
    """The sum of leaves, by the definition of a heap."""
    total, inner = 0.0, trees.features.shape[1]
    for t in range(len(trees.features)):
        k = 0
        while k < inner:
            k = 2 * k + 1 + bool(row[trees.features[t, k]] > trees.thresholds[t, k])
        total += float(trees.leaves[t, k - inner])
    return total


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1 << 32), depth=st.integers(1, 5), count=st.integers(1, 8))
def test_trees_are_a_sum_of_leaves(seed: int, depth: int, count: int) -> None:
    """Whatever trees and values, NaN and infinity among them."""
    rng = np.random.default_rng(seed)
    inner = (1 << depth) - 1
    trees = BoostedTrees(
        rng.integers(0, 4, (count, inner)).astype(np.int16),
        rng.choice([-1, 0, 1, np.inf], (count, inner)).astype(np.float32),
        rng.normal(0, 1, (count, inner + 1)).astype(np.float32),
    )
    values = rng.choice([-2, -1, 0, 0.5, 1, 2, np.nan, np.inf, -np.inf], (20, 4)).astype(np.float32)
    expected = [by_hand(trees, row) for row in values]
    assert trees.score(values) == pytest.approx(expected, abs=1e-4)


def test_the_trees_that_ship_fit_the_features() -> None:
    """They look at features that there are, and none of their numbers is unbounded but a threshold that nothing passes."""
    trees = human_judgement()
    count, inner = trees.features.shape
    assert trees.thresholds.shape == (count, inner)
    assert trees.leaves.shape == (count, inner + 1)
    assert trees.features.min() >= 0
    assert trees.features.max() < len(JUDGED_FEATURES) == TEXT_FEATURES - 1
    assert np.isfinite(trees.leaves).all()
    assert not np.isnan(trees.thresholds).any()
    # the log-odds stay within four of the classifier's deviations of them
    assert abs(trees.leaves).max(axis=1).sum() < 64


def test_without_evidence_people_are_believed() -> None:
    """Where clean and corrupted pairs are alike in all else, P(clean) is the logistic of the trees' log-odds."""
    rng = np.random.default_rng(3)
    features = rng.normal(0, 1, (400, len(FEATURES))).astype(np.float32)
    both = np.concatenate([features, features])
    both[:, JUDGEMENT] = rng.choice([-2, 2], len(both))
    clean = both[both[:, JUDGEMENT] > 0]
    classifier = fit_classifier(clean, both[both[:, JUDGEMENT] < 0])
    odds = classifier.weights[JUDGEMENT] / classifier.deviation[JUDGEMENT]
    assert odds == pytest.approx(1, abs=0.2)
    probe = np.zeros((2, len(FEATURES)), np.float32)
    probe[:, JUDGEMENT] = (-1, 1)
    assert np.diff(log_probability(probe, classifier))[0] > 0.5


def tokenized(source: str, target: str) -> TokenizedPairs:
    return TokenizedPairs.of(PairBatch.pack([source], [target]))


def surface(source: str, target: str) -> dict[str, float]:
    table = np.zeros(1 << CHARACTER_BITS, np.float32)
    pairs = tokenized(source, target)
    found = surface_features(
        pairs.batch.source,
        pairs.source,
        pairs.batch.target,
        pairs.target,
        np.arange(1),
        Characters(table, table),
    )
    return dict(zip(SURFACE, found[0].tolist(), strict=True))


def aligned(source: str, target: str) -> dict[str, float]:
    pairs = tokenized(source, target)
    found = word_features(pairs.source, pairs.target, np.arange(1), Lexicon.empty())[1]
    return dict(zip(ALIGNMENT, found[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("page 1,250 of 3", "Seite 1.250 von 3", 0),  # written otherwise, the same digits
        ("٣ pages", "3 pages", 0),  # digits of any script
        ("page 12", "Seite 13", 2 / 5),
        ("page 12", "Seite", 2 / 3),
        ("no", "nein", 0),
    ],
)
def test_digits_are_compared_however_numbers_are_written(source: str, target: str, expected: float) -> None:
    """The difference of both sides' digits as a share of them; groups and points do not matter."""
    assert surface(source, target)["digit_mismatch"] == pytest.approx(expected)


def test_capitals_are_counted_in_any_alphabet() -> None:
    """As shares of the letters of each side: of the source, and how much larger the target's is."""
    found = surface("ABcd", "ΑΒΓδ")
    assert found["capitals"] == pytest.approx(2 / 5)
    assert found["capitals_difference"] == pytest.approx(3 / 5 - 2 / 5)


def test_a_word_is_linked_once() -> None:
    """Names that are copied are links, one to one; what stands twice on one side has one partner."""
    same = aligned("Ada Lovelace Byron", "Ada Lovelace Byron")
    assert same["linked"] == pytest.approx(6 / 7)
    assert same["crossing"] == 0
    assert aligned("Ada Ada Ada", "Ada")["linked_least"] == pytest.approx(1 / 4)
    assert aligned("one two", "drei vier") == {"linked": 0, "linked_least": 0, "crossing": 0}
    assert aligned("", "") == {"linked": 0, "linked_least": 0, "crossing": 0}


def test_numbers_are_linked_to_equal_numbers_only() -> None:
    """12 and 13 share no link, 12 and 12 do."""
    assert aligned("12", "13")["linked"] == 0
    assert aligned("12", "12")["linked"] == pytest.approx(2 / 3)


def test_order_shows_in_long_texts() -> None:
    """Halves that are swapped cross; where a text is long, words far from their place are not linked at all."""
    words = [f"x{k:03d}y" for k in range(20)]
    swapped = words[10:] + words[:10]
    assert aligned(" ".join(words), " ".join(swapped))["crossing"] > 0.4
    many = [f"x{k:03d}y" for k in range(300)]
    straight = aligned(" ".join(many), " ".join(many))["linked"]
    crossed = aligned(" ".join(many), " ".join(many[150:] + many[:150]))["linked"]
    assert straight > 0.95
    assert crossed < 0.1
