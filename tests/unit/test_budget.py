"""The budget of one pass: met whatever share of the stream cannot be accepted, and never more than was promised."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy import Toy, stream, target, versions

from craft_stream.encoders import load_encoder
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.pacing import ahead
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

PAIRS, RATE = 32_768, 0.02
RULES = SelectionParameters(rate=RATE, horizon=PAIRS // 4)


@cache
def pool() -> PairBatch:
    """Pairs of a stream, and those of the target behind them."""
    return PairBatch.concatenate([stream(Toy(), PAIRS, share=0.3, seed=9).batch, target(Toy())[1]])


@settings(max_examples=8, deadline=None)
@given(unfit=st.floats(0, 0.9), copied=st.floats(0, 1), known=st.floats(0, 0.02), seed=st.integers(0, 99))
@example(unfit=0.0, copied=0.0, known=0.0, seed=0)
@example(unfit=0.75, copied=1.0, known=0.0, seed=0)
@example(unfit=0.9, copied=1.0, known=0.0, seed=0)
@example(unfit=0.9, copied=0.0, known=0.02, seed=0)
def test_the_budget_is_spent_whatever_cannot_be_accepted(
    unfit: float, copied: float, known: float, seed: int
) -> None:
    """Up to .9 of a stream may be copies or listed, and some of it the target's: .9 to 1.15 is spent in four horizons.

    After every epoch no more is accepted than the rate times the pairs so far and what may be ahead. A Model takes force
    with each horizon.
    """
    rng = np.random.default_rng(seed)
    rows, pairs = np.arange(PAIRS), pool()
    for place in np.flatnonzero(rng.random(PAIRS) < unfit * copied)[1:]:
        rows[place] = rows[rng.integers(place)]
    of_target = rng.random(PAIRS) < known
    rows[of_target] = rng.integers(PAIRS, len(pairs), int(of_target.sum()))
    listed = rng.random(PAIRS) < unfit * (1 - copied)
    run = TokenizedPairs.of(replace(pairs.take(rows), positions=np.arange(PAIRS)))
    parameters = Parameters(selection=RULES)
    ledger, selector = Ledger(parameters), Selector(parameters, load_encoder())
    for start in range(0, PAIRS, EPOCH):
        here, version = slice(start, start + EPOCH), versions()[start // RULES.horizon % 2]
        selector.decide(run.slice(start, start + EPOCH), ledger, version, listed[here])
        assert ledger.accepted <= RATE * ledger.seen + ahead(RULES, start)
    assert 0.9 <= ledger.accepted / (RATE * PAIRS) <= 1.15
