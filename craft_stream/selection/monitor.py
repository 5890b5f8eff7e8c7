"""Drift of the stream as the selector sees it, by river's ADWIN (Bifet and Gavalda 2007).

Signals are means over 1,024 pairs, so a detector sees hundreds of numbers a million pairs and costs nothing. They decide
nothing: a drift is a metric and a line in the log, for a person to look at.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.selection.decisions import Decisions

CHUNK = 1024
SIGNALS = ("domain", "clean", "accepted")


@cache
def _adwin() -> Any:
    """River's class, from its file: `river.drift` loads scipy.stats beside it, 1.2 s of CPU before the first assignment."""
    import river

    spec = PathFinder.find_spec("adwin", [f"{folder}/drift" for folder in river.__path__])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        with suppress(ImportError):  # it leans on its package by now
            spec.loader.exec_module(module)
            return module.ADWIN
    from river.drift import ADWIN

    return ADWIN


class DriftMonitor:
    """Watches the decisions of one partition.

    Signals: `domain`, mean standardised domain score; `clean`, share of the pairs that passed the gate whose P(clean) is
    above a half; `accepted`, share accepted.
    """

    def __init__(self) -> None:
        self._detectors = {name: _adwin()(clock=1) for name in SIGNALS}
        self._sums = np.zeros(5)

    def observe(self, decisions: Decisions) -> list[str]:
        """Take decisions in; the signals that have drifted with them, from `SIGNALS`."""
        drifted = []
        for start in range(0, len(decisions), CHUNK):
            self._sums += _sums(decisions, start, start + CHUNK)
            if self._sums[0] >= CHUNK:
                drifted += self._update()
        return drifted

    def _update(self) -> list[str]:
        pairs, domain, gated, clean, accepted = self._sums
        self._sums = np.zeros(5)
        means = {
            "domain": domain / pairs,
            "clean": clean / gated if gated else None,
            "accepted": accepted / pairs,
        }
        drifted = []
        for name, mean in means.items():
            if mean is None:
                continue
            detector = self._detectors[name]
            detector.update(float(mean))
            if detector.drift_detected:
                drifted.append(name)
        return drifted


def _sums(decisions: Decisions, start: int, stop: int) -> NDArray[np.float64]:
    quality = decisions.quality[start:stop]
    gated = ~np.isnan(quality)
    domain = decisions.domain[start:stop].astype(np.float64)
    return np.array(
        [
            len(domain),
            domain.sum(),
            gated.sum(),
            (quality[gated] > np.log(0.5)).sum(),
            decisions.accepted[start:stop].sum(),
        ]
    )
