"""The long-running worker: one loop that serves the group and never waits, and lanes that do what takes time.

    loop         polls the group (paused partitions included), buffers, hands batches over, watches
    work lane    decides and commits, one transaction at a time (`Processor`)
    restore lane reads ledgers of new partitions (`Restorer`)
    models       follows the model topic; the learner, if this worker has it, is another thread

A partition's life: ASSIGNED, RESTORING, ACTIVE, and PAUSED while more is buffered than the bounds allow;
DRAINING while its last transaction ends before it is given back, then RELEASED; LOST when the group took it,
and nothing of it may be committed. After any failed transaction its partitions are restored and read again
from the committed offset.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

from craft_stream.errors import CraftError, UnavailableError
from craft_stream.runtime.held import Held
from craft_stream.runtime.lane import Lane
from craft_stream.runtime.learning import LearnerService
from craft_stream.runtime.models import ModelFollower
from craft_stream.runtime.observer import Observer, PartitionState, RebalanceKind, Stage
from craft_stream.runtime.pace import Pace
from craft_stream.runtime.patience import patiently
from craft_stream.runtime.policy import Breaker
from craft_stream.runtime.ports import Message
from craft_stream.runtime.processor import Outcome, Processed, Processor
from craft_stream.runtime.restore import Restored, Restorer
from craft_stream.runtime.transport import ChangeKind, Group, TransactionError, Transport
from craft_stream.scoring.embedding import Embedder
from craft_stream.selection.listed import Listed
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings

IN_FLIGHT_BATCHES = (
    3  # transactions' worth of records that may be buffered: one at work, one ready, one arriving
)
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
        listed: Listed | None = None,
    ) -> None:
        selector = Selector(settings.parameters(), encoder)
        self._digest = selector.parameters.digest
        self._settings, self._transport, self._encoder = settings, transport, encoder
        self._models, self._observer = models, observer
        self._processor = Processor(settings, transport, selector, observer, listed)
        self._restorer = Restorer(settings, transport, selector.parameters, models.store, rebuild, observer)
        self._breaker = Breaker(settings.errors)
        kafka = settings.kafka
        self._pace = Pace(kafka.max_poll_records, max(BATCH_SECONDS, kafka.commit_interval_ms / 1000))
        self._held: dict[int, Held] = {}
        self._at_work: dict[int, list[Message]] = {}
        self._restoring = -1
        self._recovering = False
        self._recover_again = 0.0
        self._dispatched = self._explained = time.monotonic()
        self._learner: LearnerService | None = None
        self._stop = stop
        self._wake = threading.Event()
        self._work: Lane[Processed | None] = Lane("work", self._wake.set)
        self._restore: Lane[Restored] = Lane("restore", self._wake.set)
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
            self._reach(self._processor.open)
            if self._models.current is not None:
                self._processor.warm_up(self._models.current)
            group = self._reach(self._transport.group)
            self._last_poll = self._last_reached = time.monotonic()
            while not self._stop.is_set():
                self._turn(group)
            self._drain(group)
        finally:
            self._close(group)

    def _reach(self, step: Callable[[], T]) -> T:
        """Take a step of the start, tried again for as long as brokers may be out of reach."""
        return patiently(step, self._settings.kafka.unavailable_seconds, self._stop, self._observer.beat)

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
        seconds = 0.0 if self._work.busy else IDLE_SECONDS
        messages = group.poll(self._settings.kafka.max_poll_records, seconds)
        self._observer.stage(Stage.POLL, time.monotonic() - now, len(messages))
        for partition, run in itertools.groupby(messages, attrgetter("partition")):
            held = self._held.get(partition)
            if held is not None and held.state in (PartitionState.ACTIVE, PartitionState.PAUSED):
                arrived = list(run)
                self._observer.consumed(partition, len(arrived), held.add(arrived))
        if not messages and self._work.busy:
            self._wake.wait(IDLE_SECONDS)
        self._wake.clear()

    def _bound(self, group: Group) -> None:
        """Pause what delivers while too much is in flight, and go on when there is room."""
        limit = IN_FLIGHT_BATCHES * self._settings.kafka.max_poll_records
        records = sum(len(held.buffer) for held in self._held.values())
        size = sum(held.size for held in self._held.values())
        at_work = sum(map(len, self._at_work.values()))
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
                    self._held[partition] = Held()
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
        """Wait, without polling, for the transaction that holds some of these, so that it can be committed."""
        if not self._work.busy or not set(partitions) & set(self._at_work):
            return
        for partition in partitions:
            self._state(partition, PartitionState.DRAINING)
        deadline = time.monotonic() + self._settings.kafka.revoke_budget_ms / 1000
        while not self._work.ended and time.monotonic() < deadline:
            self._wake.wait(0.01)
            self._wake.clear()
            self._observer.beat()

    def _collect_restored(self, group: Group) -> None:
        if self._restore.ended:
            try:
                restored = self._restore.collect()
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
        if not self._restore.busy:
            waiting = [p for p, held in self._held.items() if held.state is PartitionState.ASSIGNED]
            stale = [p for p, held in self._held.items() if held.state is PartitionState.RESTORING]
            for partition in [*stale, *waiting][:1]:
                if partition in self._at_work or self._recovering:
                    continue  # its old transaction must end first
                self._state(partition, PartitionState.RESTORING)
                self._restoring = partition
                self._restore.submit(functools.partial(self._restorer.restore, partition))

    def _accept(self, group: Group, restored: Restored) -> None:
        """Set a restored partition going, unless it has gone (or gone and come back) in the meantime."""
        held = self._held.get(restored.partition)
        if held is None or held.state is not PartitionState.RESTORING:
            return
        held.clear()
        held.restored = restored
        group.start(restored.partition, restored.offset)
        self._state(restored.partition, PartitionState.ACTIVE)
        writer = restored.state.writer
        written_ms = writer.wholes[-1].written_ms if writer.wholes else 0
        self._observer.restored(
            restored.partition, restored.seconds, restored.size, restored.attempts, writer.deltas, written_ms
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
        """Hand the next batch to the work lane."""
        now = time.monotonic()
        if self._work.busy or self._recovering:
            if self._recovering and not self._work.busy and now >= self._recover_again:
                self._work.submit(self._recover)
            return
        self._adopt()
        model = self._models.current
        if model is None:
            self._explain_waiting(now)
            return
        kafka = self._settings.kafka
        ready = [p for p, held in self._held.items() if held.buffer and p in self._processor.partitions]
        waiting = sum(len(self._held[p].buffer) for p in ready)
        due = waiting >= self._pace.room or 1000 * (now - self._dispatched) >= kafka.commit_interval_ms
        if not waiting or not due:
            return
        room, batches = self._pace.room, {}
        ready.sort(
            key=lambda p: self._held[p].buffer[0].timestamp_ms
        )  # the partition that waits longest first
        for partition in ready:
            if room > 0:
                batches[partition] = self._held[partition].take(room)
                room -= len(batches[partition])
        self._at_work, self._dispatched = batches, now
        self._work.submit(lambda: self._processor.process(batches, model, group))

    def _explain_waiting(self, now: float) -> None:
        if now - self._explained >= EXPLAIN_SECONDS and self._held:
            self._explained = now
            failure = self._learner.failure if self._learner is not None else None
            log.warning("no model yet: %s", failure or "the learner primes itself, or is not running yet")

    def _adopt(self) -> None:
        """Give restored ledgers to the processor, and take those of partitions that are gone."""
        partitions = self._processor.partitions
        for partition in [p for p in partitions if p not in self._held]:
            del partitions[partition]
        for partition, held in self._held.items():
            if held.restored is not None:
                partitions[partition] = held.restored.state
                held.restored = None

    def _collect_work(self, group: Group) -> None:
        if not self._work.ended:
            return
        batches, self._at_work, seconds = self._at_work, {}, self._work.seconds
        try:
            done = self._work.collect()
        except (TransactionError, UnavailableError) as error:
            log.warning("%s", error)
            self._observer.error(type(error).__name__)
            self._recovering = True
            self._recover_again = time.monotonic() + (0.0 if batches else RECOVER_SECONDS)
            for partition in batches:
                self._processor.partitions.pop(partition, None)
                held = self._held.get(partition)
                if held is not None:
                    group.pause([partition])
                    held.clear()
                    held.restored = None
                    self._state(partition, PartitionState.ASSIGNED)
            return
        if done is None:
            self._recovering = False
            return
        self._pace.took(done.records, seconds)
        self._committed(group, done)

    def _recover(self) -> None:
        self._processor.recover()

    def _committed(self, group: Group, done: Processed) -> None:
        now = time.time()
        ends = group.ends()
        for partition, outcome in done.outcomes.items():
            self._tell(partition, outcome, ends.get(partition), now)
            if self._learner is not None:
                self._learner.offer(partition, outcome.batch, outcome.decisions.accepted)
        stamps = [
            m.timestamp_ms for o in done.outcomes.values() for m in o.decoded.messages if m.timestamp_ms > 0
        ]
        if stamps:
            self._observer.latency(max(0.0, now - sum(stamps) / len(stamps) / 1000), len(stamps))
        try:
            self._breaker.count(done.records, done.dead)
        except CraftError:
            self._observer.breaker(True, self._breaker.share)
            raise
        self._observer.breaker(False, self._breaker.share)

    def _tell(self, partition: int, outcome: Outcome, end: int | None, now: float) -> None:
        observer = self._observer
        observer.decided(partition, outcome.decisions, int(outcome.kept.sum()))
        observer.embedded(outcome.decisions.embedded)
        held = self._held.get(partition)
        for signal in held.monitor.observe(outcome.decisions) if held is not None else ():
            log.warning(
                "partition %d: %s has drifted at offset %d",
                partition,
                signal,
                outcome.decisions.positions[-1],
            )
            observer.drifted(partition, signal)
        for letter in outcome.dead:
            observer.dead_letter(partition, letter.stage, letter.reason)
        for kind, size in outcome.sizes.items():
            observer.ledger_written(partition, kind, size)
        if len(outcome.decisions):
            observer.model_in_force(partition, int(outcome.decisions.model_version[-1]))
        state = self._processor.partitions.get(partition)
        if state is None or held is None:
            return
        if end is not None:
            behind = max(0, end - state.ledger.next_offset)
            stamp = outcome.decoded.messages[-1].timestamp_ms if outcome.decoded.messages else 0
            observer.lag(partition, behind, max(0.0, now - stamp / 1000) if behind and stamp > 0 else 0.0)
        if time.monotonic() - held.summarised >= SUMMARY_SECONDS:
            held.summarised = time.monotonic()
            observer.ledger(partition, state.ledger.summary())

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
        since = self._processor.transaction_since
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
        deadline = time.monotonic() + (RECOVERY_STOP_SECONDS if self._recovering else STOP_SECONDS)
        while self._work.busy and not self._work.ended and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
            self._observer.beat()
        if self._work.ended:
            self._collect_work(group)

    def _close(self, group: Group | None) -> None:
        self._models.stop()
        if self._learner is not None:
            self._learner.stop(2.0)
        if group is not None:
            group.leave()
        if self._work.close(1.0):
            self._processor.close()
        if self._restore.close(0.5):
            self._restorer.close()
        for partition in list(self._held):
            self._state(partition, PartitionState.RELEASED)
        self._observer.stopped()
