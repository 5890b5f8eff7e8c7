"""How well what was accepted matches the target, over all partitions that this process holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.observe.metrics import Metrics


class Match:
    """The ledgers' summaries, by partition, and what follows from them together. Not locked: its owner is."""

    def __init__(self) -> None:
        self._summaries: dict[int, Mapping[str, Any]] = {}

    def update(self, partition: int, summary: Mapping[str, Any]) -> int:
        """Take a partition's new summary; the detections of drift since its last one."""
        before = self._summaries.get(partition)
        self._summaries[partition] = summary
        now = int(summary.get("drift_detections", 0))
        return max(0, now - int(before.get("drift_detections", 0))) if before is not None else 0

    def forget(self, partition: int) -> None:
        """The partition is someone else's now."""
        self._summaries.pop(partition, None)

    def partition(self, partition: int) -> dict[str, Any]:
        """A partition's counts, for the status page."""
        summary = self._summaries.get(partition, {})
        return {
            key: summary[key] for key in ("next_offset", "seen", "accepted", "by_reason") if key in summary
        }

    def certificate(self) -> dict[str, Any]:
        """Counts, divergence and its bound, both distributions over the clusters; empty before a commit."""
        shares, accepted = self._target_shares(), self._accepted_by_cluster()
        seen, taken = self._total("seen"), self._total("accepted")
        if not seen:
            return {}
        result: dict[str, Any] = {
            "seen": seen,
            "accepted": taken,
            "realised_rate": taken / seen,
            "embedded": self._total("embedded") / seen,
            "unspendable": self._mean("unspendable"),
        }
        if shares is not None and len(shares) == len(accepted) and accepted.sum():
            result |= {
                "divergence_nats": divergence(shares, accepted),
                "divergence_bound_nats": self._mean("divergence_bound"),
                "target_shares": shares.tolist(),
                "accepted_by_cluster": accepted.astype(int).tolist(),
            }
        return result

    def export(self, metrics: Metrics) -> None:
        """Set the gauges of the distribution match."""
        certificate = self.certificate()
        if not certificate:
            return
        metrics.budget_realised.set(certificate["realised_rate"])
        metrics.embedded.set(certificate["embedded"])
        metrics.budget_unspendable.set(certificate["unspendable"])
        if "divergence_nats" in certificate:
            metrics.divergence.set(certificate["divergence_nats"])
            metrics.divergence_bound.set(certificate["divergence_bound_nats"])
            for cluster, share in enumerate(certificate["target_shares"]):
                metrics.cluster_target_share.labels(cluster).set(share)
                metrics.cluster_accepted.labels(cluster).set(certificate["accepted_by_cluster"][cluster])

    def _total(self, key: str) -> int:
        return int(sum(summary.get(key, 0) for summary in self._summaries.values()))

    def _mean(self, key: str) -> float:
        values = [float(summary[key]) for summary in self._summaries.values() if key in summary]
        return sum(values) / len(values) if values else 0.0

    def _target_shares(self) -> NDArray[np.float64] | None:
        """Of the newest model among the partitions; they differ only while a version is being taken over."""
        known = [s for s in self._summaries.values() if len(s.get("target_shares", ()))]
        if not known:
            return None
        newest = max(known, key=lambda summary: int(summary.get("model_version", 0)))
        return np.asarray(newest["target_shares"], np.float64)

    def _accepted_by_cluster(self) -> NDArray[np.float64]:
        counts = [np.asarray(s.get("accepted_by_cluster", ()), np.float64) for s in self._summaries.values()]
        total = np.zeros(max((len(c) for c in counts), default=0))
        for count in counts:
            total[: len(count)] += count
        return total


def divergence(target: NDArray[np.float64], accepted: NDArray[np.float64]) -> float:
    """KL(target || accepted) in nats; half a pair is added to each cluster, so that none is infinite."""
    p = target / target.sum()
    q = (accepted + 0.5) / (accepted + 0.5).sum()
    held = p > 0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))
