"""Several learners become one: what adds up does so to the bit, the rest as well as one learner's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy, stream, target

from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.learning.lexicon import learn_lexicon, merge_lexicon
from craft_stream.learning.regression import OnlineRegression
from craft_stream.learning.reservoir import Reservoir
from craft_stream.learning.stream import RecentPairs
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.translation import Lexicon
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize

TOY = Toy()
PAIRS = stream(TOY, 1200).batch
IDENTIFIERS = st.lists(st.integers(0, 300), max_size=250)


@given(IDENTIFIERS, IDENTIFIERS, st.integers(1, 20), st.sets(st.integers(0, 300), max_size=3))
def test_reservoirs_have_a_union(one: list[int], other: list[int], size: int, gone: set[int]) -> None:
    """The sample of a union is that of one reservoir that saw both logs, withdrawals that reached both included."""
    left, right, whole = (Reservoir(size, seed=4) for _ in range(3))
    for part, reservoir in ((one, left), (other, right)):
        for number in part:
            for seen in (reservoir, whole):
                seen.insert(str(number), f"s{number}", f"t{number}")
    for number in gone:
        for seen in (left, right, whole):
            seen.delete(str(number))
    left.merge(right)
    if not (left.incomplete or whole.incomplete):
        assert left.sample() == whole.sample()
    with pytest.raises(ValueError, match="same size"):
        left.merge(Reservoir(size + 1, seed=4))


def learner(batch: PairBatch, size: int = 120, seed: int = 2, **learning: int) -> Learner:
    made = Learner(Parameters(LearningParameters(reservoir_size=64, **learning)), load_encoder())
    made.observe_target(*target(TOY, size, seed))
    for start in range(0, len(batch), 256):
        made.observe(batch.slice(start, min(start + 256, len(batch))))
    return made


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1200), st.integers(0, 1200), st.integers(0, 120))
def test_two_learners_are_one(cut: int, accepted: int, shown: int) -> None:
    """learner(A) merged with learner(B) is learner(A ++ B): target, counts, characters, stems, occurrences, to the bit."""
    identifiers, wanted = target(TOY, 120)
    left, right = learner(PAIRS.slice(0, cut), 0), learner(PAIRS.slice(cut, 1200), 0)
    left.observe_target(identifiers[:shown], wanted.slice(0, shown))
    right.observe_target(identifiers[shown:], wanted.slice(shown, 120))
    left.observe_accepted(PAIRS.slice(0, accepted))
    right.observe_accepted(PAIRS.slice(accepted, 1200))
    whole = learner(PAIRS)
    whole.observe_accepted(PAIRS)
    left.merge(right)
    whole._catch_up()  # what a merge, and a version, begins with
    assert left.pairs_seen == whole.pairs_seen == 1200
    assert left._learned == whole._learned
    assert left._reservoir.sample() == whole._reservoir.sample()
    assert left._counts._totals == whole._counts._totals
    for name in ("stream", "selected"):
        assert np.array_equal(getattr(left._counts, name), getattr(whole._counts, name))
    for name in ("source", "target"):
        assert np.array_equal(getattr(left._characters, name), getattr(whole._characters, name))
    for one, all_ in zip(left._stems, whole._stems, strict=True):
        assert np.array_equal(one, all_)
    for name in ("source_count", "target_count", "totals"):
        assert np.array_equal(getattr(left._lexicon, name), getattr(whole._lexicon, name))
    assert left._recent.batch().source.texts() != []
    assert sorted(left._recent.batch().source.texts()) == sorted(whole._recent.batch().source.texts())


def test_lexicons_add_up() -> None:
    """Masses and joint counts of a merged lexicon are the sums of both, but for pairs of words that found no room."""
    parts = []
    for start in (0, 600):
        lexicon, batch = Lexicon.empty(), PAIRS.slice(start, start + 600)
        learn_lexicon(lexicon, tokenize(batch.source), tokenize(batch.target), np.ones(600, np.float32))
        parts.append(lexicon)
    one, other = parts
    merged = one.copy()
    merge_lexicon(merged, other)
    for name in ("source_mass", "target_mass", "source_count", "target_count", "totals"):
        assert np.array_equal(getattr(merged, name), getattr(one, name) + getattr(other, name))

    def counts(lexicon: Lexicon) -> dict[tuple[int, int], int]:
        slots = lexicon.joint.reshape(-1, 2)
        used = np.flatnonzero(slots[:, 1])
        return {(int(slot) // 2, int(slots[slot, 0])): int(slots[slot, 1]) for slot in used}

    first, second, both = counts(one), counts(other), counts(merged)
    sums = {key: first.get(key, 0) + second.get(key, 0) for key in first.keys() | second.keys()}
    equal = sum(both.get(key) == amount for key, amount in sums.items())
    assert equal > 0.99 * len(sums)
    assert all(amount <= sums[key] for key, amount in both.items())


def test_regressions_are_averaged_by_steps() -> None:
    """A row is the mean of both, weighted by how often each was moved; one that only one learner has is that one's."""
    one, other = OnlineRegression(2), OnlineRegression(2)
    one.rows[:3], one.steps[:3] = [[1, 2], [4, 4], [0, 0]], [3, 5, 0]
    other.rows[:3], other.steps[:3] = [[5, 6], [0, 0], [7, 8]], [1, 0, 2]
    one.merge(other)
    assert one.rows[:3].tolist() == [[2, 3], [4, 4], [7, 8]]
    assert one.steps[:3].tolist() == [4, 5, 2]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_the_newest_of_both_are_kept(one: int, other: int, size: int) -> None:
    """As many of each as there is room for, and where one has few, more of the other."""
    left, right = RecentPairs(size), RecentPairs(size)
    for recent, count, name in ((left, one, "a"), (right, other, "b")):
        recent.add(PairBatch.pack([f"{name}{k}" for k in range(count)], ["x"] * count))
    left.merge(right)
    kept = left.batch().source.texts()
    a, b = (sum(text[0] == name for text in kept) for name in "ab")
    assert a + b == len(kept) == min(size, min(one, size) + min(other, size))
    assert abs(a - b) <= 1 or a == min(one, size) or b == min(other, size)
    for name, count, total in (("a", a, one), ("b", b, other)):
        assert [text for text in kept if text[0] == name] == [
            f"{name}{k}" for k in range(total - count, total)
        ]


def test_a_merged_learner_selects_as_well() -> None:
    """Two learners that each primed on half select within .05 of what one that primed on all does."""
    both, judged = stream(TOY, 8000, seed=21).batch, stream(TOY, 6000, seed=22)
    left, right, whole = (learner(both.slice(a, b)) for a, b in ((0, 4000), (4000, 8000), (0, 8000)))
    left.merge(right)
    good = []
    for one in (left, whole):
        parameters = Parameters(LearningParameters(reservoir_size=64), SelectionParameters(rate=0.05))
        selector = Selector(parameters, load_encoder())
        decisions = selector.decide(
            TokenizedPairs.of(judged.batch), Ledger(selector.parameters), one.publish()
        )
        assert decisions.accepted.sum() > 0.9 * 0.05 * 6000
        good.append((judged.in_domain & judged.clean)[decisions.accepted].mean())
    assert good[0] > good[1] - 0.05
    assert good[1] > 0.8


def test_learners_that_cannot_merge_say_so() -> None:
    """After a version, or of other parameters, they are refused."""
    one, other = learner(PAIRS), learner(PAIRS, seed=3)
    with pytest.raises(ValueError, match="parameters"):
        one.merge(Learner(Parameters(), load_encoder()))
    other.publish()
    for pair in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="first version"):
            pair[0].merge(pair[1])
