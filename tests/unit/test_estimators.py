"""The engine as estimators of River: River's own checks, and a pipeline over the demo's sentences."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import checks, naive_bayes
from river.base import AnomalyFilter, MiniBatchClassifier
from toy import Toy

import craft_stream as cs
from craft_stream.demo.catalogues import DOMAIN, Catalogues
from craft_stream.estimators import PairFilter, PairSelector
from craft_stream.parameters import SelectionParameters
from craft_stream.selection.ledger import EPOCH
from craft_stream.selection.pacing import ahead

DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "selection.md"
PRIME = 256


@pytest.mark.parametrize(
    "estimator",
    [
        PairSelector(),
        PairSelector(source="popup_window", target="https", prime=50),
        PairFilter(PairSelector()),
    ],
    ids=["records without sides", "numbers as sides", "filter"],
)
def test_river_checks(estimator: Any) -> None:
    """River's `check_estimator` passes: on records that hold no pair, on ones whose sides are numbers, and as a filter."""
    checks.check_estimator(estimator)


def test_nothing_of_the_checks_is_skipped() -> None:
    """The estimators are of River's own kinds and ask to be spared no check."""
    assert isinstance(PairSelector(), MiniBatchClassifier)
    assert isinstance(PairFilter(PairSelector()), AnomalyFilter)
    assert not PairSelector()._unit_test_skips()
    assert not PairFilter(PairSelector())._unit_test_skips()


def records(size: int, seed: int = 3) -> list[tuple[dict[str, str], bool]]:
    """Toy pairs: 150 of the target, then a stream in which a tenth is of the domain and some repeat."""
    toy, rng = Toy(), random.Random(seed)
    rows = [(toy.pair(rng, True), True) for _ in range(150)]
    for _ in range(size):
        again = rng.random() < 0.1 and len(rows) > 200
        rows.append((rng.choice(rows[150:])[0] if again else toy.pair(rng, rng.random() < 0.1), False))
    return [({"src": a, "tgt": b}, label) for (a, b), label in rows]


@pytest.mark.parametrize("method", ["craft-plus", "craft"])
def test_a_prediction_is_what_will_be_decided(method: str) -> None:
    """With repetitions and across epochs, `predict_one` says what `learn_one` then decides, and changes nothing."""
    selector = PairSelector(rate=0.15, prime=PRIME, method=method)
    agree: Counter[tuple[bool, bool]] = Counter()
    for x, label in records(700):
        before = selector.accepted
        said = selector.predict_one(x)
        assert said == (selector.score_one(x) >= 0) == selector.predict_one(x)
        selector.learn_one(x, label)
        if not label and selector.summary["seen"] > PRIME:
            agree[said, selector.accepted > before] += 1
            assert selector.decided(x) == (selector.accepted > before)
    assert agree[True, False] == agree[False, True] == 0
    assert agree[True, True] > 40
    assert selector.summary["by_reason"]["duplicate"] > 0 or method == "craft"


@settings(max_examples=2, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_learn_many_is_learn_one(sizes: list[int], rng: random.Random) -> None:
    """However rows are cut into frames, also with both labels mixed, the state is that of one by one."""
    rows = records(400)
    rng.shuffle(rows)
    one, many = PairSelector(rate=0.1, prime=PRIME), PairSelector(rate=0.1, prime=PRIME)
    for x, label in rows:
        one.learn_one(x, label)
    start = 0
    for size in [*sizes, len(rows)]:
        part = rows[start : start + size]
        start += size
        if part:
            many.learn_many(
                pa.Table.from_pylist([x for x, _ in part]), pa.chunked_array([[y for _, y in part]])
            )
    one.accepted, many.accepted  # noqa: B018  # decides what waits
    assert one._session is not None
    assert many._session is not None
    assert one._session.ledger.digest() == many._session.ledger.digest()
    queries = [x for x, _ in records(60, seed=9)]
    said = many.predict_many(pa.Table.from_pylist(queries)).to_pylist()
    assert said == [one.predict_one(x) for x in queries]
    assert [one.score_one(x) for x in queries] == [many.score_one(x) for x in queries]


def test_decisions_are_those_of_select() -> None:
    """Fed pair by pair, the selector decides what `craft_stream.select` decides of the same stream and target."""
    rows = records(1500)
    selector = PairSelector(rate=0.1)
    for x, label in rows:
        selector.learn_one(x, label)
    target, stream = ([x for x, label in rows if label is kind] for kind in (True, False))
    selection = cs.select(stream, target=target, rate=0.1, prime_pairs=EPOCH)
    accepted = [x for x, decision in selection if decision.accepted]
    assert len(accepted) == selector.accepted > 80
    assert selection.summary() == {**selector.summary, "undecidable": 0, "undecidable_by_reason": {}}


def test_what_is_no_pair_is_not_learned() -> None:
    """Records without a side, or with an empty one, are never accepted and leave no trace."""
    selector = PairSelector()
    for x in ({}, {"src": "a"}, {"src": "a", "tgt": None}, {"src": " ", "tgt": "b"}, {"src": "", "tgt": ""}):
        selector.learn_one(x, True)
        selector.learn_one(x, False)
        assert selector.score_one(x) == -math.inf
        assert not selector.predict_one(x)
    assert selector._session is None
    assert selector.summary == {}


def test_the_parameters_reach_the_engine() -> None:
    """Rate, method and seed come before `parameters`, which hold the rest; a clone has them and no state."""
    selector = PairSelector(rate=0.2, seed=5, method="craft")
    selector.learn_one({"src": "a b", "tgt": "c d"}, False)
    assert selector._session is not None
    found = selector._session.ledger.parameters
    assert (found.selection.rate, found.selection.method, found.learning.seed) == (0.2, "craft", 5)
    clone = selector.clone()
    assert clone._session is None
    assert (clone.rate, clone.method, clone.seed) == (0.2, "craft", 5)


def example() -> str:
    """The example of docs/explanation/selection.md."""
    found = re.search(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_the_documented_pipeline_learns_from_what_is_selected() -> None:
    """On real sentences the example's classifier learns from what the filter let through alone, most of it of the domain."""
    texts = Catalogues.installed()
    domain = [{"en": pair.source, "fr": pair.target} for pair in texts.target]
    stream = [({"en": pair.source, "fr": pair.target}, pair.package) for pair in texts.stream[:4096]]
    scope: dict[str, Any] = {"domain": domain, "stream": stream[:EPOCH]}
    exec(example(), scope)  # noqa: S102  # the document's own
    selector, model = scope["selector"], scope["model"]
    assert selector.summary["seen"] == EPOCH  # decided together, when the first version came
    before = selector.accepted
    for pair, label in stream[EPOCH:]:
        model.learn_one(pair, label)
    assert selector.summary["seen"] == len(stream)
    learned: naive_bayes.MultinomialNB = model["MultinomialNB"]
    assert sum(learned.class_counts.values()) == selector.accepted - before
    room = ahead(SelectionParameters(rate=0.05), len(stream))
    assert 0.8 * 0.05 * len(stream) <= selector.accepted <= 0.05 * len(stream) + room
    share = Counter(package for _, package in stream)[DOMAIN] / len(stream)
    assert learned.class_counts[DOMAIN] / (selector.accepted - before) > 4 * share
    assert model.predict_one({"en": "Change the milestone of the ticket", "fr": ""}) == DOMAIN
