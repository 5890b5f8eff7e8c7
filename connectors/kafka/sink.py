"""Records of files into a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka import errors as client_errors

from connectors.kafka.admin import connect
from connectors.kafka.clients import explain, producer
from craft_stream.errors import AccessError, ConfigurationError, DataError
from craft_stream.settings import KafkaSettings

PENDING = 50_000  # records whose fate is remembered at once


class TopicSink:
    """Appends records to a topic; `flush` returns when all replicas in sync have each of them."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        # A producer asks for a topic that is missing, or not to be seen, for as long as it may block.
        with connect(settings) as admin:
            allowed = admin.allowed([topic])
        if topic not in allowed:
            raise ConfigurationError(f"there is no topic {topic}: type `craft-stream topics create`")
        operations = allowed[topic]
        if operations is not None and not operations & {"WRITE", "ALL"}:
            raise AccessError(f"this user lacks Write on topic {topic}")
        self._producer = producer(settings, max_block_ms=15_000)
        self._pending: list[Any] = []

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Append a record; without a partition the key decides it, as Kafka's own clients do."""
        try:
            self._pending.append(self._producer.send(self._topic, value, key, list(headers), partition))
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        if len(self._pending) >= PENDING:
            self.flush()

    def flush(self) -> None:
        """Return when all of it is written.

        Raises:
            DataError: some of it could not be.
        """
        try:
            self._producer.flush(60.0)
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        failed = [future.exception for future in self._pending if future.exception is not None]
        self._pending.clear()
        if failed:
            raise DataError(
                f"{len(failed)} records were not written to {self._topic}; the first: {failed[0]!r}"
            )

    def close(self) -> None:
        """Release the connection; `flush` first."""
        self._producer.close(timeout=5.0)
