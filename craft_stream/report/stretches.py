"""A stream cut into some hundred stretches, however long it turns out to be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Reason

STRETCHES = 240
_FIRST_WIDTH = 64


class Stretches:
    """Counts by stretch.

    Attributes:
        width: records of a stretch; doubles when the stream outgrows them.
        reasons: int64 [stretches, reasons], decisions.
        domain: float64 [stretches], sums of domain scores.
        known: int64 [stretches], pairs whose domain score is known.
    """

    def __init__(self) -> None:
        self.width = _FIRST_WIDTH
        self.reasons = np.zeros((STRETCHES, len(Reason)), np.int64)
        self.domain = np.zeros(STRETCHES)
        self.known = np.zeros(STRETCHES, np.int64)

    def add(
        self, positions: NDArray[np.int64], reason: NDArray[np.uint8], domain: NDArray[np.float32]
    ) -> None:
        """Add pairs, in any order."""
        if not len(positions):
            return
        while positions.max() >= self.width * STRETCHES:
            self._double()
        place = positions // self.width
        kinds = len(Reason)
        self.reasons += np.bincount(place * kinds + reason, minlength=STRETCHES * kinds).reshape(-1, kinds)
        known = np.isfinite(domain)
        self.domain += np.bincount(place[known], domain[known], STRETCHES)
        self.known += np.bincount(place[known], minlength=STRETCHES)

    def _double(self) -> None:
        self.width *= 2
        half = STRETCHES // 2
        for values in (self.reasons, self.domain, self.known):
            values[:half] = values.reshape(half, 2, -1).sum(axis=1).reshape(values[:half].shape)
            values[half:] = 0

    @property
    def used(self) -> int:
        """Stretches up to the last that has a pair."""
        return int(np.flatnonzero(self.reasons.sum(axis=1)).max(initial=-1)) + 1
