"""A worker's transactions: begun, collected, and after a failure recovered from."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TypeVar

from craft_stream.concurrency import SerialExecutor
from craft_stream.errors import UnavailableError
from craft_stream.events import Observer
from craft_stream.parameters import Parameters
from craft_stream.ports.transport import Group, Position, TransactionError
from craft_stream.scoring.model import Model
from craft_stream.settings import KafkaSettings
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.worker.batch_sizer import BatchSizer
from craft_stream.worker.committer import NOTHING, Committed, Committer
from craft_stream.worker.decider import Batch, Decided, Decider
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.trouble import Trouble

IN_FLIGHT = 2  # one is decided while one is committed
BATCH_SECONDS = 1.0  # of a transaction, where the commit interval is shorter
RECOVER_SECONDS = 1.0  # from a recovery that failed to the next

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One in flight.

    Attributes:
        batches: what it decides, by partition.
        decided, committed: what becomes of its two steps.
    """

    batches: Mapping[int, Batch]
    decided: Future[Decided]
    committed: Future[Committed]

    @property
    def failed(self) -> bool:
        """Whether one of its steps has failed already."""
        steps: tuple[Future[Decided] | Future[Committed], ...] = (self.decided, self.committed)
        return any(step.done() and step.exception() is not None for step in steps)


def unless_failed(before: Transaction | None, step: Callable[[], T]) -> T:
    """Take a step, if nothing that it builds on has failed.

    Raises:
        CancelledError: the transaction before has.
    """
    if before is not None and before.failed:
        raise CancelledError
    return step()


class Transactions:
    """Decides and commits what partitions have buffered, each step in a thread of its own, in order.

    A transaction is decided on the ledgers that those before it leave behind, which may not be committed yet. So once one has
    failed, those that were begun while it was in flight are cancelled. The partitions of all of them are to be restored and
    read again from the committed offset; nothing is begun before all are collected and the committer has recovered.

    Args:
        wake: set when something has ended.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: Group,
        partitions: AssignedPartitions,
        decider: Decider,
        committer: Committer,
        observer: Observer,
        wake: threading.Event,
    ) -> None:
        self._interval = kafka.commit_interval_ms / 1000
        self._group, self._partitions = group, partitions
        self._decider, self._committer, self._observer = decider, committer, observer
        self._wake = wake
        self._sizer = BatchSizer(kafka.max_poll_records, max(BATCH_SECONDS, self._interval))
        self._deciding, self._committing = SerialExecutor("decide"), SerialExecutor("commit")
        self._in_flight: deque[Transaction] = deque()
        self._began = time.monotonic()
        self._recovery: Future[None] | None = None  # under way
        self._recover_at: float | None = None  # None: all is well
        self._trouble = Trouble(log, "transactions")

    @property
    def busy(self) -> bool:
        """Whether a transaction or a recovery is under way, or has ended and is not collected yet."""
        return bool(self._in_flight) or self._recovery is not None

    @property
    def recovering(self) -> bool:
        """Whether a transaction has failed, and that is not over."""
        return self._recover_at is not None

    @property
    def records(self) -> int:
        """In flight."""
        return sum(len(messages) for one in self._in_flight for _, messages in one.batches.values())

    def between(self, job: Callable[[], T], seconds: float) -> T:
        """Do a short job in the thread that decides, between two transactions: it may read ledgers. For any thread.

        Raises:
            TimeoutError: the transaction before it takes longer.
        """
        asked = self._deciding.submit(job)
        try:
            return asked.result(seconds)
        except TimeoutError:
            asked.cancel()  # else it keeps its place in the queue that batches wait in
            raise

    def holds(self, number: int) -> bool:
        """Whether one in flight has records of a partition."""
        return any(number in transaction.batches for transaction in self._in_flight)

    def unfinished(self, numbers: Iterable[int]) -> bool:
        """Whether one that has records of these partitions has not ended."""
        return any(
            not transaction.batches.keys().isdisjoint(numbers) and not transaction.committed.done()
            for transaction in self._in_flight
        )

    def join(self, numbers: Iterable[int], seconds: float) -> None:
        """Wait, without polling, until those with records of these partitions have ended, or for so long."""
        numbers, deadline = list(numbers), time.monotonic() + seconds
        while self.unfinished(numbers) and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
            self._observer.beat()

    def join_all(self, seconds: float, recovery_seconds: float) -> bool:
        """Wait until nothing is under way, for so long; whether that is so.

        A recovery has nothing to commit, it only ends a transaction that its time-out would end too.
        """
        deadline = time.monotonic() + (seconds if self._recovery is None else recovery_seconds)
        while not (ended := self._ended()) and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
            self._observer.beat()
        return ended

    def _ended(self) -> bool:
        recovered = self._recovery is None or self._recovery.done()
        return recovered and all(transaction.committed.done() for transaction in self._in_flight)

    def collect(self) -> list[Committed]:
        """What has been committed meanwhile.

        Raises:
            CraftError: it makes no sense to go on.
        """
        committed = []
        if self._recovery is not None and self._recovery.done():
            recovery, self._recovery = self._recovery, None
            try:
                recovery.result()
                self._recover_at = None
            except (TransactionError, UnavailableError) as error:
                self._failed(error, RECOVER_SECONDS)
        while self._in_flight and self._in_flight[0].committed.done():
            transaction = self._in_flight.popleft()
            try:
                committed.append(transaction.committed.result())
                self._trouble.over()
                self._sizer.took(committed[-1].decided.records, committed[-1].seconds)
            except (TransactionError, UnavailableError, CancelledError) as error:
                if not isinstance(error, CancelledError):
                    self._failed(error, 0.0)
                for number in transaction.batches:
                    if number in self._partitions:
                        self._group.pause([number])
                        self._partitions.reset(number)
        return committed

    def _failed(self, error: Exception, seconds: float) -> None:
        self._trouble.tell(error)
        self._observer.error(type(error).__name__)
        self._recover_at = time.monotonic() + seconds

    def begin(self, model: Model, parameters: Parameters) -> None:
        """Begin the next one, if it is due and there is room; while recovering, recover instead.

        Args:
            model, parameters: to be put in force at each partition's next epoch.
        """
        now = time.monotonic()
        if self._recover_at is not None:
            if not self.busy and now >= self._recover_at:
                self._recovery = self._committing.submit(self._committer.recover)
                self._recovery.add_done_callback(lambda _: self._wake.set())
        elif len(self._in_flight) < IN_FLIGHT:
            batches = self._partitions.dequeue(self._sizer.limit, now - self._began >= self._interval)
            if batches:
                self._began = now
                self._submit(batches, model, parameters)

    def put_right(self, number: int, ledger: PartitionLedger, position: Position) -> None:
        """Commit what a restored ledger leads to: on a topic where nothing comes any more its lag would be told for ever."""
        committed = self._committing.submit(
            lambda: self._committer.put_right({number: position}, self._group)
        )
        committed.add_done_callback(lambda _: self._wake.set())
        nothing = Future[Decided]()
        nothing.set_result(NOTHING)
        self._in_flight.append(Transaction({number: (ledger, ())}, nothing, committed))

    def _submit(self, batches: Mapping[int, Batch], model: Model, parameters: Parameters) -> None:
        before = self._in_flight[-1] if self._in_flight else None
        decided = self._deciding.submit(
            lambda: unless_failed(before, lambda: self._decider.decide(batches, model, parameters))
        )
        committed = self._committing.submit(
            lambda: unless_failed(before, lambda: self._committer.commit(decided.result(), self._group))
        )
        committed.add_done_callback(lambda _: self._wake.set())
        self._in_flight.append(Transaction(batches, decided, committed))
