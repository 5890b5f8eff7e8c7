"""The stream for a learner in a process of its own: the crawl topic, and what of it was accepted."""

from __future__ import annotations

import numpy as np

from craft_stream.ports.transport import Reader
from craft_stream.reading.chunk import Chunk
from craft_stream.settings import Settings
from craft_stream.worker.learner_service import LearnerService

# What has come since the last turn may be a night's crawl: the latest of it is enough to learn from.
LATEST = 100_000
WAIT_SECONDS = 1.0


class StreamFollower:
    """Follows the crawl and accepted topics from their ends, outside of any group.

    Priming has read what they held before. An accepted pair is shown twice, as a part of the stream and as
    accepted: the learner counts both.
    """

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._settings = settings
        self._positions: dict[tuple[str, int], int] = {}

    def turn(self, service: LearnerService) -> None:
        """Hand over what has come since the last turn; on the first one only look where the ends are."""
        kafka = self._settings.kafka
        for topic in (kafka.input_topic, kafka.accepted_topic):
            bounds = self._reader.bounds(topic, self._reader.partitions(topic))
            for partition, (first, end) in bounds.items():
                key = topic, partition
                start = max(self._positions.get(key, end), first, end - LATEST)
                self._positions[key] = end
                if start < end:
                    self._hand_over(service, topic, partition, start, end)

    def _hand_over(self, service: LearnerService, topic: str, partition: int, start: int, end: int) -> None:
        accepted = topic == self._settings.kafka.accepted_topic
        for messages in self._reader.read(topic, partition, start, end):
            batch = Chunk.read(messages, self._settings.record).pairs.batch
            if len(batch):
                flags = np.ones(len(batch), np.bool_) if accepted else None
                service.offer(partition, batch, flags, WAIT_SECONDS)
