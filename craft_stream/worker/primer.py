"""Priming: the learner reads a sample of what the crawl topic retains; no pair is lost to a warm-up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from craft_stream.concurrency import one_ahead
from craft_stream.errors import LogTruncatedError
from craft_stream.learning.examination import FEWEST
from craft_stream.learning.learner import Learner
from craft_stream.ports.transport import Reader
from craft_stream.reading.chunk import Chunk
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch

# A long log is sampled in so many stretches of each partition: crawls come site by site, and the head of a
# log is one.
STRETCHES = 16
# A shorter stretch costs as much as one of so many records, which is about what a producer puts into a batch: 960 stretches of
# 52 records took 30 s.
LEAST = 512
AGAIN_SECONDS = 0.5


class _Stretch(NamedTuple):
    """What was read of offsets [start, end) of a partition; without a batch, where nothing is left there."""

    partition: int
    start: int
    end: int
    records: int = 0
    batch: PairBatch | None = None


class Primer:
    """Feeds a learner from the log, outside of the group.

    Attributes:
        pairs: that were fed.
    """

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self.pairs = 0
        self._reader = reader
        self._settings = settings
        self._ranges: dict[int, list[tuple[int, int]]] = {}

    def prime(
        self, learner: Learner, stop: threading.Event, too_few: Callable[[int], None] = lambda pairs: None
    ) -> None:
        """Feed at most `learner.prime_pairs`; while the log holds fewer, wait, `learner.prime_seconds` at most.

        Args:
            learner: is fed.
            stop: ends it at once.
            too_few: is told, after that time, how many pairs the learner has seen, while it waits on for the fewest that a
                version is made of.
        """
        most = self._settings.learner.prime_pairs
        deadline = time.monotonic() + self._settings.learner.prime_seconds
        while not stop.is_set():
            wanted = self.pairs + max(most - self.pairs, FEWEST - learner.pairs_seen)
            plan, each = self._plan(wanted - self.pairs) if wanted > self.pairs else ([], 1.0)
            with closing(one_ahead(self._read(plan))) as stretches:
                for stretch in stretches:
                    if self.pairs >= wanted or stop.is_set():
                        break
                    self._feed(learner, stretch, each)
            late = time.monotonic() >= deadline
            if learner.pairs_seen < FEWEST:
                if late:
                    too_few(learner.pairs_seen)
            elif late or each > 1 or self.pairs >= most:
                return
            stop.wait(AGAIN_SECONDS)

    def primed(self, partition: int, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which offsets of a partition the learner has seen already, bool [n]."""
        seen = np.zeros(len(positions), np.bool_)
        for start, end in self._ranges.get(partition, []):
            seen |= (positions >= start) & (positions < end)
        return seen

    def _plan(self, wanted: int) -> tuple[list[tuple[int, int, int]], float]:
        """Stretches not yet read (partition, first offset, end), and what each of their records stands for; 1: all are read."""
        topic = self._settings.kafka.input_topic
        bounds = self._reader.bounds(topic, self._reader.partitions(topic))
        fresh = {}
        for partition, (first, end) in bounds.items():
            known = max((stop for _, stop in self._ranges.get(partition, [])), default=first)
            if end > max(first, known):
                fresh[partition] = (max(first, known), end)
        total = sum(end - first for first, end in fresh.values())
        if total <= wanted:
            return [(partition, first, end) for partition, (first, end) in fresh.items()], 1.0
        plan = []
        for place, (partition, (first, end)) in enumerate(fresh.items()):
            share = wanted * (end - first) / total
            count = int(np.clip(share // LEAST, 1, STRETCHES))
            length = max(1, int(share / count))
            # Of many partitions each has few: the first one near its head, the last near its end.
            # Each in a part of its own: of a log little longer than what is wanted they overlapped, and were learned twice.
            part = (end - first) / count
            steps = np.arange(count) * part + (place + 0.5) / len(fresh) * max(0.0, part - length)
            starts = np.unique((first + steps).astype(int))
            plan += [(partition, int(start), min(end, int(start) + length)) for start in starts]
        return plan, max(1.0, total / sum(end - start for _, start, end in plan))

    def _read(self, plan: Sequence[tuple[int, int, int]]) -> Iterator[_Stretch]:
        """What is in stretches of the log, as it comes; what is no pair is the worker's business."""
        topic, fields = self._settings.kafka.input_topic, self._settings.record
        for partition, at, end in plan:
            try:
                for messages in self._reader.read(topic, partition, at, end):
                    behind = messages[-1].offset + 1
                    pairs = Chunk.read(messages, fields).pairs
                    yield _Stretch(partition, at, behind, len(messages), pairs.batch)
                    at = behind
            except LogTruncatedError:
                continue  # retention was faster; the next look sees what is left
            if at < end:
                yield _Stretch(partition, at, end)

    def _feed(self, learner: Learner, stretch: _Stretch, each: float) -> None:
        if (batch := stretch.batch) is not None:
            learner.observe(batch, round(each * len(batch)) if each > 1 else None)
        self.pairs += stretch.records
        ranges = self._ranges.setdefault(stretch.partition, [])
        start = ranges.pop()[0] if ranges and ranges[-1][1] == stretch.start else stretch.start
        ranges.append((start, stretch.end))
