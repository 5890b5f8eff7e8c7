"""The Ledger: what one partition has decided, and all that its next decision depends on beside the Model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.scoring.embedding import NO_CLUSTER
from craft_stream.scoring.model import Model
from craft_stream.selection import histogram
from craft_stream.selection.decisions import Reason
from craft_stream.selection.pacing import burst, duals, spending, tail_forgetting, tail_horizon, wanted_share
from craft_stream.selection.state import LedgerState

EPOCH = 1024
# Pairs that a Model's calibration counts for in a ledger that has seen nothing.
_PRIOR_PAIRS = 8192.0
# Pairs of the stream that a Model must be calibrated on before its share of pairs like the target counts.
_LEAST_CALIBRATION = 512


class Ledger(LedgerState):
    """State of one partition, and what happens to it."""

    @property
    def seen(self) -> int:
        """Pairs decided."""
        return self._get("seen")

    @property
    def accepted(self) -> int:
        """Pairs accepted."""
        return self._get("accepted")

    @property
    def epoch(self) -> int:
        """Number of the epoch in force; -1 before the first."""
        return self._get("epoch")

    @property
    def gate(self) -> float:
        """Domain score plus dual that a candidate needs in this epoch."""
        return self._float("gate")

    @property
    def threshold(self) -> float:
        """Score that an accepted pair needs in this epoch."""
        return self._float("threshold")

    @property
    def unspendable(self) -> float:
        """Pairs of the budget that were not spent because the stream did not hold them."""
        return self._float("unspendable")

    @property
    def spending(self) -> float:
        """Part of the budget that the stream can bear in this epoch, between 0 and 1."""
        return self._float("spending")

    @property
    def domain_share(self) -> float | None:
        """pi: share of the stream, lately, that looks like the target; None while it is not known.

        Pairs above the target's own upper fifth, times five. Of streams without the domain some .15 % look so.
        """
        mass = self._float("tail_mass")
        return self._float("tail") / mass / 0.2 if mass > 0 else None

    def allowance(self) -> float:
        """A(t): pairs that may have been accepted by now, in expectation."""
        return float(self._allowances(np.zeros(1, np.int64))[0])

    def room(self, arrivals: int) -> int:
        """Pairs that may be accepted when `arrivals` more have come, the burst included."""
        return int(self.rooms(np.array([arrivals]))[0])

    def rooms(self, arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for several numbers of arrivals, int64 [n]."""
        limits = np.floor(self._allowances(arrivals) + burst(self.parameters.selection))
        return limits.astype(np.int64) - np.int64(self.accepted)

    def _allowances(self, arrivals: NDArray[np.int64]) -> NDArray[np.float64]:
        each = self.parameters.selection.rate * self._float("spending")
        return self._float("allowance") + each * (self._get("epoch_seen") + arrivals).astype(np.float64)

    # What happens to it, in log order.

    def begin_epoch(self, epoch: int, model: Model) -> None:
        """Enter an epoch with `model` in force: thresholds and duals are fixed from what came before."""
        selection = self.parameters.selection
        allowance = self.allowance()
        shortfall = selection.rate * (1 - self._float("spending")) * self._get("epoch_seen")
        # A debt beyond two windows is given up: those pairs never came, and paying it back later would buy junk.
        most = self.accepted + 2 * selection.rate * selection.window + selection.burst
        self._floats_at("unspendable", self.unspendable + shortfall + max(allowance - most, 0.0))
        self._floats_at("allowance", min(allowance, most))
        self._set("epoch_seen", 0)
        self._set("epoch", epoch)
        self._decay()
        if self.model is None or (model.version, model.digest) != (self.model.version, self.model.digest):
            self._adopt(model)
        self._pace(model)

    def _decay(self) -> None:
        selection = self.parameters.selection
        keep = 1 - min(EPOCH / selection.window, 0.5)
        for array, mass in ((self._gate_scores, "gate_mass"), (self._scores, "score_mass")):
            histogram.decay(array, keep)
            self._floats_at(mass, self._float(mass) * keep)
        keep = 1 - min(EPOCH / tail_horizon(selection.rate), 0.5)
        self._floats_at("tail", self._float("tail") * keep)
        self._floats_at("tail_mass", self._float("tail_mass") * keep)
        forget = tail_forgetting(selection.rate) ** EPOCH
        self._floats_at("largest_share", self._float("largest_share") * forget)

    def _adopt(self, model: Model) -> None:
        """Put a Model in force: what is remembered of scores is replaced by the Model's own of the same mass."""
        selection = self.parameters.selection
        if model.clusters > self._clusters:
            raise IntegrityError(
                f"model {model.version} has {model.clusters} clusters, more than learner.clusters = {self._clusters}"
            )
        first = self.model_version == 0
        if model.clustering != self._get("clustering") or first:
            self._set("clustering", model.clustering)
            self._floats_at("clustering_allowance", self.allowance())
            self.accepted_by_cluster[:] = 0
        before = self.model
        if before is None or before.target_version != model.target_version or not _calibrated(before):
            known = _calibrated(model)
            horizon = float(tail_horizon(selection.rate)) if known else 0.0
            self._floats_at("largest_share", model.domain.tail_share if known else 0.0)
            self._floats_at("tail_mass", horizon)
            self._floats_at("tail", model.domain.tail_share * 0.2 * horizon)
        self.model = model
        self._set("model_version", model.version)
        self._set_duals(model)
        sample = model.calibration
        if not len(sample.domain):
            return
        mass = max(self._float("gate_mass"), _PRIOR_PAIRS)
        each = mass / len(sample.domain)
        weights = sample.weight
        if selection.method == "craft":  # it looks at embeddings alone
            sample = sample.embedded
            gate_weights = weights = sample.weight
        else:
            gate_weights = np.ones_like(weights)
        gate_scores = self.gate_scores(sample.domain, sample.distance, sample.cluster, model)
        self._gate_scores[:] = 0
        _add_weighted(self._gate_scores, gate_scores, gate_weights, each)
        histogram.settle(self._gate_scores)
        self._floats_at("gate_mass", mass)
        self._set_gate()
        passed = (gate_scores >= self.gate) & (sample.quality >= selection.quality_floor) & (weights > 0)
        if selection.method == "craft":
            passed[:] = True
        scores = self.scores(gate_scores[passed], sample.quality[passed], sample.cluster[passed], model)
        self._scores[:] = 0
        _add_weighted(self._scores, scores, weights[passed], each)
        histogram.settle(self._scores)
        self._floats_at("score_mass", mass)

    def gate_scores(
        self,
        domain: NDArray[np.float32],
        distance: NDArray[np.float32],
        cluster: NDArray[np.int16],
        model: Model,
    ) -> NDArray[np.float32]:
        """What the gate looks at, float32 [n]: the domain score (method "craft": the distance) plus the cluster's dual.

        With a cascade the domain score alone: the cluster is not known before the gate.
        """
        selection = self.parameters.selection
        base = (
            np.float32(selection.domain_weight) * domain
            if selection.method == "craft-plus"
            else model.calibration.standardised(distance, cluster, model.clusters)
        )
        return base + self.help(cluster) if self._quota_at_gate(model) else base

    def scores(
        self,
        gate_scores: NDArray[np.float32],
        quality: NDArray[np.float32],
        cluster: NDArray[np.int16],
        model: Model,
    ) -> NDArray[np.float32]:
        """What is compared with the threshold, float32 [n]."""
        selection = self.parameters.selection
        if selection.method == "craft":
            return gate_scores
        base = gate_scores if self._quota_at_gate(model) else gate_scores + self.help(cluster)
        return base + np.float32(selection.quality_weight) * quality

    def help(self, cluster: NDArray[np.int16]) -> NDArray[np.float32]:
        """Nu of the clusters, float32 [n]; 0 for `NO_CLUSTER`."""
        return np.where(cluster == NO_CLUSTER, np.float32(0), self.duals.astype(np.float32)[cluster])

    def _quota_at_gate(self, model: Model) -> bool:
        return not model.translation.cascade or self.parameters.selection.method == "craft"

    def _set_duals(self, model: Model) -> None:
        since = self.allowance() - self._float("clustering_allowance")
        count = model.clusters
        self.duals[:] = 0
        self.duals[:count] = duals(
            self.parameters.selection, model.shares, self.accepted_by_cluster[:count], since
        )

    def _set_gate(self) -> None:
        selection = self.parameters.selection
        gated = selection.method == "craft-plus" and selection.domain_weight > 0
        share = min(selection.gate * selection.rate, 1.0) if gated else 1.0
        gate = -np.inf
        if share < 1:
            gate = histogram.upper_quantile(self._gate_scores, share * self._float("gate_mass"))
        self._floats_at("gate", gate)

    def _pace(self, model: Model) -> None:
        selection = self.parameters.selection
        share = 1.0
        if self._float("tail_mass") > 0 and _calibrated(model):
            share = self._float("tail") / self._float("tail_mass") / 0.2
        largest = max(self._float("largest_share"), share) if _calibrated(model) else 0.0
        self._floats_at("largest_share", largest)
        self._floats_at("spending", spending(selection, share, self._float("largest_share")))
        self._set_duals(model)
        self._set_gate()
        wanted = wanted_share(selection, self._float("allowance") - self.accepted, self.seen)
        self._floats_at(
            "threshold", histogram.upper_quantile(self._scores, wanted * self._float("score_mass"))
        )

    def record(
        self,
        gate_scores: NDArray[np.float32],
        scores: NDArray[np.float32],
        tail: int,
        reasons: NDArray[np.uint8],
        clusters: NDArray[np.int16],
        last_offset: int,
    ) -> None:
        """Note a run of decisions inside the epoch.

        Args:
            gate_scores: float32 [n], of all pairs.
            scores: float32 [m], of those that could have been accepted.
            tail: how many look like the target by the uncorrected domain score.
            reasons: uint8 [n].
            clusters: int16 [accepted], of the accepted.
            last_offset: of the last pair.
        """
        n = len(gate_scores)
        histogram.add(self._gate_scores, gate_scores, 1.0)
        histogram.add(self._scores, scores, 1.0)
        for name, amount in (("gate_mass", n), ("score_mass", n), ("tail_mass", n), ("tail", tail)):
            self._floats_at(name, self._float(name) + amount)
        np.add.at(self.accepted_by_cluster, clusters, 1.0)
        self.reasons[:] += np.bincount(reasons, minlength=len(Reason))
        self._set("accepted", self.accepted + len(clusters))
        self._set("seen", self.seen + n)
        self._set("epoch_seen", self._get("epoch_seen") + n)
        self._set("next_offset", last_offset + 1)

    def skip(self, offset: int) -> None:
        """A record that was not decided (a dead letter): the next offset moves past it, nothing else does."""
        if offset < self.next_offset:
            raise ValueError(f"offset {offset} is before the next offset {self.next_offset}")
        self._set("next_offset", offset + 1)

    # What it says.

    def divergence(self) -> float:
        """KL(target || accepted) over the clusters, in nats, since the clustering began; infinity before the first."""
        if self.model is None:
            return float("inf")
        shares = self.model.shares
        accepted = self.accepted_by_cluster[: len(shares)]
        if not accepted.sum():
            return float("inf")
        found = (accepted / accepted.sum() + 1e-6) / (1 + 1e-6 * len(shares))
        held = shares > 0
        return float((shares[held] * np.log(shares[held] / found[held])).sum())

    def summary(self) -> dict[str, Any]:
        """What an operator wants to know, as JSON values."""
        return {
            "next_offset": self.next_offset,
            "seen": self.seen,
            "accepted": self.accepted,
            "by_reason": {reason.label: int(self.reasons[reason]) for reason in Reason},
            "accepted_by_cluster": [
                int(x) for x in self.accepted_by_cluster[: self.model.clusters if self.model else 0]
            ],
            "clustering": self.model.clustering if self.model else 0,
            "target_shares": self.model.shares.tolist() if self.model else [],
            "kl": self.divergence(),
            "kl_bound": -float(np.log1p(-min(self.parameters.selection.relaxation, 1 - 1e-9))),
            "allowance": self.allowance(),
            "spending": self.spending,
            "unspendable": self.unspendable
            + self.parameters.selection.rate * (1 - self.spending) * self._get("epoch_seen"),
            "domain_share": self.domain_share,
            "threshold": self.threshold,
            "gate": self.gate,
            "model_version": self.model_version,
            "epoch": self.epoch,
        }


def _add_weighted(
    counts: NDArray[np.float64], scores: NDArray[np.float32], weights: NDArray[np.float32], mass: float
) -> None:
    """Add `mass` times its weight at each score; there are few weights."""
    for weight in np.unique(weights):
        histogram.add(counts, scores[weights == weight], mass * float(weight))


def _calibrated(model: Model) -> bool:
    """It has seen enough of the stream to know the share of it that looks like the target.

    Before that everything looks alike: measured against such a share, an unprimed stream spent 9 % of its budget.
    """
    return len(model.calibration.domain) >= _LEAST_CALIBRATION
