"""The Observer that Prometheus reads: turns the worker's events into metrics, health and a status page."""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry

from craft_stream import __version__
from craft_stream.events import Observer, PartitionState, RebalanceKind, Stage, TransactionResult
from craft_stream.observe.match import Match
from craft_stream.observe.metrics import HELD_STATES, Metrics, outcome
from craft_stream.selection.decisions import Decisions, Reason

# The loop beats once a second; a commit may wait a minute for its time-out: two of those are a hang.
STALL_SECONDS: Final = 120.0
# Kernels compile and models load before the first beat: a minute on a small machine, five on one that swaps.
START_SECONDS: Final = 300.0
# Classes of errors are few, but not only our code names them: beyond this they count as "other".
MOST_LABEL_VALUES: Final = 64

_LEFT: Final = (PartitionState.RELEASED, PartitionState.LOST)
_UNREADY: Final = (PartitionState.ASSIGNED, PartitionState.RESTORING)


class Recorder(Observer):
    """Keeps every event as metrics and as the present state; the worker calls it, HTTP threads read it."""

    def __init__(self, metrics: Metrics | None = None, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch; tests move it by hand."""
        self.metrics = metrics if metrics is not None else Metrics()
        self._clock = clock
        self._lock = threading.Lock()
        self._match = Match()
        self._states: dict[int, PartitionState] = {}
        self._versions: dict[int, int] = {}
        self._model: dict[str, Any] = {}
        self._worker: dict[str, Any] = {}
        self._target: dict[str, Any] = {}
        self._learner: dict[str, Any] = {"active": False, "pairs_seen": 0}
        self._label_values: dict[str, set[str]] = {}
        self._begun = clock()
        self._beat: float | None = None
        self._joined = False
        self._stopped = False
        self._breaker_open = False
        self.metrics.build.info({"version": __version__, "python": platform.python_version()})
        self.metrics.last_commit.set(self._begun)
        self.metrics.last_beat.set(self._begun)

    # What the HTTP endpoints ask.

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""
        return self.metrics.registry

    def alive(self) -> str | None:
        """None while the loop turns, else what is wrong."""
        now = self._clock()
        if self._stopped:
            return None
        if self._beat is None:
            waited = now - self._begun
            return (
                None if waited <= START_SECONDS else f"the worker has not begun its loop after {waited:.0f} s"
            )
        waited = now - self._beat
        return None if waited <= STALL_SECONDS else f"the worker's loop has not turned for {waited:.0f} s"

    def ready(self) -> str | None:
        """None when the worker has joined its group and restored what it holds, else what is missing."""
        with self._lock:
            if self._stopped:
                return "the worker has stopped"
            if not self._joined:
                return "the worker has not joined its group"
            if self._breaker_open:
                return "the circuit breaker is open: too many records cannot be decided"
            waiting = sorted(p for p, state in self._states.items() if state in _UNREADY)
        return f"restoring partitions {', '.join(map(str, waiting))}" if waiting else None

    def state(self) -> dict[str, Any]:
        """The present state, ready for JSON: worker, partitions, model, target, learner, certificate."""
        with self._lock:
            return {
                "worker": dict(self._worker),
                "partitions": [
                    {"partition": p, "state": str(state), "model_version": self._versions.get(p)}
                    | self._match.partition(p)
                    for p, state in sorted(self._states.items())
                ],
                "model": dict(self._model),
                "target": dict(self._target),
                "learner": dict(self._learner),
                "certificate": self._match.certificate(),
            }

    def refresh(self) -> None:
        """Bring what is derived from several partitions up to date; called before each scrape."""
        with self._lock:
            self._match.export(self.metrics)

    # What the worker tells.

    def started(self, group_id: str, input_topic: str, parameters_digest: str, rate: float) -> None:
        """Keep who this is."""
        with self._lock:
            self._worker = {
                "group": group_id,
                "topic": input_topic,
                "parameters": parameters_digest,
                "budget": rate,
                "version": __version__,
                "started": self._clock(),
            }
        self.metrics.parameters.info({"digest": parameters_digest})
        self.metrics.budget_wanted.set(rate)

    def beat(self) -> None:
        """Note the time."""
        self._beat = self._clock()
        self.metrics.last_beat.set(self._beat)

    def joined(self, partitions: frozenset[int]) -> None:
        """Ready from here on, as far as the group goes; what is no longer held is forgotten."""
        with self._lock:
            self._joined = True
            for partition in set(self._states) - partitions:
                self._forget(partition)
        self._count_states()

    def stopped(self) -> None:
        """No longer ready; still alive, since ending is not hanging."""
        with self._lock:
            self._stopped = True

    def partition_state(self, partition: int, state: PartitionState) -> None:
        """Count partitions by state, and drop every series of one that is gone."""
        with self._lock:
            if state in _LEFT:
                self._forget(partition)
            else:
                self._states[partition] = state
                if state is PartitionState.ASSIGNED:  # it waits for its restore, which may be long in coming
                    self.metrics.restore_progress.labels(partition).set(0)
        self._count_states()

    def rebalanced(self, kind: RebalanceKind, partitions: int, seconds: float) -> None:
        """Count and time."""
        self.metrics.rebalances.labels(kind).inc()
        self.metrics.rebalance_duration.labels(kind).observe(seconds)

    def consumed(self, partition: int, records: int, size: int) -> None:
        """Count."""
        self.metrics.records_consumed.inc(records)
        self.metrics.bytes_consumed.inc(size)

    def in_flight(self, records: int, size: int) -> None:
        """Set."""
        self.metrics.records_in_flight.set(records)
        self.metrics.bytes_in_flight.set(size)

    def poll_interval_used(self, share: float) -> None:
        """Observe."""
        self.metrics.poll_interval_used.observe(share)

    def lag(self, partition: int, records: int, seconds: float) -> None:
        """Set, for a partition that is held."""
        with self._lock:
            if partition in self._states:
                self.metrics.lag_records.labels(partition).set(records)
                self.metrics.lag_seconds.labels(partition).set(seconds)

    def decided(self, partition: int, decisions: Decisions, rejected_kept: int) -> None:
        """Count: the worker says so once the transaction is committed, so each pair counts once."""
        for reason, count in enumerate(np.bincount(decisions.reason).tolist()):
            if count:
                self.metrics.decisions.labels(outcome(Reason(reason)), Reason(reason).label).inc(count)
        self.metrics.judged.inc(int(np.isfinite(decisions.quality).sum()))
        self.metrics.rejected_kept.inc(rejected_kept)
        if len(decisions) and np.isfinite(decisions.threshold[-1]):
            with self._lock:
                if partition in self._states:
                    self.metrics.threshold.labels(partition).set(float(decisions.threshold[-1]))

    def dead_letters(self, partition: int, stage: Stage, reason: str, records: int) -> None:
        """Count, once their transaction is committed."""
        self.metrics.dead_letters.labels(stage, self._bounded("reason", reason)).inc(records)

    def breaker(self, open_: bool, share: float) -> None:
        """Set; an open breaker also takes readiness away."""
        self._breaker_open = open_
        self.metrics.breaker_open.set(open_)
        self.metrics.dead_letter_ratio.set(share)

    def stage(self, stage: Stage, seconds: float, records: int) -> None:
        """Observe."""
        self.metrics.stage_duration.labels(stage).observe(seconds)

    def transaction(self, result: TransactionResult, seconds: float, records: int) -> None:
        """Count and time; a commit is progress."""
        self.metrics.transactions.labels(result).inc()
        self.metrics.transaction_duration.observe(seconds)
        if result is TransactionResult.COMMITTED:
            self.metrics.last_commit.set(self._clock())

    def embedded(self, pairs: int) -> None:
        """Count."""
        self.metrics.embedded.inc(pairs)

    def latency(self, seconds: float, records: int) -> None:
        """Observe; clocks that disagree can make it negative, which counts as nothing."""
        self.metrics.latency.observe(max(0.0, seconds))

    def recovered(self) -> None:
        """Count."""
        self.metrics.recoveries.inc()

    def restoring(self, partition: int, share: float) -> None:
        """Set, for a partition that is held."""
        with self._lock:
            if partition in self._states:
                self.metrics.restore_progress.labels(partition).set(share)

    def restored(
        self, partition: int, seconds: float, size: int, attempts: int, deltas: int, written_ms: int
    ) -> None:
        """Count and time; what the partition has of whole ledger and deltas goes on from here."""
        self.metrics.restore_duration.observe(seconds)
        self.metrics.restore_bytes.inc(size)
        self.metrics.restore_retries.inc(max(0, attempts - 1))
        with self._lock:
            if partition in self._states:
                self.metrics.restore_progress.labels(partition).set(1)
                self.metrics.pending_deltas.labels(partition).set(deltas)
                # A partition without any begins one with its first transaction.
                written = written_ms / 1000 if written_ms else self._clock()
                self.metrics.snapshot_timestamp.labels(partition).set(written)

    def ledger_damaged(self, partition: int, outcome: str) -> None:
        """Count."""
        self.metrics.ledger_damaged.labels(outcome).inc()

    def ledger_written(self, partition: int, kind: str, size: int) -> None:
        """Count; a whole ledger also sets its size and time, and the deltas before it are no longer needed."""
        self.metrics.ledger_written.labels(kind).inc(size)
        if kind == "whole":
            self.metrics.snapshots.inc()
            self.metrics.snapshot_bytes.set(size)
        with self._lock:
            if partition not in self._states:
                return
            if kind == "whole":
                self.metrics.snapshot_timestamp.labels(partition).set(self._clock())
                self.metrics.pending_deltas.labels(partition).set(0)
            elif kind == "delta":
                self.metrics.pending_deltas.labels(partition).inc()

    def snapshot(self, partition: int, seconds: float, size: int) -> None:
        """Time it."""
        self.metrics.snapshot_duration.observe(seconds)

    def snapshot_failed(self, partition: int) -> None:
        """Count."""
        self.metrics.snapshot_failures.inc()

    def ledger(self, partition: int, summary: Mapping[str, Any]) -> None:
        """Keep it; `refresh` puts the partitions together."""
        with self._lock:
            if partition in self._states:
                self.metrics.drift_detections.inc(self._match.update(partition, summary))

    def drifted(self, partition: int, signal: str) -> None:
        """Count it."""
        self.metrics.drift_detections.inc()

    def model(self, header: Mapping[str, Any], size: int) -> None:
        """Keep the header of the newest version."""
        with self._lock:
            self._model = dict(header) | {"bytes": size}
        self.metrics.model_loaded_version.set(header.get("version", 0))
        self.metrics.model_published.set(header.get("published_at_ms", 0) / 1000)
        self.metrics.model_bytes.set(size)
        self.metrics.target_pairs.set(header.get("target_pairs", 0))
        self.metrics.target_version.set(_number(str(header.get("target_version", ""))))

    def model_in_force(self, partition: int, version: int) -> None:
        """Show the oldest version that decides here, of the partitions that are held."""
        with self._lock:
            if partition in self._states:
                self._versions[partition] = version
                self.metrics.model_version.set(min(self._versions.values()))

    def target(self, version: str, pairs: int) -> None:
        """Keep the target as read, which may be ahead of the model's."""
        with self._lock:
            self._target = {"version": version, "pairs": pairs}

    def target_reread(self, pairs: int) -> None:
        """Count."""
        self.metrics.target_rereads.inc()

    def learner(self, active: bool, pairs_seen: int) -> None:
        """Set."""
        with self._lock:
            self._learner |= {"active": active, "pairs_seen": pairs_seen}
        self.metrics.learner_active.set(active)
        self.metrics.learner_pairs.set(pairs_seen)

    def published(self, version: int, seconds: float, size: int) -> None:
        """Count and time."""
        with self._lock:
            self._learner |= {"published_version": version, "published_bytes": size}
        self.metrics.models_published.inc()
        self.metrics.publish_duration.observe(seconds)

    def pruned(self, versions: int) -> None:
        """Count."""
        self.metrics.models_pruned.inc(versions)

    def primed(self, pairs: int, seconds: float) -> None:
        """Keep what the learner knew before the first decision."""
        with self._lock:
            self._learner |= {"primed_pairs": pairs, "primed_seconds": seconds}

    def error(self, kind: str) -> None:
        """Count."""
        self.metrics.errors.labels(self._bounded("kind", kind)).inc()

    # Helpers.

    def _count_states(self) -> None:
        with self._lock:
            for state in HELD_STATES:
                self.metrics.partitions.labels(state).set(
                    sum(held is state for held in self._states.values())
                )

    def _forget(self, partition: int) -> None:
        """Remove a partition's series: another process has them now. The lock is held."""
        self._states.pop(partition, None)
        self._versions.pop(partition, None)
        self._match.forget(partition)
        for family in self.metrics.by_partition:
            family.remove_by_labels({"partition": str(partition)})

    def _bounded(self, label: str, value: str) -> str:
        with self._lock:
            known = self._label_values.setdefault(label, set())
            if value not in known and len(known) >= MOST_LABEL_VALUES:
                return "other"
            known.add(value)
            return value


def _number(target_version: str) -> int:
    """48 bits of a hash, exact in a sample's float64: equal numbers, equal targets, no label that grows."""
    return int.from_bytes(hashlib.sha256(target_version.encode()).digest()[:6], "big")
