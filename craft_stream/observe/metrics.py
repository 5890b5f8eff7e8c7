"""Every metric that craft_stream exposes: name, help, what changes it, labels and buckets, in this file only.

Names begin with `craft_`, are in base units (seconds, bytes, ratios of 1, nats) and end in `_total` where they only count up.
The unit is the last word of the name and is exposed as such (OpenMetrics' `# UNIT`); a name that ends in another word counts
what that word says. Labels take their values from closed lists, but for `partition` and `cluster`, which are bounded by the
partitions that this process holds and by `learner.clusters`. Labels that tell deployments apart (`environment`, `group`,
`topic`) are not set here: the scrape configuration adds them, as it adds `instance`.

Rows without an event are changed by the recorders, which put several events together. Dashboards and alerts are held to
this file by tests/deploy/test_deploy_files.py.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from craft_stream import meanings
from craft_stream.events import (
    DAMAGE,
    DRIFTS,
    FINDINGS,
    PartitionState,
    RebalanceKind,
    Stage,
    TransactionResult,
)
from craft_stream.observe.families import Metric, every
from craft_stream.reading.records import DecodeReason
from craft_stream.selection.decisions import Reason
from craft_stream.topics.ledger_entries import Kind

HELD_STATES: Final = tuple(
    s for s in PartitionState if s not in (PartitionState.RELEASED, PartitionState.LOST)
)
SNAPSHOT: Final = Kind.SNAPSHOT.name.lower()
DELTA: Final = Kind.DELTA.name.lower()

# A batch of 1,000 takes about 15 ms in decide and 5 ms in commit; a neural encoder's batch takes seconds, a
# transaction at its time-out a minute.
STAGE: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# From a fraction of the commit interval to a day: a consumer that catches up meets records a day old.
LATENCY: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
# A restore reads kilobytes to megabytes; a rebalance without static members waits for a session's time-out.
REBALANCE: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# The alert counts how often half of the interval is passed; the steps below show how near it comes.
POLL: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)


def outcome(reason: Reason) -> str:
    """`accepted` or `rejected`: the label that goes with `reason`."""
    return "accepted" if reason is Reason.ACCEPTED else "rejected"


def _number(target_version: str) -> int:
    """48 bits of a hash, exact in a sample's float64: equal numbers, equal targets, no label that grows."""
    return int.from_bytes(hashlib.sha256(target_version.encode()).digest()[:6], "big")


WORKER: Final = (
    Metric("craft_last_beat_timestamp_seconds", "When the process's loop last turned; the start, before the first.",
           {"beat": "now"}),
    # What comes in and goes out.
    Metric("craft_records_consumed_total", "Records read from the input topic; read again after an abort.",
           {"consumed": "records"}),
    Metric("craft_consumed_bytes_total", "Bytes of the values of those records.", {"consumed": "size"}),
    Metric("craft_decisions_total", "Pairs decided and committed, by outcome and reason.",
           labels=("outcome", "reason"), series=tuple((outcome(reason), reason.label) for reason in Reason)),
    Metric("craft_rejected_kept_total", "Rejected pairs committed to the decisions topic as a sample.",
           {"decided": "rejected_kept"}),
    Metric("craft_judged_total", "Pairs decided and committed that passed the gate, so that their quality was judged.",
           {"decided": lambda decisions: np.isfinite(decisions.quality).sum()}),
    Metric("craft_embedded_total", "Pairs decided and committed that the encoder was asked for.",
           {"decided": lambda decisions: decisions.embedded}),
    Metric("craft_signal_unknown_pairs_total", "Pairs read of which a signal was not known, by its name.",
           {"signal_unknown": "pairs"}, ("signal",)),
    Metric("craft_dead_letters_total", "Records that could not be decided, by the stage that failed and the reason.",
           {"dead_letters": "records"}, ("stage", "reason"), every([Stage.DECODE], DecodeReason)),
    Metric("craft_dead_letter_ratio", "Share of recent records that could not be decided, as the circuit breaker sees it.",
           {"breaker": "share"}),
    Metric("craft_breaker_open", "1 when that share has passed errors.dead_letter_limit and the worker stops.",
           {"breaker": "open_"}),
    Metric("craft_errors_total", "Errors that the worker survived, by class.", {"error": 1}, ("kind",)),
    Metric("craft_end_to_end_latency_seconds", "From record timestamp to commit: the mean of each transaction's records.",
           {"latency": lambda seconds: max(0.0, seconds)}, buckets=LATENCY),  # clocks may disagree
    Metric("craft_in_flight_records", "Records read and not yet committed.", {"in_flight": "records"}),
    Metric("craft_in_flight_bytes", "Bytes of the values of those records.", {"in_flight": "size"}),
    # Time.
    Metric("craft_stage_duration_seconds", "Time that a batch spent in a stage.",
           {"stage": "seconds"}, ("stage",), every(Stage), STAGE),
    Metric("craft_poll_interval_used_ratio", "Time between two polls over max.poll.interval.ms.",
           {"poll_interval_used": "share"}, buckets=POLL),
    # The group and its transactions.
    Metric("craft_lag_records", "Offsets between what is decided and the end of the partition.",
           {"lag": "records"}, ("partition",)),
    Metric("craft_lag_seconds", "Age of the newest record decided while the partition has more, else 0.",
           {"lag": "seconds"}, ("partition",)),
    Metric("craft_partitions", "Partitions of the input topic held, by state.",
           labels=("state",), series=every(HELD_STATES)),
    Metric("craft_rebalances_total",
           "Changes of the assignment, by kind; assigned: once for each partition, when it is restored.",
           {"rebalanced": 1}, ("kind",), every(RebalanceKind)),
    Metric("craft_rebalance_duration_seconds", "Until the partitions of a change were drained, dropped or restored.",
           {"rebalanced": "seconds"}, ("kind",), every(RebalanceKind), REBALANCE),
    Metric("craft_transactions_total", "Transactions, by result.",
           {"transaction": 1}, ("result",), every(TransactionResult)),
    Metric("craft_transaction_duration_seconds", "Time that a transaction was open.",
           {"transaction": "seconds"}, buckets=STAGE),
    Metric("craft_last_commit_timestamp_seconds", "When the last transaction was committed; the start, before the first.",
           {"transaction": lambda result, now: now if result is TransactionResult.COMMITTED else None}),
    Metric("craft_recoveries_total", "Ambiguous transaction errors answered with a new producer and a restore.",
           {"recovered": 1}),
    # The ledgers.
    Metric("craft_ledger_written_bytes_total", "Bytes of ledgers written in committed transactions, by kind.",
           {"ledger_written": "size"}, ("kind",), every(kind.name.lower() for kind in Kind)),
    Metric("craft_ledger_snapshots_total", "Snapshots of ledgers written.",
           {"ledger_written": lambda kind: 1 if kind == SNAPSHOT else None}),
    Metric("craft_ledger_snapshot_bytes", "Size of the last snapshot written.",
           {"ledger_written": lambda kind, size: size if kind == SNAPSHOT else None}),
    # A partition that has no snapshot gets one with its first transaction.
    Metric("craft_ledger_snapshot_timestamp_seconds", "When the newest snapshot of the partition's ledger was written.",
           {"restored": lambda written_ms, now: written_ms / 1000 or now,
            "ledger_written": lambda kind, now: now if kind == SNAPSHOT else None}, ("partition",)),
    Metric("craft_ledger_snapshot_duration_seconds", "Time to make a snapshot.", {"snapshot": "seconds"}, buckets=STAGE),
    Metric("craft_ledger_snapshot_failures_total",
           "Snapshots that could not be made, or whose transaction was not committed.", {"snapshot_failed": 1}),
    Metric("craft_ledger_damaged_total", "Restores that met damaged records of the ledger topic, by what became of them.",
           {"ledger_damaged": 1}, ("outcome",), every(DAMAGE)),
    Metric("craft_ledger_pending_deltas", "Deltas written since the partition's last snapshot, which a restore replays.",
           labels=("partition",)),
    # A partition that is assigned waits for its restore, which may be long in coming.
    Metric("craft_restore_progress_ratio", "Share of the partition's ledger that is read back; 1 once it is restored.",
           {"partition_state": lambda state: 0 if state is PartitionState.ASSIGNED else None,
            "restoring": "share", "restored": 1}, ("partition",)),
    Metric("craft_restore_duration_seconds", "Time to restore a partition's ledger.",
           {"restored": "seconds"}, buckets=REBALANCE),
    Metric("craft_restored_bytes_total", "Bytes of ledgers read back.", {"restored": "size"}),
    Metric("craft_restore_retries_total", "Readings repeated because the predecessor's commit was still under way.",
           {"restored": lambda attempts: max(0, attempts - 1)}),
    # The Model and the target.
    Metric("craft_model_version", "Model version that decides; the oldest of the partitions held."),
    Metric("craft_model_loaded_version", "Newest model version loaded.",
           {"model": lambda header: header.get("version", 0)}),
    Metric("craft_passed_over_models", "Versions on the model topic that are damaged or not signed as models.key demands.",
           {"models_passed_over": "versions"}),
    Metric("craft_model_published_timestamp_seconds", "When the newest model version loaded was published.",
           {"model": lambda header: header.get("published_at_ms", 0) / 1000}),
    Metric("craft_model_bytes", "Size of the newest model version loaded.", {"model": "size"}),
    Metric("craft_target_version", "The target of the newest model version loaded, hashed to a number of 48 bits.",
           {"model": lambda header: _number(str(header.get("target_version", "")))}),
    Metric("craft_target_pairs", "Pairs in the target's reservoir.",
           {"model": lambda header: header.get("target_pairs", 0)}),
    Metric("craft_target_left_out_pairs",
           "Pairs in the reservoir that the newest model version loaded did not learn from, by reason.",
           labels=("reason",), series=every(FINDINGS)),
    Metric("craft_target_rereads_total",
           "Times that the target was read again, since withdrawals had left its reservoir incomplete.",
           {"target_reread": 1}),
    Metric("craft_learner_active", "1 while this process learns and publishes versions.", {"learner": "active"}),
    Metric("craft_learner_stopped", "1 while the learner publishes no version, though one is due; its log says why.",
           {"not_learning": lambda why: int(why is not None)}),
    Metric("craft_learner_pairs", "Pairs of the stream that the learner has seen.", {"learner": "pairs_seen"}),
    Metric("craft_models_published_total", "Model versions published here.", {"published": 1}),
    Metric("craft_models_pruned_total", "Model versions withdrawn here, since nothing needs them.",
           {"pruned": "versions"}),
    Metric("craft_model_publish_duration_seconds", "Time to make and write a model version.",
           {"published": "seconds"}, buckets=STAGE),
    # How well what was accepted matches the target.
    Metric("craft_divergence_nats", "KL(target || accepted) over the clusters, of the partitions held together."),
    Metric("craft_divergence_bound_nats",
           "What the duals guarantee: log 1/(1 - relaxation), once all clusters have their floors."),
    Metric("craft_cluster_target_share_ratio", "Share of the target in a cluster.", labels=("cluster",)),
    Metric("craft_cluster_accepted_pairs", "Pairs accepted into a cluster, of the partitions held.",
           labels=("cluster",)),
    Metric("craft_threshold_score", "Score that a pair must reach now.",
           {"decided": lambda decisions: _last_finite(decisions.threshold)}, ("partition",)),
    Metric("craft_budget_wanted_ratio", "Share of the stream to accept: the budget.",
           {"started": "budget", "settings": "budget"}),
    Metric("craft_settings_version", "Version of the group's settings that partitions take at their next epoch.",
           {"settings": "version"}),
    Metric("craft_budget_realised_ratio", "Share of the stream accepted since the ledgers began."),
    Metric("craft_budget_unspendable_ratio",
           "Share of the budget withheld now, since the stream holds less of the domain than it did."),
    Metric("craft_drift_detections_total",
           "Times that the stream drifted, by signal; spending: it came to hold less of the domain than it had.",
           {"drifted": 1}, ("signal",), every(DRIFTS)),
)  # fmt: skip

CRAWL: Final = (
    Metric("craft_last_beat_timestamp_seconds", "When the process's loop last turned; the start, before the first."),
    Metric("craft_crawl_responses_total", "Responses read from WARC files."),
    Metric("craft_crawl_read_bytes_total", "Bytes of the pages in them, decompressed."),
    Metric("craft_crawl_pages_total", "Pages, by what became of them.",
           labels=("outcome",), series=every(meanings.PAGES)),
    Metric("craft_crawl_pairs_total", "Pairs of sentences published."),
    Metric("craft_crawl_waiting_pages", "Pages that wait for their translation."),
    Metric("craft_crawl_last_publish_timestamp_seconds", "When pairs were last published; the start, before the first."),
)  # fmt: skip


def _last_finite(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float | None:
    return float(values[-1]) if len(values) and np.isfinite(values[-1]) else None
