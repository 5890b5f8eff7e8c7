"""Drift detection on the signals of decisions."""

from __future__ import annotations

import numpy as np

from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.monitor import DriftMonitor


def decisions(rng: np.random.Generator, size: int, domain: float, accepted: float) -> Decisions:
    reason = np.where(rng.random(size) < accepted, Reason.ACCEPTED, Reason.OFF_DOMAIN).astype(np.uint8)
    single = rng.normal(domain, 1, size).astype(np.float32)
    return Decisions.of(np.arange(size), reason=reason, score=single, domain=single, quality=np.nan)


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


def chunk(size: int, accepted: int, clean: int, gated: int, domain: float) -> Decisions:
    """So many pairs, of which the first ones passed the gate, and of these the first are clean."""
    reason = np.full(size, Reason.OFF_DOMAIN, np.uint8)
    reason[:accepted] = Reason.ACCEPTED
    quality = np.full(size, np.nan, np.float32)
    quality[:gated] = np.log(0.5)
    quality[:clean] = np.log(0.51)
    return Decisions.of(np.arange(size), reason=reason, score=domain, domain=domain, quality=quality)


def test_signals_are_means_over_a_thousand_pairs() -> None:
    """Of domain scores and acceptances over all, of P(clean) above a half over those that passed the gate, if any did."""
    monitor = DriftMonitor()
    monitor.observe(chunk(1000, 100, 30, 300, 2.0))
    widths = [detector.width for detector in monitor._detectors.values()]
    assert widths == [0, 0, 0]
    monitor.observe(chunk(24, 0, 0, 0, 4.0))
    found = {name: (detector.width, detector.estimation) for name, detector in monitor._detectors.items()}
    assert found == {
        "domain": (1, (2000 + 96) / 1024), "clean": (1, 30 / 300), "accepted": (1, 100 / 1024),
    }  # fmt: skip
    monitor.observe(chunk(3000, 0, 0, 0, 0.0))
    assert [detector.width for detector in monitor._detectors.values()] == [3, 1, 3]
    monitor.observe(chunk(24 + 48, 0, 0, 0, 0.0))
    assert [detector.width for detector in monitor._detectors.values()] == [4, 1, 4]


def test_a_shift_of_quality_is_told_from_one_of_the_gate() -> None:
    """Half of those that pass being clean in place of most is `clean`; fewer that pass is not."""
    monitor = DriftMonitor()
    for _ in range(60):
        assert monitor.observe(chunk(1024, 50, 270, 300, 0.0)) == []
    for _ in range(60):
        assert monitor.observe(chunk(1024, 50, 90, 100, 0.0)) == []
    assert {name for _ in range(60) for name in monitor.observe(chunk(1024, 50, 50, 100, 0.0))} == {"clean"}
