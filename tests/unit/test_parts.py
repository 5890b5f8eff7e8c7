"""Long pairs are judged in parts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy, versions

from craft_stream.encoders import load_encoder
from craft_stream.scoring.parts import LONG, in_parts, long_rows, weakest
from craft_stream.scoring.scorer import Scorer
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

Pairs = list[tuple[str, str]]
TEXT = st.text("ab .。\n!\té", min_size=0, max_size=2000)


def tokenized(pairs: Pairs) -> TokenizedPairs:
    return TokenizedPairs.of(PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs]))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(versions()[1], load_encoder())


@pytest.fixture(scope="module")
def paragraphs() -> list[Pairs]:
    """Forty of thirty sentences each."""
    rng, toy = random.Random(3), Toy()
    return [[toy.pair(rng, True) for _ in range(30)] for _ in range(40)]


def joined(paragraphs: list[Pairs]) -> Pairs:
    return [(" ".join(s for s, _ in own), " ".join(t for _, t in own)) for own in paragraphs]


def quality(scorer: Scorer, pairs: Pairs) -> np.ndarray:
    found = tokenized(pairs)
    rows = np.arange(len(found))
    return scorer.quality(scorer.features(found, rows, scorer.embed(found, rows, scorer.clusters(found))))


@given(source=st.just("word " * 150) | TEXT, target=TEXT)
@settings(max_examples=60)
def test_parts_are_the_whole(source: str, target: str) -> None:
    """Whatever the texts: both sides have as many parts, in order, and nothing is lost or doubled."""
    pairs = tokenized([("word " * 150, target), (source + "a", target + "b")])
    rows = np.arange(2)
    parts, counts = in_parts(pairs, rows)
    assert len(parts) == counts.sum()
    for side in ("source", "target"):
        texts = getattr(parts.batch, side).texts()
        for row, start, count in zip(rows, np.cumsum(counts) - counts, counts, strict=True):
            assert "".join(texts[start : start + count]) == getattr(pairs.batch, side).text(int(row))


def test_sentences_are_not_cut(paragraphs: list[Pairs]) -> None:
    """Where an end of a sentence is near, both sides are cut there, and sentences stay with their translations."""
    parts, _ = in_parts(tokenized(joined(paragraphs)), np.arange(len(paragraphs)))
    toy = Toy()
    for source, target in zip(parts.batch.source.texts(), parts.batch.target.texts(), strict=True):
        assert source.rstrip().endswith(".")
        words = [toy.translation[word.strip(".")] for word in source.split()]
        assert words == [word.strip(".") for word in target.split()]


def test_the_weakest_two_thirds_count() -> None:
    """Of each pair by itself, at least one."""
    scores = np.array([3, 1, 2, 5, -1, 4, 0], np.float32)
    found = weakest(scores, np.array([3, 1, 3], np.int64))
    assert [sorted(rows.tolist()) for rows in found] == [[1, 2], [3], [4, 6]]


def test_only_long_pairs_are_cut(scorer: Scorer, paragraphs: list[Pairs]) -> None:
    """A pair of ordinary length is judged as a whole, beside a long one too, and a long one as it is alone."""
    short, long = paragraphs[0][0], joined(paragraphs)[0]
    assert long_rows(
        tokenized([short, long, ("a", "b " * LONG), ("a", "b " * (LONG + 1))]), np.arange(4)
    ).tolist() == [1, 3]
    together = scorer.text_features(tokenized([short, long]), np.arange(2))
    judged = scorer.judged_features(tokenized([short]), np.arange(1))
    assert np.array_equal(together[0, :-1], judged[0])
    assert together[0, -1] == scorer.translation.judgement.score(judged)[0]
    assert np.array_equal(together[1], scorer.text_features(tokenized([long]), np.arange(1))[0])


def test_a_paragraph_is_judged_by_all_of_it(scorer: Scorer, paragraphs: list[Pairs]) -> None:
    """Sentences in another order, another end or a copied one make it less likely than any translation."""
    rng = random.Random(4)
    spoilt: list[Pairs] = []
    for own, other in zip(paragraphs, paragraphs[1:] + paragraphs[:1], strict=True):
        targets = [t for _, t in own]
        mixed = rng.sample(targets, len(targets))
        for wrong in (
            mixed,
            targets[:20] + [t for _, t in other][20:],
            targets[:20] + [s for s, _ in own][20:],
        ):
            pairs = [(s, t) for (s, _), t in zip(own, wrong, strict=True)]
            spoilt += [pairs]
    clean = quality(scorer, joined(paragraphs))
    assert np.quantile(clean, 0.1) > quality(scorer, joined(spoilt)).max()
