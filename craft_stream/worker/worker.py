"""The long-running worker: one loop that serves the group and never waits, and lanes that do what takes time.

    loop         polls the group (paused partitions included), buffers, hands batches over, watches
    pipeline     decides a transaction (`Decider`) while the one before is written and committed (`Committer`)
    restore lane reads ledgers of new partitions (`Restorer`)
    models       follows the model topic; the learner, if this worker has it, is another thread

A partition's life: ASSIGNED, RESTORING, ACTIVE, and PAUSED while more is buffered than the bounds allow;
DRAINING while its last transaction ends before it is given back, then RELEASED; LOST when the group took it,
and nothing of it may be committed. After any failed transaction its partitions, and those of the transaction that was
decided after it, are restored and read again from the committed offset.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, wait
from operator import attrgetter
from typing import TypeVar

from craft_stream.concurrency import SerialExecutor
from craft_stream.errors import CraftError, UnavailableError
from craft_stream.events import Observer, PartitionState, RebalanceKind, Stage
from craft_stream.ports.transport import ChangeKind, Group, TransactionError, Transport
from craft_stream.scoring.embedding import Embedder
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.worker.batch_sizer import BatchSizer
from craft_stream.worker.breaker import CircuitBreaker
from craft_stream.worker.committer import Committed, Committer
from craft_stream.worker.decider import Batch, Decider, Outcome
from craft_stream.worker.learner_service import LearnerService
from craft_stream.worker.model_follower import ModelFollower
from craft_stream.worker.partition import AssignedPartition
from craft_stream.worker.restorer import Restored, Restorer
from craft_stream.worker.retry import retry
from craft_stream.worker.transactions import TransactionsInFlight

TRANSACTIONS = 2  # at work: one is decided while one is committed
# transactions' worth of records that may have been read: those at work, one ready, one arriving
IN_FLIGHT_BATCHES = TRANSACTIONS + 2
IN_FLIGHT_BYTES = 128 << 20
IDLE_SECONDS = 0.05
BATCH_SECONDS = 1.0  # of a transaction, where the commit interval is shorter
STOP_SECONDS = 20.0  # of the 30 that a supervisor gives
RECOVERY_STOP_SECONDS = 5.0
HANG_SECONDS = 60.0  # beyond a transaction's time-out nothing can come of it any more
RECOVER_SECONDS = 1.0
SUMMARY_SECONDS = 1.0
EXPLAIN_SECONDS = 15.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Worker:
    """Consumes, decides and commits until it is stopped.

    Args:
        settings: of the process.
        transport: makes the clients.
        encoder: what turns texts into vectors.
        models: which Model ought to be in force.
        observer: is told everything.
        stop: set by a signal's handler: what is at work is committed, and the group is left.
        rebuild: go on where only a new ledger, or a gap in the log, makes that possible.
        listed: what must not be accepted.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        encoder: Embedder,
        models: ModelFollower,
        observer: Observer,
        stop: threading.Event,
        rebuild: bool = False,
        listed: Blocklist | None = None,
    ) -> None:
        selector = Selector(settings.parameters(), encoder)
        self._digest = selector.parameters.digest
        self._settings, self._transport, self._encoder = settings, transport, encoder
        self._models, self._observer = models, observer
        self._decider = Decider(settings, selector, observer, listed)
        self._committer = Committer(settings, transport, self._digest, observer)
        self._restorer = Restorer(settings, transport, selector.parameters, models.store, rebuild, observer)
        self._breaker = CircuitBreaker(settings.errors)
        kafka = settings.kafka
        self._pace = BatchSizer(kafka.max_poll_records, max(BATCH_SECONDS, kafka.commit_interval_ms / 1000))
        self._held: dict[int, AssignedPartition] = {}
        self._restoring = -1
        self._recovering = False
        self._recover_again = 0.0
        self._dispatched = self._explained = time.monotonic()
        self._learner: LearnerService | None = None
        self._stop = stop
        self._wake = threading.Event()
        self._work: TransactionsInFlight[Committed] = TransactionsInFlight(self._wake.set)
        self._recovery: Future[None] | None = None
        self._recoveries = SerialExecutor("recover")
        self._restore: Future[Restored] | None = None
        self._restores = SerialExecutor("restore")
        self._last_poll = self._last_reached = time.monotonic()

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            UnavailableError: no broker for too long; the process must end and be started again.
            CraftError: it makes no sense to go on; nothing is committed that is not decided.
        """
        settings, observer = self._settings, self._observer
        observer.started(
            settings.kafka.group_id,
            settings.kafka.input_topic,
            self._digest,
            settings.budget.rate,
        )
        group: Group | None = None
        try:
            self._reach(self._models.look)
            self._models.start()
            self._reach(self._committer.open)
            if self._models.current is not None:
                self._decider.warm_up(self._models.current)
            group = self._reach(self._transport.group)
            self._last_poll = self._last_reached = time.monotonic()
            while not self._stop.is_set():
                self._turn(group)
            self._drain(group)
        finally:
            self._close(group)

    def _reach(self, step: Callable[[], T]) -> T:
        """Take a step of the start, tried again for as long as brokers may be out of reach."""
        return retry(step, self._settings.kafka.unavailable_seconds, self._stop, self._observer.beat)

    def _turn(self, group: Group) -> None:
        """One turn of the loop."""
        self._observer.beat()
        self._poll(group)
        self._changes(group)
        self._collect_restored(group)
        self._collect_work(group)
        self._dispatch(group)
        self._bound(group)
        self._watch(group)

    @property
    def _busy(self) -> bool:
        """Whether a transaction or a recovery is in flight."""
        return bool(self._work) or self._recovery is not None

    # Reading.

    def _poll(self, group: Group) -> None:
        now = time.monotonic()
        self._observer.poll_interval_used(
            1000 * (now - self._last_poll) / self._settings.kafka.max_poll_interval_ms
        )
        self._last_poll = now
        # While a transaction is open the poll must be one round only: a second round could join the group
        # again and take from a partition that is being drained the generation in which it may still be
        # committed.
        seconds = 0.0 if self._busy else IDLE_SECONDS
        messages = group.poll(self._settings.kafka.max_poll_records, seconds)
        self._observer.stage(Stage.POLL, time.monotonic() - now, len(messages))
        for partition, run in itertools.groupby(messages, attrgetter("partition")):
            held = self._held.get(partition)
            if held is not None and held.state in (PartitionState.ACTIVE, PartitionState.PAUSED):
                arrived = list(run)
                self._observer.consumed(partition, len(arrived), held.add(arrived))
        if not messages and self._busy:
            self._wake.wait(IDLE_SECONDS)
        self._wake.clear()

    def _bound(self, group: Group) -> None:
        """Pause what delivers while too much is in flight, and go on when there is room."""
        limit = IN_FLIGHT_BATCHES * self._settings.kafka.max_poll_records
        records = sum(len(held.buffer) for held in self._held.values())
        size = sum(held.size for held in self._held.values())
        at_work = sum(len(messages) for batches in self._work.batches for _, messages in batches.values())
        self._observer.in_flight(records + at_work, size)
        full = records + at_work >= limit or size >= IN_FLIGHT_BYTES
        roomy = records + at_work <= 2 * limit // 3 and size <= IN_FLIGHT_BYTES // 2
        if full:
            self._switch(group, PartitionState.ACTIVE, PartitionState.PAUSED)
        elif roomy:
            self._switch(group, PartitionState.PAUSED, PartitionState.ACTIVE)

    def _switch(self, group: Group, before: PartitionState, after: PartitionState) -> None:
        partitions = [partition for partition, held in self._held.items() if held.state is before]
        if not partitions:
            return
        (group.pause if after is PartitionState.PAUSED else group.resume)(partitions)
        for partition in partitions:
            self._state(partition, after)

    # Partitions that come and go.

    def _changes(self, group: Group) -> None:
        changes = group.changes()
        if not changes:
            return
        for change in changes:
            began = time.monotonic()
            partitions = sorted(change.partitions)
            log.info("partitions %s %s", partitions, change.kind.value)
            if change.kind is ChangeKind.ASSIGNED:
                for partition in partitions:
                    self._held[partition] = AssignedPartition()
                    self._state(partition, PartitionState.ASSIGNED)
                continue
            lost = change.kind is ChangeKind.LOST
            if not lost:
                self._finish(partitions)
            for partition in partitions:
                self._state(partition, PartitionState.LOST if lost else PartitionState.RELEASED)
                self._held.pop(partition, None)
            kind = RebalanceKind.LOST if lost else RebalanceKind.REVOKED
            self._observer.rebalanced(kind, len(partitions), time.monotonic() - began)
        self._observer.joined(frozenset(self._held))
        self._host_learner()

    def _finish(self, partitions: Iterable[int]) -> None:
        """Wait, without polling, for the transactions that hold some of these, so that they can be committed."""
        taken = set(partitions)
        holding = [place for place, batches in enumerate(self._work.batches, 1) if taken & set(batches)]
        if not holding or self._work.ended >= holding[-1]:
            return
        for partition in partitions:
            self._state(partition, PartitionState.DRAINING)
        self._await(holding[-1], self._settings.kafka.revoke_budget_ms / 1000)

    def _await(self, jobs: int, seconds: float) -> None:
        """Wait until so many of the transactions at work have ended, or for so long."""
        deadline = time.monotonic() + seconds
        while self._work.ended < jobs and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
            self._observer.beat()

    def _collect_restored(self, group: Group) -> None:
        if self._restore is not None and self._restore.done():
            restore, self._restore = self._restore, None
            try:
                restored = restore.result()
            except CraftError as error:
                held = self._held.get(self._restoring)
                ours = held is not None and held.state is PartitionState.RESTORING
                if ours and not isinstance(error, UnavailableError):
                    raise
                # It is tried again; whether all brokers are gone is the watch's business.
                log.warning("restoring partition %d failed: %s", self._restoring, error)
                self._observer.error(type(error).__name__)
            else:
                self._accept(group, restored)
        if self._restore is None:
            waiting = [p for p, held in self._held.items() if held.state is PartitionState.ASSIGNED]
            stale = [p for p, held in self._held.items() if held.state is PartitionState.RESTORING]
            for partition in [*stale, *waiting][:1]:
                if self._recovering or any(partition in batches for batches in self._work.batches):
                    continue  # its old transactions must end first
                self._state(partition, PartitionState.RESTORING)
                self._restoring = partition
                self._restore = self._restores.submit(functools.partial(self._restorer.restore, partition))
                self._restore.add_done_callback(lambda _: self._wake.set())

    def _accept(self, group: Group, restored: Restored) -> None:
        """Set a restored partition going, unless it has gone (or gone and come back) in the meantime."""
        held = self._held.get(restored.partition)
        if held is None or held.state is not PartitionState.RESTORING:
            return
        held.clear()
        held.partition = restored.ledger
        group.start(restored.partition, restored.offset)
        self._state(restored.partition, PartitionState.ACTIVE)
        snapshots, deltas = restored.ledger.index.snapshots, restored.ledger.writer.deltas
        written_ms = snapshots[-1].written_ms if snapshots else 0
        self._observer.restored(
            restored.partition, restored.seconds, restored.size, restored.attempts, deltas, written_ms
        )
        if held.since is not None:
            self._observer.rebalanced(RebalanceKind.ASSIGNED, 1, time.monotonic() - held.since)
            held.since = None

    def _state(self, partition: int, state: PartitionState) -> None:
        held = self._held.get(partition)
        if held is not None and (held.state is not state or state is PartitionState.ASSIGNED):
            held.state = state
            self._observer.partition_state(partition, state)

    # Deciding.

    def _dispatch(self, group: Group) -> None:
        """Hand the next transaction to the pipeline."""
        now = time.monotonic()
        if self._recovering:
            if not self._busy and now >= self._recover_again:
                self._recovery = self._recoveries.submit(self._committer.recover)
                self._recovery.add_done_callback(lambda _: self._wake.set())
            return
        if len(self._work) >= TRANSACTIONS:
            return
        model = self._models.current
        if model is None:
            self._explain_waiting(now)
            return
        kafka = self._settings.kafka
        ready = {p: held.partition for p, held in self._held.items() if held.buffer and held.partition}
        waiting = sum(len(self._held[p].buffer) for p in ready)
        due = waiting >= self._pace.room or 1000 * (now - self._dispatched) >= kafka.commit_interval_ms
        # the first records of a partition have waited for its rebalance and restore already
        if not waiting or not (due or any(self._held[p].fresh for p in ready)):
            return
        room = self._pace.room
        batches: dict[int, Batch] = {}
        # the partition that waits longest first
        for number in sorted(ready, key=lambda p: self._held[p].buffer[0].timestamp_ms):
            if room > 0:
                messages = self._held[number].take(room)
                batches[number] = (ready[number], messages)
                room -= len(messages)
        self._dispatched = now
        self._work.begin(
            batches,
            lambda: self._decider.decide(batches, model),
            lambda decided: self._committer.commit(decided, group),
        )

    def _explain_waiting(self, now: float) -> None:
        if now - self._explained >= EXPLAIN_SECONDS and self._held:
            self._explained = now
            failure = self._learner.failure if self._learner is not None else None
            log.warning("no model yet: %s", failure or "the learner primes itself, or is not running yet")

    def _collect_work(self, group: Group) -> None:
        if self._recovery is not None and self._recovery.done():
            recovery, self._recovery = self._recovery, None
            try:
                recovery.result()
                self._recovering = False
            except (TransactionError, UnavailableError) as error:
                self._give_up(group, (), error)
        while self._work.ended:
            transaction = self._work.pop()
            try:
                done = transaction.committed.result()
            except (TransactionError, UnavailableError, CancelledError) as error:
                self._give_up(group, transaction.batches, error)
                continue
            self._pace.took(done.decided.records, done.seconds)
            self._committed(group, done)

    def _give_up(self, group: Group, partitions: Iterable[int], error: Exception) -> None:
        """Let these partitions be restored and read again, and the committer recover before anything else is tried."""
        if not isinstance(error, CancelledError):
            log.warning("%s", error)
            self._observer.error(type(error).__name__)
            self._recover_again = time.monotonic() + (RECOVER_SECONDS if self._recovering else 0.0)
            self._recovering = True
        for partition in partitions:
            held = self._held.get(partition)
            if held is not None:
                group.pause([partition])
                held.clear()
                self._state(partition, PartitionState.ASSIGNED)

    def _committed(self, group: Group, done: Committed) -> None:
        now = time.time()
        ends = group.ends()
        outcomes = done.decided.outcomes
        for partition, outcome in outcomes.items():
            self._tell(partition, outcome, ends.get(partition), now)
            for kind, size in outcome.pending.sizes.items():
                self._observer.ledger_written(partition, kind.name.lower(), size)
            if self._learner is not None:
                for chunk, decisions, _ in outcome.parts:
                    self._learner.offer(partition, chunk.pairs.batch, decisions.accepted)
        messages = (m for o in outcomes.values() for part in o.parts for m in part.chunk.messages)
        stamps = [message.timestamp_ms for message in messages if message.timestamp_ms > 0]
        if stamps:
            self._observer.latency(max(0.0, now - sum(stamps) / len(stamps) / 1000), len(stamps))
        try:
            self._breaker.count(done.decided.records, done.decided.dead)
        except CraftError:
            self._observer.breaker(True, self._breaker.share)
            raise
        self._observer.breaker(False, self._breaker.share)

    def _tell(self, partition: int, outcome: Outcome, end: int | None, now: float) -> None:
        observer = self._observer
        observer.decided(partition, outcome.decisions, sum(int(part.kept.sum()) for part in outcome.parts))
        held = self._held.get(partition)
        for signal in held.monitor.observe(outcome.decisions) if held is not None else ():
            log.warning(
                "partition %d: %s has drifted at offset %d",
                partition,
                signal,
                outcome.decisions.positions[-1],
            )
            observer.drifted(partition, signal)
        for (stage, reason), many in Counter(
            (letter.stage, letter.reason) for letter in outcome.dead
        ).items():
            observer.dead_letters(partition, stage, reason, many)
        if len(outcome.decisions):
            observer.model_in_force(partition, int(outcome.decisions.model_version[-1]))
        if held is None:
            return
        if end is not None:
            behind = max(0, end - outcome.next_offset)
            stamp = outcome.parts[-1].chunk.messages[-1].timestamp_ms
            observer.lag(partition, behind, max(0.0, now - stamp / 1000) if behind and stamp > 0 else 0.0)
        if time.monotonic() - held.summarised >= SUMMARY_SECONDS:
            held.summarised = time.monotonic()
            observer.ledger(partition, outcome.summary)

    # Watching.

    def _watch(self, group: Group) -> None:
        now = time.monotonic()
        if group.reachable():
            self._last_reached = now
        kafka = self._settings.kafka
        if now - self._last_reached > kafka.unavailable_seconds:
            raise UnavailableError(
                f"no broker of {kafka.bootstrap_servers} has been reachable for {kafka.unavailable_seconds:.0f} s"
            )
        since = self._committer.transaction_since
        if since is not None and now - since > kafka.transaction_timeout_ms / 1000 + HANG_SECONDS:
            raise UnavailableError(
                f"a transaction has been hanging for {now - since:.0f} s: the process must end, and its successor "
                "will restore"
            )

    def _host_learner(self) -> None:
        """Learn while this worker has input partition 0."""
        if self._settings.learner.mode != "embedded":
            return
        wanted = 0 in self._held
        if wanted and self._learner is None:
            self._learner = LearnerService(self._settings, self._transport, self._encoder, self._observer)
            self._learner.start()
        elif not wanted and self._learner is not None:
            self._learner.stop(0.0)
            self._learner = None

    # Ending.

    def _drain(self, group: Group) -> None:
        """Commit what is at work; what is only buffered has not been touched."""
        for partition in self._held:
            self._state(partition, PartitionState.DRAINING)
        # a recovery has nothing to commit, it only ends a transaction that its time-out would end too
        if self._recovery is not None:
            wait([self._recovery], RECOVERY_STOP_SECONDS)
        self._await(len(self._work), STOP_SECONDS)
        self._collect_work(group)

    def _close(self, group: Group | None) -> None:
        self._models.stop()
        if self._learner is not None:
            self._learner.stop(2.0)
        if group is not None:
            group.leave()
        self._await(len(self._work), 1.0)
        if self._work.ended == len(self._work) and (self._recovery is None or self._recovery.done()):
            self._committer.close()
        if self._restore is None or self._restore.done():
            self._restorer.close()
        for partition in list(self._held):
            self._state(partition, PartitionState.RELEASED)
        self._observer.stopped()
