"""A worker reads no more than it may hold."""

from __future__ import annotations

from collections.abc import Callable

from craft_stream.events import Observer, PartitionState
from craft_stream.ports.transport import Group
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.transactions import IN_FLIGHT, Transactions

# Transactions' worth of records that may have been read: those in flight, one ready, one arriving.
BATCHES = IN_FLIGHT + 2
BYTES = 128 << 20  # that wait


class Backpressure:
    """Pauses what delivers while too much is in flight, and goes on when there is room.

    Args:
        records: most of a transaction.
    """

    def __init__(
        self,
        group: Group,
        partitions: AssignedPartitions,
        transactions: Transactions,
        observer: Observer,
        records: int,
    ) -> None:
        self._group, self._partitions, self._transactions = group, partitions, transactions
        self._observer = observer
        self._limit = BATCHES * records

    def step(self) -> None:
        """Look at what is in flight."""
        records, size = self._partitions.records + self._transactions.records, self._partitions.size
        self._observer.in_flight(records, size)
        if records >= self._limit or size >= BYTES:
            self._switch(PartitionState.ACTIVE, PartitionState.PAUSED, self._group.pause)
        elif records <= 2 * self._limit // 3 and size <= BYTES // 2:
            self._switch(PartitionState.PAUSED, PartitionState.ACTIVE, self._group.resume)

    def _switch(
        self, before: PartitionState, after: PartitionState, tell: Callable[[list[int]], None]
    ) -> None:
        if numbers := self._partitions.having(before):
            tell(numbers)
            for number in numbers:
                self._partitions.enter(number, after)
