"""An input partition of this worker, as its loop sees it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from craft_stream.events import PartitionState
from craft_stream.ports.messages import Message, size
from craft_stream.selection.monitor import DriftMonitor
from craft_stream.topics.partition_ledger import PartitionLedger


@dataclass(slots=True)
class AssignedPartition:
    """A partition and what has been read of it.

    Attributes:
        state: where in its life it is.
        since: when it was assigned, by the monotonic clock; None once that is over, so that a restore after an error is none.
        buffer: records that wait for the next transaction.
        size: bytes of their values.
        partition: its ledger, once that is restored.
        fresh: nothing has been decided on that ledger yet.
        summarised: when its ledger was last reported.
        monitor: watches its decisions for drift.
    """

    state: PartitionState = PartitionState.ASSIGNED
    since: float | None = field(default_factory=time.monotonic)
    buffer: deque[Message] = field(default_factory=deque)
    size: int = 0
    partition: PartitionLedger | None = None
    fresh: bool = True
    summarised: float = 0.0
    monitor: DriftMonitor = field(default_factory=DriftMonitor)

    def add(self, messages: Sequence[Message]) -> int:
        """Buffer records; the bytes of their values."""
        added = size(messages)
        self.buffer.extend(messages)
        self.size += added
        return added

    def take(self, limit: int) -> list[Message]:
        """The oldest records, at most `limit`."""
        pop = self.buffer.popleft
        taken = [pop() for _ in range(min(limit, len(self.buffer)))]
        self.size -= size(taken)
        self.fresh = False
        return taken

    def clear(self) -> None:
        """Forget what is buffered, and the ledger: both will be read again."""
        self.buffer.clear()
        self.size = 0
        self.partition = None
        self.fresh = True
