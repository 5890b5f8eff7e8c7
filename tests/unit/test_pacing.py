"""Pacing: what clusters and budgets are held to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.parameters import SelectionParameters
from craft_stream.selection.pacing import burst, duals

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
    """Duals grow with what a cluster lacks, and reach their bounds of 8 and -8."""
    parameters = SelectionParameters(relaxation=0.5, rate=0.01)
    found = duals(parameters, np.full(4, 0.25), np.array([0.0, 120.0, 520.0, 5000.0]), 1000.0)
    assert found[0] == 8
    assert 0 < found[1] < 8
    assert -8 < found[2] < 0
    assert found[3] == -8


@pytest.mark.parametrize(("rate", "pairs"), [(0.5, 50), (0.001, 5), (0.0, 1)])
def test_a_small_budget_has_a_small_burst(rate: float, pairs: float) -> None:
    """The burst is at most a quarter of what a horizon gives, and at least one pair."""
    assert burst(SelectionParameters(rate=rate)) == pairs
