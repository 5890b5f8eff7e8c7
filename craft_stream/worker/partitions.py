"""The input partitions of a worker: where in its life each is, and what has been read of it."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from craft_stream.events import Observer, PartitionState
from craft_stream.ports.messages import Message, size
from craft_stream.selection.monitor import DriftMonitor
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.worker.decider import Batch

READING = (PartitionState.ACTIVE, PartitionState.PAUSED)


@dataclass(slots=True)
class AssignedPartition:
    """One of them.

    Attributes:
        state: where in its life it is.
        since: when it was assigned, by the monotonic clock; None once that is over, so that a restore after an error is none.
        buffer: records that wait for the next transaction.
        size: bytes of their values.
        ledger: what it has done, once that is restored.
        fresh: nothing has been decided on that ledger yet.
        summarised: when its ledger was last reported.
        summary: of its ledger, that is to be reported yet.
        next_offset: behind what was committed last; None before anything was.
        monitor: watches its decisions for drift.
    """

    state: PartitionState = PartitionState.ASSIGNED
    since: float | None = field(default_factory=time.monotonic)
    buffer: deque[Message] = field(default_factory=deque)
    size: int = 0
    ledger: PartitionLedger | None = None
    fresh: bool = True
    summarised: float = 0.0
    summary: dict[str, Any] | None = None
    next_offset: int | None = None
    monitor: DriftMonitor = field(default_factory=DriftMonitor)

    def add(self, messages: Sequence[Message]) -> int:
        """Buffer records; the bytes of their values."""
        added = size(messages)
        self.buffer.extend(messages)
        self.size += added
        return added

    def dequeue(self, limit: int) -> list[Message]:
        """The oldest records, at most `limit`."""
        pop = self.buffer.popleft
        messages = [pop() for _ in range(min(limit, len(self.buffer)))]
        self.size -= size(messages)
        self.fresh = False
        return messages

    def clear(self) -> None:
        """Forget what is buffered, and the ledger: both will be read again."""
        self.buffer.clear()
        self.size = 0
        self.ledger = None
        self.next_offset = None
        self.fresh = True


class AssignedPartitions(Mapping[int, AssignedPartition]):
    """Those of a worker, by number. The observer is told of every change of state."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._partitions: dict[int, AssignedPartition] = {}

    def __getitem__(self, number: int) -> AssignedPartition:
        return self._partitions[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)

    def add(self, number: int) -> None:
        """The group gave it."""
        self._partitions[number] = AssignedPartition()
        self._observer.partition_state(number, PartitionState.ASSIGNED)

    def remove(self, number: int, state: PartitionState) -> None:
        """It is released or lost."""
        self.enter(number, state)
        self._partitions.pop(number, None)

    def enter(self, number: int, state: PartitionState) -> None:
        """Its state changes, if it is here."""
        partition = self._partitions.get(number)
        if partition is not None and partition.state is not state:
            partition.state = state
            self._observer.partition_state(number, state)

    def reset(self, number: int) -> None:
        """It must be restored and read again, if it is here."""
        if number in self._partitions:
            self._partitions[number].clear()
            self.enter(number, PartitionState.ASSIGNED)

    def having(self, state: PartitionState) -> list[int]:
        """Those in a state."""
        return [number for number, partition in self._partitions.items() if partition.state is state]

    @property
    def records(self) -> int:
        """That wait in all of them."""
        return sum(len(partition.buffer) for partition in self._partitions.values())

    @property
    def size(self) -> int:
        """Bytes of their values."""
        return sum(partition.size for partition in self._partitions.values())

    def buffer(self, messages: Iterable[Message]) -> None:
        """Add what has arrived; of partitions that are not being read nothing is kept."""
        for number, run in itertools.groupby(messages, attrgetter("partition")):
            partition = self._partitions.get(number)
            if partition is not None and partition.state in READING:
                arrived = list(run)
                self._observer.consumed(number, len(arrived), partition.add(arrived))

    def dequeue(self, limit: int, due: bool) -> dict[int, Batch]:
        """At most `limit` records for a transaction, of the partitions first that wait longest; none where none is due.

        Args:
            limit: so many are due at any time.
            due: any number is due. The first ones of a partition always are: they have waited for its rebalance and restore.
        """
        ready = {n: p for n, p in self._partitions.items() if p.buffer and p.ledger is not None}
        waiting = sum(len(partition.buffer) for partition in ready.values())
        batches: dict[int, Batch] = {}
        if due or waiting >= limit or any(partition.fresh for partition in ready.values()):
            for number, partition in sorted(ready.items(), key=lambda item: item[1].buffer[0].timestamp_ms):
                if limit > 0 and partition.ledger is not None:
                    batches[number] = (partition.ledger, partition.dequeue(limit))
                    limit -= len(batches[number][1])
        return batches
