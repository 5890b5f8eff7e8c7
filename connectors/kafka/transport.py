"""The clients of one configuration, on kafka-python."""

from __future__ import annotations

import uuid

from connectors.kafka.group import KafkaGroup
from connectors.kafka.output import IdempotentOutput, TransactionalOutput
from connectors.kafka.reader import KafkaReader
from craft_stream.settings import KafkaSettings


class KafkaTransport:
    """Makes groups, outputs and readers."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._member = settings.instance_id or uuid.uuid4().hex[:12]

    def group(self) -> KafkaGroup:
        """See `Transport.group`."""
        return KafkaGroup(self._settings)

    def output(self, name: str) -> TransactionalOutput | IdempotentOutput:
        """See `Transport.output`; "worker" is this worker's own, any other name is the group's."""
        if self._settings.guarantee == "at_least_once" and name == "worker":
            return IdempotentOutput(self._settings)
        suffix = f"worker-{self._member}" if name == "worker" else name
        return TransactionalOutput(self._settings, f"craft-{self._settings.group_id}-{suffix}")

    def reader(self) -> KafkaReader:
        """See `Transport.reader`."""
        return KafkaReader(self._settings)
