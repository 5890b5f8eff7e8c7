"""What the worker tells whoever watches it: one method for each kind of event.

The worker calls an observer from several of its threads and never waits for it: an implementation overrides what it
wants, keeps its own clock and locks, and must not block or raise. A base class rather than a protocol, so that a new
event breaks no implementation. What `craft_stream.observe` shows is derived from these events alone; its table of
metrics names arguments by the names that they have here.

Units: seconds, bytes (`size`), records. Every string that may become a metric label is from a closed set named here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions


class PartitionState(StrEnum):
    """Where in its life an input partition is, as seen by the worker that holds it."""

    ASSIGNED = "assigned"
    RESTORING = "restoring"
    ACTIVE = "active"
    PAUSED = "paused"
    DRAINING = "draining"
    RELEASED = "released"
    LOST = "lost"


class Stage(StrEnum):
    """Stages of the loop: what a duration, an error policy or a dead letter belongs to."""

    POLL = "poll"
    DECODE = "decode"
    EMBED = "embed"
    DECIDE = "decide"
    PRODUCE = "produce"
    COMMIT = "commit"
    LEARN = "learn"
    RESTORE = "restore"


class TransactionResult(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    FENCED = "fenced"
    FAILED = "failed"


class RebalanceKind(StrEnum):
    """What the group did to this worker."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


# What became of a restore that met damage: an older snapshot (and the deltas since) led to the committed offset,
# the ledger cannot be restored and the worker stops, or a new one was begun as `--rebuild` says.
DAMAGE = ("fell_back", "refused", "rebuilt")

# What can drift: the signals of `selection.monitor`, and the share of the budget that a ledger lets be spent.
SPENDING = "spending"
DRIFTS = ("domain", "clean", "accepted", SPENDING)
# Why pairs of the target are not learned from: `learning.examination.Finding`.
FINDINGS = ("copy", "duplicate", "other_language", "no_translation")


class Observer:
    """Receives every event of a worker and ignores it."""

    def started(self, group: str, topic: str, parameters: str, budget: float, /) -> None:
        """The worker begins, in a consumer group, on an input topic, with parameters of this digest and a budget's rate."""

    def beat(self) -> None:
        """The loop turned (at least once a second while the worker is healthy): the basis of liveness."""

    def joined(self, partitions: frozenset[int], /) -> None:
        """The group gave this worker exactly these input partitions (or none): the basis of readiness."""

    def waiting(self, why: str | None, /) -> None:
        """Why nothing can be decided though the worker is well (no target, version or topic); None: nothing is in the way."""

    def stopped(self) -> None:
        """The worker has left the group and closed its clients."""

    def settings(self, version: int, parameters: str, budget: float, changes: Sequence[str], /) -> None:
        """The group's settings of this version are offered to partitions.

        Args:
            version: its number.
            parameters: their digest.
            budget: its rate.
            changes: what is different from the version before, at the start from what this process was given.
        """

    def partition_state(self, partition: int, state: PartitionState, /) -> None:
        """A partition entered `state`; after RELEASED or LOST the worker says nothing more of it."""

    def rebalanced(self, kind: RebalanceKind, partitions: int, seconds: float, /) -> None:
        """A rebalance took or gave `partitions`; `seconds` until they were drained, dropped or restored."""

    def consumed(self, partition: int, records: int, size: int, /) -> None:
        """`records` records of `size` bytes of values arrived (before anything is done with them)."""

    def in_flight(self, records: int, size: int, /) -> None:
        """What has been read and not committed, now."""

    def poll_interval_used(self, share: float, /) -> None:
        """Time between the last two polls over the broker's limit for it (max_poll_interval_ms)."""

    def lag(self, partition: int, records: int, seconds: float, /) -> None:
        """Offsets behind the end of the log, and the age of the newest record decided (0 when lag is 0)."""

    def decided(self, partition: int, decisions: Decisions, rejected_kept: int, /) -> None:
        """A batch was decided and committed; `rejected_kept`: rejected ones written to the decisions topic."""

    def pairs(self, partition: int, chunk: Chunk, decisions: Decisions, /) -> None:
        """A part of such a batch with its texts: whoever shows some copies them, as the chunk's memory is wanted back."""

    def dead_letters(self, partition: int, stage: Stage, reason: str, records: int, /) -> None:
        """Records could not be decided; `reason`: a `records.DecodeReason` or an error class's name."""

    def signal_unknown(self, signal: str, pairs: int, /) -> None:
        """Of so many pairs that were read a signal was not known."""

    def breaker(self, open_: bool, share: float, /) -> None:
        """The circuit breaker's state and the dead letters' share it is judged by."""

    def stage(self, stage: Stage, seconds: float, records: int, /) -> None:
        """A stage took `seconds` for `records` records."""

    def transaction(self, result: TransactionResult, seconds: float, records: int, /) -> None:
        """A transaction ended."""

    def latency(self, seconds: float, records: int, /) -> None:
        """`records` records were committed; `seconds`: mean time from record timestamp to commit."""

    def recovered(self) -> None:
        """An ambiguous transaction error was answered with a new producer and a restore."""

    def restoring(self, partition: int, share: float, /) -> None:
        """A restore is under way and has read this share, 0 to 1, of what it must read."""

    def restored(
        self, partition: int, seconds: float, size: int, attempts: int, deltas: int, written_ms: int, /
    ) -> None:
        """A ledger was restored.

        Args:
            partition: of the input topic.
            seconds: that it took.
            size: bytes read.
            attempts: readings of the ledger topic.
            deltas: since its newest snapshot.
            written_ms: when that was written, by the brokers' clock; 0 when there is none.
        """

    def ledger_damaged(self, partition: int, outcome: str, /) -> None:
        """Records of a ledger were of no use in a restore; `outcome`: one of `DAMAGE`."""

    def ledger_written(self, partition: int, kind: str, size: int, /) -> None:
        """Ledger bytes went into a committed transaction; `kind`: a name of `ledger_entries.Kind`, in small letters."""

    def snapshot(self, partition: int, seconds: float, size: int, /) -> None:
        """A snapshot of a ledger was made for a transaction: time and encoded bytes."""

    def snapshot_failed(self, partition: int, /) -> None:
        """A transaction that held a snapshot was not committed, or none could be made."""

    def ledger(self, partition: int, summary: Mapping[str, Any], /) -> None:
        """`Ledger.summary()` after a commit, at most once a second for each partition."""

    def drifted(self, partition: int, signal: str, /) -> None:
        """Something has drifted; one of `DRIFTS`."""

    def model(self, header: Mapping[str, Any], size: int, /) -> None:
        """A Model was loaded: its `header` (version, target_version, published_at_ms, ...) and bytes."""

    def models_passed_over(self, versions: int, /) -> None:
        """So many versions on the model topic are not taken: damaged, or not signed as `models.key` demands."""

    def model_in_force(self, partition: int, version: int, /) -> None:
        """A partition decides with this Model version."""

    def target(self, version: str, pairs: int, /) -> None:
        """The target as read: its version (a digest of the reservoir) and its size."""

    def target_reread(self, pairs: int, /) -> None:
        """Withdrawals had left the reservoir incomplete: the target was read again and holds `pairs`."""

    def learner(self, active: bool, pairs_seen: int, /) -> None:
        """Whether this worker learns, and what it has learned from."""

    def not_learning(self, why: str | None, /) -> None:
        """Why the learner publishes no version, though one is due; None: nothing is in its way."""

    def published(self, version: int, seconds: float, size: int, /) -> None:
        """This worker's learner published a Model: time to make and write it, encoded bytes."""

    def pruned(self, versions: int, /) -> None:
        """This worker's learner withdrew versions that nothing needs any more."""

    def primed(self, pairs: int, seconds: float, /) -> None:
        """The learner was primed before the first decision."""

    def error(self, kind: str, /) -> None:
        """An error was survived; `kind` is the class name of a CraftError or of a client's error."""
