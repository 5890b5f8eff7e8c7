"""The Ledger: what one partition has decided, and all that its next decision depends on beside the Model."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.parameters import MOST_CLUSTERS, Parameters
from craft_stream.scoring.domain import TARGET_TAIL
from craft_stream.scoring.embedding import NO_CLUSTER
from craft_stream.scoring.model import Model
from craft_stream.selection import histogram
from craft_stream.selection.contexts import RunningContexts
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.divergence import divergence
from craft_stream.selection.generation import Query
from craft_stream.selection.methods import Method, known_to, method_of
from craft_stream.selection.pacing import (
    ahead,
    beyond_ordinary,
    duals,
    share_horizon,
    share_of,
    spending,
    tail_forgetting,
    tail_horizon,
    wanted_at_most,
    wanted_share,
)
from craft_stream.selection.state import LedgerState
from craft_stream.text.contexts import Contexts

EPOCH = 1024
# Pairs that a Model's calibration counts for at least in a ledger that has seen nothing; else for those that it has seen.
_PRIOR_PAIRS = 8192
# Pairs of the stream that a Model must be calibrated on before its share of pairs like the target counts.
_LEAST_CALIBRATION = 512
# What an epoch forgets of a distribution at most.
_MOST_FORGOTTEN = 0.5
# Times that a new Model's sample widens the gate, until twice the budget passes.
_WIDENINGS = 4
_TAKEN = (Reason.DUPLICATE, Reason.NEAR_DUPLICATE, Reason.IN_TARGET)


class Ledger(LedgerState):
    """State of one partition, and what happens to it.

    Attributes:
        selection: the parameters that its method knows, see `methods.known_to`.
    """

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.selection = known_to(parameters.selection)

    @property
    def method(self) -> Method:
        """With the Model in force.

        Raises:
            IntegrityError: there is none.
        """
        if self.model is None:
            raise IntegrityError("the ledger has no model in force: bind it, or begin an epoch")
        return method_of(self.selection, self.model)

    @property
    def contexts(self) -> RunningContexts:
        """Of pages and hosts, on the arrays of the state."""
        weights = (self.selection.page_weight, self.selection.host_weight)
        return RunningContexts(self.context_numbers, self.context_at_gate, self.context_behind_it, weights)

    @property
    def domain_share(self) -> float | None:
        """pi: share of the stream, lately, that looks like the target; None while it is not known.

        Pairs above the target's own upper fifth, times five. Of streams without the domain some .15 % look so.
        """
        return self.tail / self.tail_mass / TARGET_TAIL if self.tail_mass > 0 else None

    @property
    def acceptable_share(self) -> float:
        """Of the pairs that score enough, those on no list that neither the stream nor the target brought before.

        Without the others that ordinary streams hold too: where there are no more of them, 1.
        """
        return beyond_ordinary(share_of(self.unlisted, self.passed) * share_of(self.new, self.reached))

    def allowance(self) -> float:
        """A(t): pairs that may have been accepted by now, in expectation."""
        return float(self._allowances(np.zeros(1, np.int64))[0])

    def rooms(self, arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pairs that may be accepted when so many more have come, with what the budget may run ahead; int64 [n]."""
        limits = np.floor(self._allowances(arrivals) + ahead(self.selection, self.seen - self.epoch_seen))
        return limits.astype(np.int64) - np.int64(self.accepted)

    def query(self, rows: NDArray[np.int64], able: NDArray[np.bool_], duplicates_first: bool) -> Query:
        """Of pairs at `rows` behind its next offset, of which those that are not `able` find no room."""
        rooms = np.where(able, self.rooms(rows + 1), 0)
        return Query(rows, rooms, self.selection.duplicates, self.selection.near_duplicate, duplicates_first)

    def _allowances(self, arrivals: NDArray[np.int64]) -> NDArray[np.float64]:
        each = self.selection.rate * self.spending
        return self.epoch_allowance + each * (self.epoch_seen + arrivals).astype(np.float64)

    def dual(self, cluster: NDArray[np.int16]) -> NDArray[np.float32]:
        """Nu of the clusters, float32 [n]; 0 for `NO_CLUSTER`."""
        return np.where(cluster == NO_CLUSTER, np.float32(0), self.duals.astype(np.float32)[cluster])

    # What happens to it, in log order.

    def begin_epoch(self, epoch: int, model: Model, parameters: Parameters | None = None) -> None:
        """Enter an epoch with `model` in force: thresholds and duals are fixed from what came before.

        Args:
            epoch: its number.
            model: in force from here on.
            parameters: likewise; None: those that are stay so.
        """
        allowance = self.allowance()
        shortfall, before = self._shortfall, self.selection
        if parameters is not None and parameters != self.parameters:
            self._set_parameters(parameters)
            self.seen_pairs.resize(parameters.selection.seen_pairs)
        selection = self.selection
        # A credit beyond two windows is given up: those pairs never came, and spending it later would buy junk.
        most = self.accepted + 2 * selection.rate * selection.window
        self.unspendable = self.unspendable + shortfall + max(allowance - most, 0.0)
        self.epoch_allowance = min(allowance, most)
        self.epoch_seen = 0
        self.epoch = epoch
        self._forget()
        if self.model is None or (model.version, model.digest) != (self.model.version, self.model.digest):
            self._adopt(model)
        elif selection != before:
            self._expect_anew(model)
        self._pace(model)

    def _set_parameters(self, parameters: Parameters) -> None:
        super()._set_parameters(parameters)
        self.selection = known_to(parameters.selection)

    @property
    def _shortfall(self) -> float:
        """Pairs of this epoch's budget that the stream cannot bear."""
        return self.selection.rate * (1 - self.spending) * self.epoch_seen

    def _forget(self) -> None:
        keep = 1 - min(EPOCH / self.selection.window, _MOST_FORGOTTEN)
        histogram.decay(self.gate_histogram, keep)
        histogram.decay(self.score_histogram, keep)
        self.gate_mass *= keep
        self.score_mass *= keep
        self.expected_mass *= keep
        self.contexts.begin_epoch(keep)
        keep = 1 - min(EPOCH / share_horizon(self.selection, self.seen), _MOST_FORGOTTEN)
        for name in ("passed", "unlisted", "reached", "new"):
            setattr(self, name, getattr(self, name) * keep)
        keep = 1 - min(EPOCH / tail_horizon(self.selection.rate), _MOST_FORGOTTEN)
        self.tail *= keep
        self.tail_mass *= keep
        self.largest_share *= tail_forgetting(self.selection.rate) ** EPOCH

    def _adopt(self, model: Model) -> None:
        """Put a Model in force."""
        if model.clusters > MOST_CLUSTERS:
            raise IntegrityError(
                f"model {model.version} has {model.clusters} clusters, more than {MOST_CLUSTERS}"
            )
        if model.clustering != self.clustering or not self.model_version:
            self.clustering = model.clustering
            self.clustering_allowance = self.allowance()
            self.accepted_by_cluster[:] = 0
        before = self.model
        if before is None or before.target_version != model.target_version or not _calibrated(before):
            known = _calibrated(model)
            self.largest_share = 0.0  # `_pace` makes it what is known now
            self.tail_mass = float(tail_horizon(self.selection.rate)) if known else 0.0
            self.tail = model.domain.tail_share * TARGET_TAIL * self.tail_mass
        self.model = model
        self.model_version = model.version
        self.contexts.begin_version()
        self._expect_anew(model)

    def _expect_anew(self, model: Model) -> None:
        """Scores mean something else from here on: what is remembered of them is replaced by what the Model expects."""
        self._set_duals(model)
        if len(model.calibration.domain):
            prior = float(max(min(model.pairs_seen, self.selection.horizon), _PRIOR_PAIRS))
            self._expect(max(self.gate_mass, prior), len(model.calibration.domain))

    def _expect(self, mass: float, pairs: int) -> None:
        """Replace what is remembered of scores by the Model's sample of so many pairs, with that mass."""
        sample, gate_weights = self.method.expected()
        each = mass / pairs
        dual = self.dual(sample.cluster)
        gate_scores = self.method.gate_scores(sample.domain, sample.distance, sample.cluster, dual)
        _refill(self.gate_histogram, gate_scores, gate_weights.astype(np.float64), each)
        self.gate_mass = self.score_mass = self.expected_mass = mass
        fit = np.where(sample.quality >= self.selection.quality_floor, sample.weight, 0)
        self.widening = 1.0
        wanted = min(wanted_at_most(self.selection), self.selection.gate * self.selection.rate) * pairs
        for left in reversed(range(_WIDENINGS)):
            self._set_gate()
            passing = self.contexts.passing(gate_scores, self.gate) * fit
            acceptable = float(passing.sum()) * self.acceptable_share
            enough = wanted / max(acceptable, 1.0)
            if enough <= 1 or self.gate == -np.inf or not left:
                break
            self.widening *= enough
        able = passing > 0
        scores = self.method.scores(gate_scores, sample.quality, dual)
        _refill(self.score_histogram, scores[able], passing[able], each)

    def _set_duals(self, model: Model) -> None:
        since = self.allowance() - self.clustering_allowance
        accepted = self.accepted_by_cluster[: model.clusters]
        self.duals[:] = 0
        self.duals[: model.clusters] = duals(self.selection, model.shares, accepted, since)

    def _set_gate(self) -> None:
        selection = self.selection
        share = selection.gate * selection.rate * self.widening / self.acceptable_share
        share = min(share, 1.0) if selection.domain_weight > 0 else 1.0
        self.gate = -np.inf
        if share < 1:
            counts = self.contexts.at_the_gate(self.gate_histogram)
            self.gate = histogram.upper_quantile(counts, share * self.gate_mass)

    def _pace(self, model: Model) -> None:
        share = 1.0
        if _calibrated(model):
            share = 1.0 if self.domain_share is None else self.domain_share
        self.largest_share = max(self.largest_share, share) if _calibrated(model) else 0.0
        self.spending = spending(self.selection, share, self.largest_share)
        self._set_duals(model)
        self._set_gate()
        wanted = wanted_share(self.selection, self.epoch_allowance - self.accepted, self.seen)
        # Of a Model's sample nobody knows yet what is listed or was brought before; of pairs that came it is known.
        expected = self.expected_mass * (1 / self.acceptable_share - 1)
        counts = self.contexts.behind_it(self.score_histogram)
        self.threshold = histogram.upper_quantile(counts, wanted * (self.score_mass + expected))

    def record(
        self, decisions: Decisions, gate_scores: NDArray[np.float32], tail: int, where: Contexts | None = None
    ) -> None:
        """Note a run of decisions inside the epoch.

        Args:
            decisions: one or more.
            gate_scores: float32 [n], of their pairs, without contexts.
            tail: how many look like the target by the uncorrected domain score.
            where: page and host of each; None: contexts learn nothing of them.
        """
        n, reasons = len(decisions), decisions.reason
        able = (reasons == Reason.ACCEPTED) | (reasons == Reason.OVER_BUDGET)
        scores = decisions.score - decisions.context
        if where is not None:
            self.contexts.record(where, decisions.domain, gate_scores, scores, able)
        taken = np.isin(reasons, _TAKEN)
        histogram.add(self.gate_histogram, gate_scores, 1.0)
        # Duplicates could not be accepted: with them the threshold was too high, and .94-.99 of the budget spent.
        histogram.add(self.score_histogram, scores[able], 1.0)
        passed = gate_scores + decisions.context >= np.float32(self.gate)
        able &= decisions.score >= decisions.threshold
        self.passed += int(passed.sum())
        self.unlisted += int((passed & (reasons != Reason.LISTED)).sum())
        self.reached += int((able | taken).sum())
        self.new += int(able.sum())
        self.gate_mass += n
        self.score_mass += n
        self.tail_mass += n
        self.tail += tail
        np.add.at(self.accepted_by_cluster, decisions.cluster[decisions.accepted], 1.0)
        self.reasons[:] += np.bincount(reasons, minlength=len(Reason))
        self.accepted += int(decisions.accepted.sum())
        self.seen += n
        self.epoch_seen += n
        self.next_offset = int(decisions.positions[-1]) + 1

    def skip(self, offset: int) -> None:
        """A record that was not decided (a dead letter): the next offset moves past it, nothing else does."""
        if offset < self.next_offset:
            raise ValueError(f"offset {offset} is before the next offset {self.next_offset}")
        self.next_offset = offset + 1

    def preview(self, model: Model) -> Self:
        """The ledger as the next pair meets it, to be asked and not changed; in its epoch, with `model` if one begins."""
        epoch = self.next_offset // EPOCH
        if epoch == self.epoch:
            return self
        ahead = copy.copy(self)  # the pairs that are remembered are shared
        ahead.integers, ahead.floats = self.integers.copy(), self.floats.copy()
        ahead.begin_epoch(epoch, model)
        return ahead

    # What it says.

    def divergence(self) -> float:
        """KL(target || accepted) in nats, since the clustering began; infinity before the first."""
        if self.model is None:
            return float("inf")
        accepted = self.accepted_by_cluster[: self.model.clusters]
        return divergence(self.model.shares, accepted) if accepted.any() else float("inf")

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
            "unspendable": self.unspendable + self._shortfall,
            "domain_share": self.domain_share,
            "threshold": self.threshold,
            "gate": self.gate,
            "model_version": self.model_version,
            "settings_version": self.settings_version,
            "epoch": self.epoch,
        }


def _refill(
    counts: NDArray[np.float64], scores: NDArray[np.float32], weights: NDArray[np.float64], mass: float
) -> None:
    """Replace a histogram by `mass` times its weight at each score."""
    counts[:] = 0
    histogram.add_masses(counts, scores, mass * weights)
    histogram.round_to_units(counts)


def _calibrated(model: Model) -> bool:
    """It has seen enough of the stream to know the share of it that looks like the target.

    Before that everything looks alike: measured against such a share, an unprimed stream spent 9 % of its budget.
    """
    return len(model.calibration.domain) >= _LEAST_CALIBRATION
