"""Decaying histograms of scores: the distribution of the last so many pairs, in bounded memory.

A histogram rather than a window of the scores themselves: 16 KB whatever the budget, and a Ledger that travels in every
transaction. Thresholds are interpolated inside a bin of 1/32, and the pacing corrects what that leaves.

Masses are multiples of 1/256 of a pair, so sums of them are exact in any order, and what changed is a small whole number:
a transaction of 1,000 pairs changes some 600 bins, which take 1 kB to write and took 7 as floating-point numbers.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

LOWEST = -16.0
WIDTH = 1 / 32
BINS = 2048
UNITS = 256  # of mass in a pair


@numba.njit(cache=True, nogil=True)
def _place(score: np.float32) -> np.int64:
    place = (np.float64(score) - LOWEST) / WIDTH
    return np.int64(min(max(place, 0.0), BINS - 1.0))


@numba.njit(cache=True, nogil=True)
def add(histogram: NDArray[np.float64], scores: NDArray[np.float32], mass: float) -> None:
    """Add `mass` at each score, one after the other, so that the sums do not depend on how a log is cut into batches."""
    for i in range(len(scores)):
        histogram[_place(scores[i])] += mass


@numba.njit(cache=True, nogil=True)
def add_masses(
    histogram: NDArray[np.float64], scores: NDArray[np.float32], masses: NDArray[np.float64]
) -> None:
    """Add to each score its mass."""
    for i in range(len(scores)):
        histogram[_place(scores[i])] += masses[i]


def decay(histogram: NDArray[np.float64], keep: float) -> None:
    """Multiply by `keep` and round down to units, so that what is old ends; 0.1 pairs of a bin are lost by it."""
    histogram[:] = np.floor(histogram * (keep * UNITS)) / UNITS


def round_to_units(histogram: NDArray[np.float64]) -> None:
    """Round to units."""
    histogram[:] = np.rint(histogram * UNITS) / UNITS


@numba.njit(cache=True, nogil=True)
def upper_quantile(histogram: NDArray[np.float64], mass: float) -> float:
    """The score above which `mass` lies; minus infinity if there is no more than that, infinity if mass is not positive."""
    if mass <= 0:
        return np.inf
    above = 0.0
    for k in range(BINS - 1, -1, -1):
        if above + histogram[k] > mass:
            inside = (mass - above) / histogram[k]
            return float(LOWEST + (k + 1 - inside) * WIDTH)
        above += histogram[k]
    return -np.inf
