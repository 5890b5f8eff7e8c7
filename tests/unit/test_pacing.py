"""Pacing: what clusters and budgets are held to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.parameters import SelectionParameters
from craft_stream.selection.pacing import (
    ahead,
    beyond_ordinary,
    duals,
    share_horizon,
    share_of,
    spending,
    tail_forgetting,
    tail_horizon,
    wanted_share,
)

relaxations = st.floats(0, 1)
counts = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1e4)), min_size=1, max_size=20)


@given(relaxations, counts, st.floats(0, 1e4))
def test_a_cluster_is_helped_below_and_hindered_above_its_bounds(
    relaxation: float, clusters: list[tuple[float, float]], allowance: float
) -> None:
    """Between 1 - lambda and 1 / (1 - lambda) times its due a cluster has no dual; below it gains, above it loses."""
    shares = np.array([share for share, _ in clusters])
    shares /= shares.sum()
    accepted = np.array([count for _, count in clusters])
    found = duals(SelectionParameters(relaxation=relaxation), shares, accepted, allowance)
    firm = 1 - relaxation
    low = firm * shares * allowance
    high = shares * allowance / firm if firm else np.full(len(shares), np.inf)
    assert (found[accepted < low] >= 0).all()
    assert (found[accepted > high] <= 0).all()
    assert (found[(accepted >= low) & (accepted <= high)] == 0).all()
    assert np.abs(found).max() <= 8


def test_the_further_from_its_bound_the_stronger() -> None:
    """Duals are 8 for each unit of what a cluster lacks of its bound, in units of what a window brings it, up to 8 and -8."""
    parameters = SelectionParameters(relaxation=0.5, rate=0.01, window=50_000)
    found = duals(parameters, np.full(5, 0.2), np.array([0.0, 90.0, 100.0, 401.0, 5000.0]), 1000.0)
    # Bounds 100 and 400; a window brings half of and twice 100.
    assert found == pytest.approx([8, 8 * 10 / 51, 0, -8 * 1 / 201, -8])
    assert found.dtype == np.float32
    assert duals(
        replace(parameters, relaxation=1.0), np.full(2, 0.5), np.array([0.0, 9.0]), 100.0
    ).tolist() == [0, 0]
    firm = duals(replace(parameters, relaxation=0.0), np.array([0.5, 0.5]), np.array([40.0, 60.0]), 100.0)
    assert firm == pytest.approx([8 * 10 / 251, -8 * 10 / 251])


@pytest.mark.parametrize(
    ("rate", "seen", "pairs"),
    [
        (0.5, 10_000, 5000),
        (0.001, 0, 2.048),
        (0.0, 10_000, 0),
        (0.0001, 0, 1),
        (0.5, 10**9, 10_000),
        (0.5, 2048, 1024),
    ],
)
def test_the_budget_runs_ahead_by_a_share_of_what_it_earned(rate: float, seen: int, pairs: float) -> None:
    """Half of what twice as many pairs earn as were seen, from 4,096 up to the horizon; one pair at least if any is allowed."""
    assert ahead(SelectionParameters(rate=rate, horizon=40_000), seen) == pytest.approx(pairs)
    assert ahead(SelectionParameters(rate=rate, ahead=0.0), seen) == (1 if rate else 0)


@pytest.mark.parametrize(
    ("rate", "pairs"), [(0.0, 65_536), (0.001, 65_536), (0.0025, 40_000), (0.01, 16_384), (1.0, 16_384)]
)
def test_the_share_like_the_target_is_estimated_over_a_hundred_acceptances(rate: float, pairs: int) -> None:
    """Within 16,384 and 65,536 pairs; the best share is half forgotten in twenty times as many."""
    assert tail_horizon(rate) == pairs
    assert tail_forgetting(rate) ** (20 * pairs) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("abstain", "share", "largest", "part"),
    [(True, 0.1, 0.4, 0.5), (True, 0.2, 0.4, 1), (True, 0.3, 0.4, 1), (True, 0.0, 0.4, 0), (True, 0.1, 0, 1),
     (False, 0.1, 0.4, 1)],
)  # fmt: skip
def test_less_is_spent_below_half_of_the_best_share(
    abstain: bool, share: float, largest: float, part: float
) -> None:
    """In proportion to it; all where the best is not known, or where the part is turned off."""
    assert spending(SelectionParameters(abstain=abstain), share, largest) == part


@pytest.mark.parametrize(
    ("credit", "seen", "share"),
    [(0.0, 0, 0.05), (0.0, 10**6, 0.05), (100.0, 10**6, 0.06), (-100.0, 10**6, 0.04), (100.0, 2500, 0.06),
     (102.4, 0, 0.075), (102.4, 1024, 0.075), (102.4, 2048, 0.0625), (-600.0, 20_000, 0.0125), (1e6, 10**6, 0.1)],
)  # fmt: skip
def test_a_debt_is_paid_back_over_the_horizon(credit: float, seen: int, share: float) -> None:
    """The horizon is four times what was seen, from 4,096 pairs up to its setting; a quarter to twice the rate."""
    parameters = SelectionParameters(rate=0.05, horizon=10_000)
    assert wanted_share(parameters, credit, seen) == pytest.approx(share)
    assert wanted_share(SelectionParameters(rate=0.8), 1e9, seen) == 1.0


@pytest.mark.parametrize(
    ("part", "whole", "share"), [(0, 0, 1.0), (84, 184, 0.5), (0, 48, 0.25), (0, 1e6, 0.01), (1e6, 1e6, 1.0)]
)
def test_a_share_begins_from_all(part: float, whole: float, share: float) -> None:
    """As if 16 pairs had come before, all of them a part; a hundredth at least, so that it can be divided by."""
    assert share_of(part, whole) == pytest.approx(share)


@pytest.mark.parametrize(("share", "corrected"), [(1.0, 1.0), (0.86, 1.0), (0.5, 1 / 1.82), (0.25, 1 / 3.82)])
def test_ordinary_duplicates_are_not_corrected_for(share: float, corrected: float) -> None:
    """Up to .18 pairs that cannot be accepted for each that can change nothing; of more, only what is beyond."""
    assert beyond_ordinary(share) == pytest.approx(corrected)


@pytest.mark.parametrize(("seen", "pairs"), [(0, 4096), (40_000, 10_000), (10**7, 25_000)])
def test_shares_are_of_a_quarter_of_what_was_seen(seen: int, pairs: int) -> None:
    """And of a quarter of the horizon at most."""
    assert share_horizon(SelectionParameters(horizon=100_000), seen) == pairs
