"""Drift detection on the signals of decisions."""

from __future__ import annotations

import numpy as np

from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.monitor import DriftMonitor


def decisions(rng: np.random.Generator, size: int, domain: float, accepted: float) -> Decisions:
    reason = np.where(rng.random(size) < accepted, Reason.ACCEPTED, Reason.OFF_DOMAIN).astype(np.uint8)
    single = rng.normal(domain, 1, size).astype(np.float32)
    nothing = np.full(size, np.nan, np.float32)
    whole = np.arange(size)
    return Decisions(whole, reason, single, single, whole.astype(np.int16), single, nothing, single, whole)


def test_a_steady_stream_does_not_drift() -> None:
    """200,000 pairs of one distribution raise nothing."""
    rng, monitor = np.random.default_rng(0), DriftMonitor()
    assert [name for _ in range(200) for name in monitor.observe(decisions(rng, 1000, 0.0, 0.05))] == []


def test_a_shift_is_noticed_in_its_own_signal() -> None:
    """A shift of the domain score raises `domain`, one of the acceptance raises `accepted`, within 100,000 pairs."""
    rng, monitor = np.random.default_rng(1), DriftMonitor()
    for _ in range(100):
        monitor.observe(decisions(rng, 1000, 0.0, 0.05))
    found = {name for _ in range(100) for name in monitor.observe(decisions(rng, 1000, 1.0, 0.05))}
    assert found == {"domain"}
    found = {name for _ in range(100) for name in monitor.observe(decisions(rng, 1000, 1.0, 0.4))}
    assert found == {"accepted"}
