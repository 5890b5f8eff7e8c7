"""Reading topics to an end, outside of the group, on kafka-python."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka import errors as client_errors

from connectors.kafka.clients import READER_WAIT_MS, SafeClient, consumer, explain, reader
from craft_stream.errors import LogTruncatedError, UnavailableError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Position
from craft_stream.settings import KafkaSettings

STALLED_SECONDS = 60.0  # without one record of a topic that has more: longer than a leader's election takes
CHUNK = 5_000
TIMEOUT_MS = 30_000


class KafkaReader:
    """A consumer of hand-picked partitions, and one of the group's name once committed offsets are asked for.

    A client that has a group's name looks for its coordinator at every poll, which needs Describe on the group.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: SafeClient | None = None
        self._consumer = reader(settings, self._make_client)
        self._group: Any = None

    def _make_client(self, **options: Any) -> SafeClient:
        self._client = SafeClient(**options)
        return self._client

    def topic_ids(self, *topics: str) -> Mapping[str, str]:
        """See `Reader.topic_ids`."""
        try:
            self._consumer.topics()  # asks the brokers, whatever is known
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        return {topic: self._client.topic_id(topic) if self._client else "" for topic in topics}

    def partitions(self, topic: str) -> Sequence[int]:
        """See `Reader.partitions`."""
        try:
            return sorted(self._consumer.partitions_for_topic(topic))
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error

    def bounds(self, topic: str, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """See `Reader.bounds`."""
        where = [TopicPartition(topic, partition) for partition in partitions]
        if not where:
            return {}
        try:
            first = self._consumer.beginning_offsets(where, timeout_ms=TIMEOUT_MS)
            ends = self._consumer.end_offsets(where, timeout_ms=TIMEOUT_MS)
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        return {item.partition: (first[item], ends[item]) for item in where}

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Sequence[Message]]:
        """See `Reader.read`. Offsets have gaps, so the client's position tells when `stop` is reached."""
        where = TopicPartition(topic, partition)
        self._consumer.assign([where])
        self._consumer.seek(where, start)
        last, moved = start, time.monotonic()
        try:
            while last < stop:
                records = self._consumer.poll(timeout_ms=READER_WAIT_MS, max_records=CHUNK).get(where, [])
                kept = [message for message in records if message.offset < stop]
                if kept:
                    yield kept
                position = self._consumer.position(where, timeout_ms=TIMEOUT_MS)
                if position is not None and position > last:
                    last, moved = position, time.monotonic()
                elif time.monotonic() - moved > STALLED_SECONDS:
                    raise UnavailableError(
                        f"{topic}/{partition} stopped at {last} of {stop} for {STALLED_SECONDS:.0f} s: "
                        "are its brokers up?"
                    )
        except client_errors.OffsetOutOfRangeError as error:
            raise LogTruncatedError(f"{topic}/{partition} does not hold offset {last} any more") from error
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error

    def committed(self, partition: int) -> Position | None:
        """See `Reader.committed`."""
        where = TopicPartition(self._settings.input_topic, partition)
        if self._group is None:
            self._group = consumer(self._settings)
        try:
            found = self._group.committed(where, metadata=True, timeout_ms=TIMEOUT_MS)
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        return None if found is None else Position(found.offset, found.metadata or "")

    def close(self) -> None:
        """See `Reader.close`."""
        for client in (self._consumer, self._group):
            if client is not None:
                client.close(autocommit=False, timeout_ms=2_000)
