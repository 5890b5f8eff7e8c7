"""What a worker tells of a transaction that is committed."""

from __future__ import annotations

import logging
import time
from collections import Counter
from statistics import median

from craft_stream.errors import DataError
from craft_stream.events import Observer
from craft_stream.ports.transport import Group
from craft_stream.settings import ErrorsSettings
from craft_stream.worker.breaker import CircuitBreaker
from craft_stream.worker.committer import Committed
from craft_stream.worker.decider import Outcome
from craft_stream.worker.partitions import AssignedPartition, AssignedPartitions

SUMMARY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Report:
    """Tells the observer, and the circuit breaker."""

    def __init__(
        self, errors: ErrorsSettings, group: Group, partitions: AssignedPartitions, observer: Observer
    ) -> None:
        self._group, self._partitions, self._observer = group, partitions, observer
        self._breaker = CircuitBreaker(errors)
        self._idle = time.monotonic()

    def tell(self, committed: Committed) -> None:
        """Tell of one.

        Raises:
            DataError: too many of the latest records were dead letters.
        """
        now, ends, decided = time.time(), self._group.ends(), committed.decided
        for number, outcome in decided.outcomes.items():
            self._tell_decisions(number, outcome)
            self._tell_partition(number, outcome, ends.get(number), now)
        chunks = (part.chunk for outcome in decided.outcomes.values() for part in outcome.parts)
        stamps = [m.timestamp_ms for chunk in chunks for m in chunk.messages if m.timestamp_ms > 0]
        if stamps:
            # the median: one record of 1970 among thousands would be years
            self._observer.latency(max(0.0, now - median(stamps) / 1000), len(stamps))
        try:
            self._breaker.count(decided.records, decided.dead)
        except DataError:
            self._observer.breaker(True, self._breaker.share)
            raise
        self._observer.breaker(False, self._breaker.share)

    def tell_idle(self) -> None:
        """What is left to tell of the last ones, and that nothing is behind where all that can be read is committed.

        What was told last may have met an end mark.
        """
        now = time.monotonic()
        if now - self._idle < SUMMARY_SECONDS:
            return
        self._idle, ends = now, self._group.ends()
        for number, partition in self._partitions.items():
            self._tell_summary(number, partition)
            if partition.next_offset is not None and not partition.buffer and number in ends:
                behind = max(0, ends[number] - partition.next_offset)
                if not behind:
                    self._observer.lag(number, 0, 0.0)

    def _tell_decisions(self, number: int, outcome: Outcome) -> None:
        observer, decisions = self._observer, outcome.decisions
        observer.decided(number, decisions, sum(int(part.kept.sum()) for part in outcome.parts))
        for part in outcome.parts:
            observer.pairs(number, part.chunk, part.decisions)
        letters = Counter((letter.stage, letter.reason) for letter in outcome.dead)
        for (stage, reason), count in letters.items():
            observer.dead_letters(number, stage, reason, count)
        if len(decisions):
            observer.model_in_force(number, int(decisions.model_version[-1]))
        for kind, size in outcome.pending.sizes.items():
            observer.ledger_written(number, kind.name.lower(), size)

    def _tell_partition(self, number: int, outcome: Outcome, end: int | None, now: float) -> None:
        """What is of interest only while the partition is here."""
        partition = self._partitions.get(number)
        if partition is None:
            return
        for signal in partition.monitor.observe(outcome.decisions):
            offset = outcome.decisions.positions[-1]
            log.warning("partition %d: %s has drifted at offset %d", number, signal, offset)
            self._observer.drifted(number, signal)
        partition.next_offset = outcome.next_offset
        if end is not None:
            behind = max(0, end - outcome.next_offset)
            stamp = outcome.parts[-1].chunk.messages[-1].timestamp_ms
            age = max(0.0, now - stamp / 1000) if behind and stamp > 0 else 0.0
            self._observer.lag(number, behind, age)
        partition.summary = outcome.summary
        if time.monotonic() - partition.summarised >= SUMMARY_SECONDS:
            self._tell_summary(number, partition)

    def _tell_summary(self, number: int, partition: AssignedPartition) -> None:
        if partition.summary is not None:
            self._observer.ledger(number, partition.summary)
            partition.summarised, partition.summary = time.monotonic(), None
