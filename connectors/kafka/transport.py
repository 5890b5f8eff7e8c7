"""The clients of one configuration, on kafka-python."""

from __future__ import annotations

import uuid

from connectors.kafka.admin import connect
from connectors.kafka.group import KafkaGroup
from connectors.kafka.output import IdempotentOutput, TransactionalOutput
from connectors.kafka.reader import KafkaReader
from craft_stream.settings import KafkaSettings

MODEL_WRITERS = ("learner", "admin", "settings")


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
        kafka = self._settings
        if name != "worker":
            topics = [kafka.model_topic] if name in MODEL_WRITERS else []
            if name == "dlq":
                topics = [kafka.input_topic, kafka.dead_letter_topic]
            return TransactionalOutput(kafka, f"craft-{kafka.group_id}-{name}", topics)
        if kafka.guarantee == "at_least_once":
            return IdempotentOutput(kafka)
        topics = [kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic]
        topics += [kafka.ledger_topic, kafka.model_topic]
        identity = f"craft-{kafka.group_id}-worker-{self._member}"
        return TransactionalOutput(kafka, identity, topics, kafka.group_id)

    def reader(self) -> KafkaReader:
        """See `Transport.reader`."""
        return KafkaReader(self._settings)

    def widen(self, topic: str, partitions: int) -> None:
        """See `Transport.widen`."""
        with connect(self._settings) as admin:
            admin.widen({topic: partitions})
