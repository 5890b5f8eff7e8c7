"""How well what was accepted matches the target, over all partitions that this process holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from craft_stream.observe.families import Families
from craft_stream.selection.divergence import divergence

# Spending falls with the domain's share of the stream, and jitters by a few percent on a steady one.
DRIFT: Final = 0.9


class Match:
    """The ledgers' summaries, by partition, and what follows from them together. Not locked: its owner is."""

    def __init__(self) -> None:
        self._summaries: dict[int, Mapping[str, Any]] = {}

    def update(self, partition: int, summary: Mapping[str, Any]) -> bool:
        """Take a partition's new summary; whether the stream came to hold less of the domain with it."""
        before = self._summaries.get(partition)
        self._summaries[partition] = summary
        return before is not None and summary["spending"] < DRIFT <= before["spending"]

    def forget(self, partition: int) -> None:
        """The partition is someone else's now."""
        self._summaries.pop(partition, None)

    def partition(self, partition: int) -> dict[str, Any]:
        """What the partition's ledger says but for its clusters, for the status page."""
        summary = self._summaries.get(partition, {})
        return {key: value for key, value in summary.items() if not isinstance(value, list)}

    def certificate(self) -> dict[str, Any]:
        """Counts, divergence and its bound, both distributions over the clusters; empty before a commit."""
        summaries = list(self._summaries.values())
        seen = sum(summary["seen"] for summary in summaries)
        if not seen:
            return {}
        accepted = sum(summary["accepted"] for summary in summaries)
        spending = sum(summary["spending"] for summary in summaries) / len(summaries)
        result: dict[str, Any] = {
            "seen": seen,
            "accepted": accepted,
            "realised_rate": accepted / seen,
            "unspendable": max(0.0, 1.0 - spending),
        }
        shares = [share for s in summaries if (share := s.get("domain_share")) is not None]
        if shares:
            result["domain_share"] = sum(shares) / len(shares)
        # A new clustering renumbers the clusters; partitions take it over within an epoch of one another.
        newest = max(summaries, key=lambda summary: int(summary["clustering"]))
        alike = [s["accepted_by_cluster"] for s in summaries if s["clustering"] == newest["clustering"]]
        by_cluster = np.asarray(alike, np.float64).sum(axis=0)
        if by_cluster.sum():
            result |= {
                "divergence_nats": divergence(np.asarray(newest["target_shares"]), by_cluster),
                "divergence_bound_nats": newest["kl_bound"],
                "target_shares": newest["target_shares"],
                "accepted_by_cluster": by_cluster.astype(int).tolist(),
            }
        return result

    def export(self, families: Families) -> None:
        """Set the gauges of the distribution match."""
        certificate = self.certificate()
        if not certificate:
            return
        families.record("craft_budget_realised_ratio", certificate["realised_rate"])
        families.record("craft_budget_unspendable_ratio", certificate["unspendable"])
        if "divergence_nats" in certificate:
            families.record("craft_divergence_nats", certificate["divergence_nats"])
            families.record("craft_divergence_bound_nats", certificate["divergence_bound_nats"])
            for cluster, share in enumerate(certificate["target_shares"]):
                families.record("craft_cluster_target_share_ratio", share, cluster)
                families.record(
                    "craft_cluster_accepted_pairs", certificate["accepted_by_cluster"][cluster], cluster
                )
