"""Batches of pairs into a topic, each with a mark of how far it is, in one transaction: nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import orjson

from connectors.kafka.admin import COMPACTED, TopicPlan, connect, progress_topic
from connectors.kafka.output import TransactionalOutput
from connectors.kafka.reader import KafkaReader
from craft_stream.errors import ConfigurationError, UnavailableError
from craft_stream.ports.transport import Record, TransactionError
from craft_stream.settings import KafkaSettings

ATTEMPTS = 3
PARTITIONS = 4  # of a topic that is made here
Mark = dict[str, Any]


def source_key(record: bytes, field: str) -> bytes:
    """Eight bytes of a hash of the normalised source side: copies of a sentence share a partition."""
    text = " ".join(str(orjson.loads(record)[field]).casefold().split())
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class MarkedPublisher:
    """Appends batches to a topic; the mark that goes with each is kept on the compacted topic `TOPIC.progress`.

    Args:
        kafka: how to reach the brokers.
        topic: of the pairs.
        name: whose mark it is; a second process with the same name fences the first one off.
        source_field: side that the records are keyed by.
        make: whether to make the topic when it is missing; `TOPIC.progress` always is.

    Attributes:
        mark: that went with the last batch that the topic holds; None for none.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        name: str,
        source_field: str = "src",
        make: bool = False,
    ) -> None:
        self._kafka, self._topic, self._progress = kafka, topic, progress_topic(topic)
        self._name, self._source_field = name, source_field
        self._partitions = self._ensure_topics(make)
        self._output: Any = None
        self.mark: Mark | None = None
        self._connect()

    def _ensure_topics(self, make: bool) -> int:
        plans = [
            TopicPlan("topic", self._topic, PARTITIONS, {}, {}),
            TopicPlan("progress", self._progress, 1, COMPACTED, {}),
        ]
        with connect(self._kafka) as admin:
            present = admin.partitions()
            if self._topic not in present and not make:
                raise ConfigurationError(
                    f"there is no topic {self._topic}: type `craft-stream topics create`"
                )
            missing = [plan for plan in plans if plan.name not in present]
            if missing:
                admin.create(missing, min(3, len(admin.cluster()["brokers"])))
            return int(present.get(self._topic, PARTITIONS))

    def _connect(self) -> None:
        """A new producer, which ends what an older one of this name has begun; then the last mark that counts."""
        # A name may be a path; a transactional id is best kept short.
        name = (
            self._name
            if len(self._name) < 64 and self._name.isprintable()
            else blake2b(self._name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
        )
        self._output = TransactionalOutput(self._kafka, f"craft-crawl-{self._topic}-{name}")
        reader = KafkaReader(self._kafka)
        try:
            first, end = reader.bounds(self._progress, [0])[0]
            for messages in reader.read(self._progress, 0, first, end):
                for message in messages:
                    if message.key == self._key and message.value:
                        self.mark = orjson.loads(message.value)
        finally:
            reader.close()

    @property
    def _key(self) -> bytes:
        return self._name.encode("utf-8", "surrogateescape")

    def publish(self, records: Sequence[bytes], mark: Mark) -> None:
        """Append a batch and its mark, or nothing; an ambiguous failure is settled by reading what the topic holds.

        Raises:
            UnavailableError: the batch could not be published.
            ConfigurationError: another process publishes under this name.
        """
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            key = source_key(record, self._source_field)
            partition = int.from_bytes(key, "little") % self._partitions
            by_partition.setdefault(partition, []).append(Record(record, key))
        failure: TransactionError | None = None
        for attempt in range(ATTEMPTS):
            try:
                if attempt:
                    self._output.close()
                    self._connect()
                    if self.mark == mark:
                        return
                self._output.begin()
                for partition, batch in by_partition.items():
                    self._output.send_all(self._topic, partition, batch)
                self._output.send(self._progress, 0, orjson.dumps(mark), self._key)
                self._output.commit({}, None)
                self.mark = mark
                return
            except TransactionError as error:
                if error.fenced:
                    raise ConfigurationError(
                        f'another process publishes to {self._topic} as "{self._name}": {error}'
                    ) from error
                failure = error
        raise UnavailableError(f"a batch for {self._topic} could not be published: {failure}")

    def close(self) -> None:
        """Release the connection; safe to call twice."""
        if self._output is not None:
            self._output.close()
