"""Restores of a worker's partitions, one after the other, beside its loop."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from functools import partial

from craft_stream.concurrency import SerialExecutor
from craft_stream.errors import CraftError, UnavailableError
from craft_stream.events import Observer, PartitionState, RebalanceKind
from craft_stream.ports.transport import Group
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.restorer import Restored, Restorer
from craft_stream.worker.transactions import Transactions
from craft_stream.worker.trouble import Trouble

log = logging.getLogger(__name__)


class Restores:
    """Restores what is assigned, and lets it be read from there.

    Args:
        wake: set when one has ended.
    """

    def __init__(
        self,
        restorer: Restorer,
        group: Group,
        partitions: AssignedPartitions,
        transactions: Transactions,
        observer: Observer,
        wake: threading.Event,
    ) -> None:
        self._restorer, self._group, self._observer = restorer, group, observer
        self._partitions, self._transactions = partitions, transactions
        self._wake = wake
        self._executor = SerialExecutor("restore")
        self._trouble = Trouble(log, "restoring partitions")
        self._restore: tuple[int, Future[Restored]] | None = None  # under way

    def step(self) -> None:
        """Collect a restore that has ended, and begin the next one.

        Raises:
            IntegrityError, LogTruncatedError: a partition that is still ours cannot be restored.
        """
        if self._restore is not None and self._restore[1].done():
            (number, restore), self._restore = self._restore, None
            partition = self._partitions.get(number)
            ours = partition is not None and partition.state is PartitionState.RESTORING
            try:
                restored = restore.result()
                self._trouble.over()
                if ours:  # else it has gone, or gone and come back, in the meantime
                    self._start(number, restored)
            except CraftError as error:
                if ours and not isinstance(error, UnavailableError):
                    raise
                # It is tried again; whether all brokers are gone is the watchdog's business.
                self._trouble.tell(error)
                self._observer.error(type(error).__name__)
        if self._restore is None:
            self._begin()

    def _begin(self) -> None:
        tried = self._partitions.having(PartitionState.RESTORING)
        number = next(iter([*tried, *self._partitions.having(PartitionState.ASSIGNED)]), None)
        # its old transactions must end first
        if number is None or self._transactions.recovering or self._transactions.holds(number):
            return
        self._partitions.enter(number, PartitionState.RESTORING)
        restore = self._executor.submit(partial(self._restorer.restore, number))
        restore.add_done_callback(lambda _: self._wake.set())
        self._restore = number, restore

    def _start(self, number: int, restored: Restored) -> None:
        partition = self._partitions[number]
        partition.clear()
        partition.ledger = restored.ledger
        self._group.start(number, restored.offset)
        if restored.uncommitted is not None:
            self._transactions.put_right(number, restored.ledger, restored.uncommitted)
        self._partitions.enter(number, PartitionState.ACTIVE)
        snapshots, deltas = restored.ledger.index.snapshots, restored.ledger.writer.deltas
        written_ms = snapshots[-1].written_ms if snapshots else 0
        self._observer.restored(
            number, restored.seconds, restored.size, restored.attempts, deltas, written_ms
        )
        if partition.since is not None:
            self._observer.rebalanced(RebalanceKind.ASSIGNED, 1, time.monotonic() - partition.since)
            partition.since = None

    def close(self) -> None:
        """Release what no restore uses any more."""
        if self._restore is None or self._restore[1].done():
            self._restorer.close()
