"""What the group gives and takes."""

from __future__ import annotations

import logging
import time

from craft_stream.events import Observer, PartitionState, RebalanceKind
from craft_stream.ports.transport import Change, ChangeKind, Group
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.transactions import Transactions

log = logging.getLogger(__name__)


class Rebalances:
    """Takes over what the group says of partitions.

    Args:
        seconds: that one which is taken away may wait for its transactions, so that they can be committed.
    """

    def __init__(
        self,
        group: Group,
        partitions: AssignedPartitions,
        transactions: Transactions,
        observer: Observer,
        seconds: float,
    ) -> None:
        self._group, self._partitions, self._transactions = group, partitions, transactions
        self._observer, self._seconds = observer, seconds

    def follow(self) -> bool:
        """Do what has been said since the last call; whether there was anything."""
        changes = self._group.changes()
        for change in changes:
            log.info("partitions %s %s", sorted(change.partitions), change.kind.value)
            if change.kind is ChangeKind.ASSIGNED:
                for number in sorted(change.partitions):
                    self._partitions.add(number)
            else:
                self._take_away(change)
        if changes:
            self._observer.joined(frozenset(self._partitions))
        return bool(changes)

    def _take_away(self, change: Change) -> None:
        began, numbers, lost = time.monotonic(), sorted(change.partitions), change.kind is ChangeKind.LOST
        if not lost and self._transactions.unfinished(numbers):
            for number in numbers:
                self._partitions.enter(number, PartitionState.DRAINING)
            self._transactions.join(numbers, self._seconds)
        for number in numbers:
            self._partitions.remove(number, PartitionState.LOST if lost else PartitionState.RELEASED)
        kind = RebalanceKind.LOST if lost else RebalanceKind.REVOKED
        self._observer.rebalanced(kind, len(numbers), time.monotonic() - began)
