"""Signals: what others have said of a pair, weighed beside the quality classifier's features.

A signal j that is known adds to the log-odds of P(clean)

    a_j + b_j q + c_j q^2 / 4,     q = (s - mean_j) / deviation_j, clipped to [-4, 4],

how much likelier its value is for clean pairs than for others (`learning.signals`). One that is not known adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.text.columns import Columns

LIMIT = 4.0


@dataclass(frozen=True, slots=True)
class SignalModel:
    """Weights of signals.

    Attributes:
        names: of S signals; pairs that do not have them cannot be scored.
        mean, deviation: float32 [S].
        weights: float32 [S, 3], a, b and c; zeros where a signal tells nothing.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def none(cls) -> SignalModel:
        """Of no signals."""
        empty = np.zeros(0, np.float32)
        return cls((), empty, empty, np.zeros((0, 3), np.float32))

    def of_one(self, known: Mapping[str, float]) -> Columns:
        """The signals of a single pair of which some are known."""
        return Columns(self.names, np.array([[known.get(name, np.nan) for name in self.names]], np.float32))

    def evidence(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """What signals [n, S] add to the log-odds, float64 [n]."""
        out = np.zeros(len(values))
        _evidence(values, self.mean, self.deviation, self.weights, out)
        return out


@numba.njit(cache=True, nogil=True)
def _evidence(
    values: NDArray[np.float32],
    mean: NDArray[np.float32],
    deviation: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    for n in range(len(values)):
        for j in range(values.shape[1]):
            if np.isnan(values[n, j]):
                continue
            q = (np.float64(values[n, j]) - mean[j]) / deviation[j]
            q = min(max(q, -LIMIT), LIMIT)
            out[n] += weights[j, 0] + weights[j, 1] * q + weights[j, 2] * q * q * 0.25
