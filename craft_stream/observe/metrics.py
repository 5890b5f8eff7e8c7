"""Every metric that craft_stream exposes: names, help, units, labels and buckets, in this file only.

Names begin with `craft_`, are in base units (seconds, bytes, ratios of 1, nats) and end in `_total` where they only count up.
The unit is the last word of the name and is exposed as such (OpenMetrics' `# UNIT`); a name that ends in another word counts
what that word says. Labels take their values from closed lists, but for `partition` and `cluster`, which are bounded by the
partitions that this process holds and by `learner.clusters`. Labels that tell deployments apart (`environment`, `group`,
`topic`) are not set here: the scrape configuration adds them, as it adds `instance`.

Dashboards and alerts are held to this file by tests/deploy/test_deploy_files.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

from craft_stream.events import DAMAGE, PartitionState, RebalanceKind, Stage, TransactionResult
from craft_stream.reading.records import DecodeReason
from craft_stream.selection.decisions import Reason
from craft_stream.topics.ledger_log import Kind

# The times at which counters began: half as many series again, and no question that they answer.
disable_created_metrics()  # type: ignore[no-untyped-call]

UNITS: Final = ("seconds", "bytes", "ratio", "nats")
LEDGER_WRITES: Final = tuple(kind.name.lower() for kind in Kind)
HELD_STATES: Final = (
    PartitionState.ASSIGNED,
    PartitionState.RESTORING,
    PartitionState.ACTIVE,
    PartitionState.PAUSED,
    PartitionState.DRAINING,
)

# A batch of 1,000 takes about 15 ms in decide and 5 ms in commit; a neural encoder's batch takes seconds, a
# transaction at its time-out a minute.
STAGE_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
# From a fraction of the commit interval to a day: a consumer that catches up meets records a day old.
LATENCY_BUCKETS: Final = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14400.0,
    86400.0,
)
# A restore reads kilobytes to megabytes; a rebalance without static members waits for a session's time-out.
REBALANCE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# The alert counts how often half of the interval is passed; the steps below show how near it comes.
POLL_BUCKETS: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)


class _Families:
    """Makes metrics, in a registry of their own, so that two workers in one process do not collide."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.build = Info(
            "craft_build", "Version of craft_stream and of Python, in labels.", registry=self.registry
        )
        self.last_beat = self._gauge(
            "craft_last_beat_timestamp_seconds",
            "When the process's loop last turned; the start, before the first.",
        )
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, unit=_unit(name), registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, unit=_unit(name), registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_, labels, unit=_unit(name), buckets=buckets, registry=self.registry)


class Metrics(_Families):
    """All families of a worker or learner.

    Attributes are named as the metric is, without prefix and unit.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)
        self._comes_in_and_goes_out()
        self._time()
        self._group_and_transactions()
        self._state()
        self._model_and_target()
        self._distribution_match()
        self.parameters = Info(
            "craft_parameters", "Digest of the parameters in force, in a label.", registry=self.registry
        )
        self.by_partition = (
            self.lag_records,
            self.lag_seconds,
            self.snapshot_timestamp,
            self.pending_deltas,
            self.restore_progress,
            self.threshold,
        )

    def _comes_in_and_goes_out(self) -> None:
        self.records_consumed = self._counter(
            "craft_records_consumed_total", "Records read from the input topic; read again after an abort."
        )
        self.bytes_consumed = self._counter(
            "craft_consumed_bytes_total", "Bytes of the values of those records."
        )
        self.decisions = self._counter(
            "craft_decisions_total",
            "Pairs decided and committed, by outcome and reason.",
            "outcome",
            "reason",
        )
        for reason in Reason:
            self.decisions.labels(outcome(reason), reason.label)
        self.rejected_kept = self._counter(
            "craft_rejected_kept_total", "Rejected pairs committed to the decisions topic as a sample."
        )
        self.dead_letters = self._counter(
            "craft_dead_letters_total",
            "Records that could not be decided, by the stage that failed and the reason.",
            "stage",
            "reason",
        )
        for decode_reason in DecodeReason:
            self.dead_letters.labels(Stage.DECODE, decode_reason)
        self.dead_letter_ratio = self._gauge(
            "craft_dead_letter_ratio",
            "Share of recent records that could not be decided, as the circuit breaker sees it.",
        )
        self.breaker_open = self._gauge(
            "craft_breaker_open",
            "1 when that share has passed errors.dead_letter_limit and the worker stops.",
        )
        self.errors = self._counter(
            "craft_errors_total", "Errors that the worker survived, by class.", "kind"
        )
        self.latency = self._histogram(
            "craft_end_to_end_latency_seconds",
            "From record timestamp to commit: the mean of each transaction's records.",
            LATENCY_BUCKETS,
        )
        self.records_in_flight = self._gauge("craft_in_flight_records", "Records read and not yet committed.")
        self.bytes_in_flight = self._gauge("craft_in_flight_bytes", "Bytes of the values of those records.")

    def _time(self) -> None:
        self.stage_duration = self._histogram(
            "craft_stage_duration_seconds", "Time that a batch spent in a stage.", STAGE_BUCKETS, "stage"
        )
        _touch(self.stage_duration, Stage)
        self.poll_interval_used = self._histogram(
            "craft_poll_interval_used_ratio",
            "Time between two polls over max.poll.interval.ms.",
            POLL_BUCKETS,
        )

    def _group_and_transactions(self) -> None:
        self.lag_records = self._gauge(
            "craft_lag_records", "Offsets between what is decided and the end of the partition.", "partition"
        )
        self.lag_seconds = self._gauge(
            "craft_lag_seconds",
            "Age of the newest record decided while the partition has more, else 0.",
            "partition",
        )
        self.partitions = self._gauge(
            "craft_partitions", "Partitions of the input topic held, by state.", "state"
        )
        _touch(self.partitions, HELD_STATES)
        self.rebalances = self._counter(
            "craft_rebalances_total",
            "Changes of the assignment, by kind; assigned: once for each partition, when it is restored.",
            "kind",
        )
        _touch(self.rebalances, RebalanceKind)
        self.rebalance_duration = self._histogram(
            "craft_rebalance_duration_seconds",
            "Until the partitions of a change were drained, dropped or restored.",
            REBALANCE_BUCKETS,
            "kind",
        )
        _touch(self.rebalance_duration, RebalanceKind)
        self.transactions = self._counter("craft_transactions_total", "Transactions, by result.", "result")
        _touch(self.transactions, TransactionResult)
        self.transaction_duration = self._histogram(
            "craft_transaction_duration_seconds", "Time that a transaction was open.", STAGE_BUCKETS
        )
        self.last_commit = self._gauge(
            "craft_last_commit_timestamp_seconds",
            "When the last transaction was committed; the start, before the first.",
        )
        self.recoveries = self._counter(
            "craft_recoveries_total",
            "Ambiguous transaction errors answered with a new producer and a restore.",
        )

    def _state(self) -> None:
        self.ledger_written = self._counter(
            "craft_ledger_written_bytes_total",
            "Bytes of ledgers written in committed transactions, by kind.",
            "kind",
        )
        _touch(self.ledger_written, LEDGER_WRITES)
        self.snapshots = self._counter("craft_ledger_snapshots_total", "Whole ledgers written.")
        self.snapshot_bytes = self._gauge(
            "craft_ledger_snapshot_bytes", "Size of the last whole ledger written."
        )
        self.snapshot_timestamp = self._gauge(
            "craft_ledger_snapshot_timestamp_seconds",
            "When the partition's newest whole ledger was written.",
            "partition",
        )
        self.snapshot_duration = self._histogram(
            "craft_ledger_snapshot_duration_seconds", "Time to make a whole ledger.", STAGE_BUCKETS
        )
        self.snapshot_failures = self._counter(
            "craft_ledger_snapshot_failures_total",
            "Whole ledgers that could not be made, or whose transaction was not committed.",
        )
        self.ledger_damaged = self._counter(
            "craft_ledger_damaged_total",
            "Restores that met damaged records of the ledger topic, by what became of them.",
            "outcome",
        )
        _touch(self.ledger_damaged, DAMAGE)
        self.pending_deltas = self._gauge(
            "craft_ledger_pending_deltas",
            "Deltas written since the partition's last whole ledger, which a restore replays.",
            "partition",
        )
        self.restore_progress = self._gauge(
            "craft_restore_progress_ratio",
            "Share of the partition's ledger that is read back; 1 once it is restored.",
            "partition",
        )
        self.restore_duration = self._histogram(
            "craft_restore_duration_seconds", "Time to restore a partition's ledger.", REBALANCE_BUCKETS
        )
        self.restore_bytes = self._counter("craft_restored_bytes_total", "Bytes of ledgers read back.")
        self.restore_retries = self._counter(
            "craft_restore_retries_total",
            "Readings repeated because the predecessor's commit was still under way.",
        )

    def _model_and_target(self) -> None:
        self.model_version = self._gauge(
            "craft_model_version", "Model version that decides; the oldest of the partitions held."
        )
        self.model_loaded_version = self._gauge("craft_model_loaded_version", "Newest model version loaded.")
        self.model_published = self._gauge(
            "craft_model_published_timestamp_seconds", "When the newest model version loaded was published."
        )
        self.model_bytes = self._gauge("craft_model_bytes", "Size of the newest model version loaded.")
        self.target_version = self._gauge(
            "craft_target_version",
            "The target of the newest model version loaded, hashed to a number of 48 bits.",
        )
        self.target_pairs = self._gauge("craft_target_pairs", "Pairs in the target's reservoir.")
        self.target_rereads = self._counter(
            "craft_target_rereads_total",
            "Times that the target was read again, since withdrawals had left its reservoir incomplete.",
        )
        self.learner_active = self._gauge(
            "craft_learner_active", "1 while this process learns and publishes versions."
        )
        self.learner_pairs = self._gauge(
            "craft_learner_pairs", "Pairs of the stream that the learner has seen."
        )
        self.models_published = self._counter(
            "craft_models_published_total", "Model versions published here."
        )
        self.models_pruned = self._counter(
            "craft_models_pruned_total", "Model versions withdrawn here, since nothing needs them."
        )
        self.publish_duration = self._histogram(
            "craft_model_publish_duration_seconds", "Time to make and write a model version.", STAGE_BUCKETS
        )

    def _distribution_match(self) -> None:
        self.divergence = self._gauge(
            "craft_divergence_nats",
            "KL(target || accepted) over the clusters, of the partitions held together.",
        )
        self.divergence_bound = self._gauge(
            "craft_divergence_bound_nats",
            "What the quotas guarantee: log 1/(1 - relaxation), once all clusters have their floors.",
        )
        self.cluster_target_share = self._gauge(
            "craft_cluster_target_share_ratio", "Share of the target in a cluster.", "cluster"
        )
        self.cluster_accepted = self._gauge(
            "craft_cluster_accepted_pairs",
            "Pairs accepted into a cluster, of the partitions held.",
            "cluster",
        )
        self.threshold = self._gauge(
            "craft_threshold_score", "Score that a pair must reach now.", "partition"
        )
        self.budget_wanted = self._gauge(
            "craft_budget_wanted_ratio", "Share of the stream to accept: the budget."
        )
        self.budget_realised = self._gauge(
            "craft_budget_realised_ratio", "Share of the stream accepted since the ledgers began."
        )
        self.budget_unspendable = self._gauge(
            "craft_budget_unspendable_ratio",
            "Share of the budget withheld now, since the stream holds less of the domain than it did.",
        )
        self.judged = self._counter(
            "craft_judged_total",
            "Pairs decided and committed that passed the gate, so that their quality was judged.",
        )
        self.embedded = self._counter(
            "craft_embedded_total", "Pairs decided and committed that the encoder was asked for."
        )
        self.drift_detections = self._counter(
            "craft_drift_detections_total",
            "Times that the stream came to hold less of the domain than it had.",
        )


# What becomes of a response: a page that is paired, or why it is not (docs/connectors.md, "Bad input").
CRAWL_OUTCOMES: Final = (
    "paired",
    "truncated",
    "damaged",
    "too_large",
    "not_http",
    "not_found",
    "no_url",
    "not_html",
    "binary",
    "forbidden",
    "taken_down",
    "too_deep",
    "no_text",
    "other_language",
    "language_mismatch",
    "duplicate",
    "changed",
    "expired",
    "crowded_out",
    "failed",
)


class CrawlMetrics(_Families):
    """All families of `craft-stream crawl`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry)
        self.responses = self._counter("craft_crawl_responses_total", "Responses read from WARC files.")
        self.bytes = self._counter(
            "craft_crawl_read_bytes_total", "Bytes of the pages in them, decompressed."
        )
        self.pages = self._counter("craft_crawl_pages_total", "Pages, by what became of them.", "outcome")
        _touch(self.pages, CRAWL_OUTCOMES)
        self.pairs = self._counter("craft_crawl_pairs_total", "Pairs of sentences published.")
        self.waiting = self._gauge("craft_crawl_waiting_pages", "Pages that wait for their translation.")
        self.last_publish = self._gauge(
            "craft_crawl_last_publish_timestamp_seconds",
            "When pairs were last published; the start, before the first.",
        )


def outcome(reason: Reason) -> str:
    """`accepted` or `rejected`: the label that goes with `reason`."""
    return "accepted" if reason is Reason.ACCEPTED else "rejected"


def _unit(name: str) -> str:
    """The unit that a name ends with; "" for a count."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in UNITS else ""


def _touch(family: MetricWrapperBase, values: Iterable[str]) -> None:
    """Make a closed label's series exist at 0: a rate over one that begins with an event misses it."""
    for value in values:
        family.labels(value)
