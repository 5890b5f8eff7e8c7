"""Histograms of scores: where a score counts, what is forgotten, and the quantile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.selection import histogram
from craft_stream.selection.histogram import BINS, LOWEST, UNITS, WIDTH


def counted(*scores: float, mass: float = 1.0) -> np.ndarray:
    counts = np.zeros(BINS)
    histogram.add(counts, np.array(scores, np.float32), mass)
    return counts


@pytest.mark.parametrize(
    ("score", "place"),
    [(LOWEST, 0), (LOWEST - 5, 0), (LOWEST + WIDTH, 1), (LOWEST + 1.5 * WIDTH, 1), (0.0, 512),
     (LOWEST + BINS * WIDTH, BINS - 1), (LOWEST + (BINS - 0.5) * WIDTH, BINS - 1), (1e9, BINS - 1)],
)  # fmt: skip
def test_a_score_counts_in_its_bin(score: float, place: int) -> None:
    """Bins are 1/32 wide from -16 on; what is beyond either end counts in the last one there."""
    counts = counted(score, score, mass=0.25)
    assert counts[place] == counts.sum() == 0.5


def test_what_is_kept_is_in_units() -> None:
    """Decay multiplies and rounds down, so that what is old ends; rounding goes to the nearest of 1/256."""
    counts = np.array([1.0, 3 / UNITS, 1 / UNITS, 0.0])
    histogram.decay(counts, 0.75)
    assert counts.tolist() == [0.75, 2 / UNITS, 0, 0]
    rounded = np.array([0.4, 0.6, 1.5, -0.4]) / UNITS + 1
    histogram.round_to_units(rounded)
    assert rounded.tolist() == [1, 1 + 1 / UNITS, 1 + 2 / UNITS, 1]


def test_the_quantile_is_interpolated_in_its_bin() -> None:
    """Mass is counted from above; at a border nothing of the next bin is taken, and no mass is infinity."""
    counts = counted(0.0, 0.0, 1.0, 1.0)
    assert histogram.upper_quantile(counts, 1.0) == 1.0 + 0.5 * WIDTH
    assert histogram.upper_quantile(counts, 0.5) == 1.0 + 0.75 * WIDTH
    assert histogram.upper_quantile(counts, 2.0) == 0.0 + WIDTH
    assert histogram.upper_quantile(counts, 3.0) == 0.5 * WIDTH
    assert histogram.upper_quantile(counts, 4.0) == -np.inf
    assert histogram.upper_quantile(counts, 0.0) == histogram.upper_quantile(counts, -1.0) == np.inf
    assert histogram.upper_quantile(counted(LOWEST, LOWEST), 1.0) == LOWEST + WIDTH / 2
    assert histogram.upper_quantile(np.zeros(BINS), 1.0) == -np.inf


@given(st.lists(st.floats(-20, 60, allow_nan=False), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_above_the_quantile_lies_the_mass(scores: list[float], share: float) -> None:
    """But for what falls into one bin."""
    values = np.array(scores, np.float32)
    quantile = histogram.upper_quantile(counted(*scores), share * len(scores))
    clipped = np.clip(values, LOWEST, LOWEST + (BINS - 0.5) * WIDTH)
    assert (clipped > quantile + WIDTH).sum() <= share * len(scores) + 1e-6
    assert (clipped >= quantile - WIDTH).sum() >= share * len(scores) - 1e-6
