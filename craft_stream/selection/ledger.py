"""The Ledger: what one partition has decided, and all that its next decision depends on beside the Model.

Numbers live in two flat arrays so that a delta is what changed in them; seen pairs travel by the pair, and in pages once
full. A ledger that has applied every delta equals the one that made them, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.model import Model
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import NO_CLUSTER
from craft_stream.selection import histogram
from craft_stream.selection.decisions import Reason
from craft_stream.selection.pacing import duals, spending, tail_forgetting, tail_horizon, wanted_share
from craft_stream.selection.pages import Page
from craft_stream.selection.seen import SeenPairs, first_remembered

MAGIC = b"CRAFTLDG"
FORMAT = 3
EPOCH = 1024
# Pairs that a Model's calibration counts for in a ledger that has seen nothing.
_PRIOR_PAIRS = 8192.0
# Pairs of the stream that a Model must be calibrated on before its share of pairs like the target counts.
_LEAST_CALIBRATION = 512

# Where seen pairs are stored follows from how the log was cut into transactions, so it is no part of the digest.
_STORAGE = ("stored", "pages")
_INTEGERS = (
    "next_offset",
    "epoch",
    "seen",
    "accepted",
    "epoch_seen",
    "model_version",
    "clustering",
    "remembered",
    "chain",
    *_STORAGE,
)
_FLOATS = (
    "allowance",  # A(t) at the epoch's start
    "spending",  # rho_t / rho in this epoch
    "unspendable",  # pairs of the budget given up so far
    "clustering_allowance",  # A(t) when the clustering began
    "gate",
    "threshold",
    "gate_mass",
    "score_mass",
    "tail",
    "tail_mass",
    "largest_share",
)


class Ledger:
    """State of one partition.

    Attributes:
        integers: int64; the counters named in this module, then decisions by reason.
        floats: float64; the numbers named in this module, then accepted by cluster, duals, and the two histograms.
        seen_pairs: accepted pairs that are remembered.
        model: the Model in force; None before the first epoch and after a restore until `bind`.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        clusters = parameters.learning.clusters
        self.integers = np.zeros(len(_INTEGERS) + len(Reason), np.int64)
        self.floats = np.zeros(len(_FLOATS) + 2 * clusters + 2 * histogram.BINS)
        self.seen_pairs = SeenPairs(parameters.selection.seen_pairs)
        self.model: Model | None = None
        self._clusters = clusters
        self._set("epoch", -1)
        self._floats_at("spending", 1.0)
        self._mark()

    # Named views of the arrays.

    def _get(self, name: str) -> int:
        return int(self.integers[_INTEGERS.index(name)])

    def _set(self, name: str, value: int) -> None:
        self.integers[_INTEGERS.index(name)] = value

    def _float(self, name: str) -> float:
        return float(self.floats[_FLOATS.index(name)])

    def _floats_at(self, name: str, value: float) -> None:
        self.floats[_FLOATS.index(name)] = value

    def _part(self, start: int, size: int) -> NDArray[np.float64]:
        base = len(_FLOATS) + start
        return self.floats[base : base + size]

    @property
    def reasons(self) -> NDArray[np.int64]:
        """Decisions by `Reason`, int64 [10], a view."""
        return self.integers[len(_INTEGERS) :]

    @property
    def accepted_by_cluster(self) -> NDArray[np.float64]:
        """Accepted since the clustering began, float64 [K at most], a view."""
        return self._part(0, self._clusters)

    @property
    def duals(self) -> NDArray[np.float64]:
        """Nu in this epoch, float64 [K at most], a view."""
        return self._part(self._clusters, self._clusters)

    @property
    def _gate_scores(self) -> NDArray[np.float64]:
        return self._part(2 * self._clusters, histogram.BINS)

    @property
    def _scores(self) -> NDArray[np.float64]:
        return self._part(2 * self._clusters + histogram.BINS, histogram.BINS)

    @property
    def next_offset(self) -> int:
        """The offset after the last record that was decided or skipped."""
        return self._get("next_offset")

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
    def model_version(self) -> int:
        """Version of the Model in force; 0 before the first."""
        return self._get("model_version")

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
        return self._allowance(self._get("epoch_seen"))

    def room(self, arrivals: int) -> int:
        """Pairs that may be accepted when `arrivals` more have come, the burst included."""
        limit = self._allowance(self._get("epoch_seen") + arrivals) + self.parameters.selection.burst
        return int(np.floor(limit)) - self.accepted

    def _allowance(self, epoch_seen: int) -> float:
        return (
            self._float("allowance") + self.parameters.selection.rate * self._float("spending") * epoch_seen
        )

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
            self._floats_at("largest_share", model.tail_share if known else 0.0)
            self._floats_at("tail_mass", horizon)
            self._floats_at("tail", model.tail_share * 0.2 * horizon)
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
        return not model.cascade or self.parameters.selection.method == "craft"

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

    # How it travels.

    def _mark(self) -> None:
        self._count_pairs()
        self._base_integers = self.integers.copy()
        self._base_floats = self.floats.copy()
        self.seen_pairs.mark()

    def _count_pairs(self) -> None:
        seen = self.seen_pairs
        self._set("remembered", seen.count)
        self._set("chain", int(np.int64(seen.chain.astype(np.int64))))
        self._set("stored", seen.stored)
        self._set("pages", seen.pages)

    def _header(self, kind: str) -> dict[str, Any]:
        return {"format": FORMAT, "kind": kind, "parameters": self.parameters.ledger_digest}

    def delta(self) -> bytes:
        """What has changed since the last `delta` or `snapshot`, but for the pages of seen pairs made meanwhile."""
        self._count_pairs()
        pairs = self.seen_pairs.since_mark()
        numbers, base = self.floats[: -2 * histogram.BINS], self._base_floats[: -2 * histogram.BINS]
        places = np.flatnonzero(numbers.view(np.int64) != base.view(np.int64))
        bins = self.floats[-2 * histogram.BINS :] - self._base_floats[-2 * histogram.BINS :]
        data = codec.encode(
            MAGIC,
            {**self._header("delta"), "from": int(self._base_integers[0]), "first": pairs.first},
            {
                "integers": _planes(self.integers - self._base_integers),
                "places": places.astype(np.uint16),
                "numbers": _planes(numbers[places]),
                "bins": _planes((bins * histogram.UNITS).astype(np.int64)),
                **pairs.arrays(),
            },
        )
        self._mark()
        return data

    def apply(self, delta: bytes, pages: Mapping[int, bytes] | None = None) -> None:
        """Take over what another ledger's `delta` says, made from a state equal to this one.

        Args:
            delta: from `delta`.
            pages: by index, those made meanwhile among them.

        Raises:
            IntegrityError: damaged, of other parameters, not made from this state, or a page is missing.
        """
        header, arrays = codec.decode(MAGIC, delta)
        self._check(header, "delta")
        if header["from"] != self.next_offset:
            raise IntegrityError(
                f"the ledger is at offset {self.next_offset}, the delta goes on from {header['from']}: one is missing"
            )
        self.integers += _joined(arrays["integers"], np.int64)
        self.floats[: -2 * histogram.BINS][arrays["places"]] = _joined(arrays["numbers"], np.float64)
        self.floats[-2 * histogram.BINS :] += _joined(arrays["bins"], np.int64) / histogram.UNITS
        self._replay(pages or {}, Page.of(header["first"], arrays))

    def snapshot(self) -> bytes:
        """The whole of it but the pages of seen pairs."""
        self._mark()
        waiting = self.seen_pairs.waiting()
        return codec.encode(
            MAGIC,
            {**self._header("whole"), "first": waiting.first, "first_page": self.seen_pairs.first_page},
            {"integers": self.integers, "floats": _planes(self.floats), **waiting.arrays()},
        )

    @classmethod
    def restore(
        cls, parameters: Parameters, snapshot: bytes, pages: Mapping[int, bytes] | None = None
    ) -> Ledger:
        """A ledger from a snapshot and the pages that it needs.

        Args:
            parameters: must be those that the ledger was made under.
            snapshot: from `snapshot`.
            pages: by index, from `closed_pages`; those before `first_page` are not needed.

        Raises:
            IntegrityError: damaged, of another format or other parameters, or a page is missing.
        """
        header, arrays = codec.decode(MAGIC, snapshot)
        ledger = cls(parameters)
        ledger._check(header, "whole")
        floats = _joined(arrays["floats"], np.float64)
        if arrays["integers"].shape != ledger.integers.shape or floats.shape != ledger.floats.shape:
            raise IntegrityError("the ledger's arrays are of another size than these parameters give")
        ledger.integers[:], ledger.floats[:] = arrays["integers"], floats
        seen = ledger.seen_pairs
        seen.begin_at(first_remembered(ledger._get("remembered"), seen.size))
        seen.stored, seen.pages = seen.count, int(header["first_page"])
        ledger._replay(pages or {}, Page.of(header["first"], arrays), chained=False)
        return ledger

    def _replay(self, pages: Mapping[int, bytes], waiting: Page, chained: bool = True) -> None:
        """Remember pairs again: of the pages up to the counters', then those that wait.

        Args:
            pages: by index.
            waiting: those in no page.
            chained: whether all keys since the beginning are known, so that their hash can be compared.

        Raises:
            IntegrityError: a page is missing, or the counters say otherwise.
        """
        seen = self.seen_pairs
        for index in range(seen.pages, self._get("pages")):
            if index not in pages:
                raise IntegrityError(
                    f"page {index} of the ledger's seen pairs is missing: it needs pages to {self._get('pages') - 1}"
                )
            page = Page.decode(pages[index], index)
            chained &= page.first <= seen.count
            seen.replay_stored(page)
        chained &= waiting.first <= seen.count
        seen.replay(waiting)
        seen.stored = self._get("stored")
        chain = np.uint64(self.integers[_INTEGERS.index("chain")].astype(np.uint64))
        if seen.count != self._get("remembered") or (chained and seen.chain != chain):
            raise IntegrityError("the ledger's seen pairs do not end where its counters say")
        seen.chain = chain
        self._mark()

    @classmethod
    def first_page(cls, snapshot: bytes) -> int:
        """Index of the oldest page that restoring this snapshot needs."""
        header, _ = codec.decode(MAGIC, snapshot)
        return int(header["first_page"])

    def closed_pages(self) -> list[tuple[int, bytes]]:
        """Pages of the pairs that wait, encoded, with their indices: to be written once, before the next `delta`."""
        return [(index, page.encode(index)) for index, page in self.seen_pairs.make_pages()]

    def bind(self, model: Model) -> None:
        """Give a restored ledger the Model that was in force.

        Raises:
            IntegrityError: it is another version.
        """
        if model.version != self.model_version:
            raise IntegrityError(
                f"the ledger has model {self.model_version} in force, not {model.version}: load that version first"
            )
        self.model = model

    def digest(self) -> str:
        """16 hexadecimal digits of the whole state: equal states, equal digests, however the log was cut."""
        self._count_pairs()
        state = self.integers.copy()
        for name in _STORAGE:
            state[_INTEGERS.index(name)] = 0
        arrays: codec.Arrays = {"integers": state, "floats": self.floats}
        return codec.digest(arrays, {"parameters": self.parameters.ledger_digest})

    def _check(self, header: dict[str, Any], kind: str) -> None:
        if header.get("format") != FORMAT:
            raise IntegrityError(
                f"the ledger is of format {header.get('format')}, this version reads {FORMAT}: upgrade"
            )
        if header.get("kind") != kind:
            raise IntegrityError(f"this is a ledger's {header.get('kind')}, not a {kind}")
        own = self.parameters.ledger_digest
        if header.get("parameters") != own:
            raise IntegrityError(
                f"the ledger was made under parameters {header.get('parameters')}, these are {own} (lists left out): "
                "restore the old settings, or begin a new group"
            )

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


def _planes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of 8 bytes, all first bytes, then all second ones, uint8 [8, n]: in most planes there is little to write."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8).T


def _joined(planes: NDArray[np.uint8], dtype: type) -> NDArray[Any]:
    """The values again."""
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
