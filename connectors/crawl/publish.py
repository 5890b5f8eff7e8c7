"""Where pairs go: a Kafka topic, a file, or standard output. Each remembers the last batch that it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import orjson

from craft_stream.errors import ConfigurationError, UnavailableError
from craft_stream.ports.transport import TransactionError
from craft_stream.settings import KafkaSettings


class Publisher(Protocol):
    """Holds batches of records, in order of their numbers."""

    def committed(self) -> int:
        """Number of the last batch that it holds; 0 for none."""

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """Append a batch; all of it and its number, or nothing."""

    def close(self) -> None:
        """Release what is open."""


def source_key(record: bytes, field: str) -> bytes:
    """Eight bytes of a hash of the normalised source side: copies of a sentence share a partition."""
    text = " ".join(str(orjson.loads(record)[field]).casefold().split())
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class FilePublisher:
    """JSON lines in a file. Beside it a small file says which batch it ends with, and at which byte."""

    def __init__(self, path: Path, identity: str) -> None:
        self._mark = path.with_name(f"{path.name}.batch")
        self._identity = identity
        self._batch, length = 0, 0
        with suppress(FileNotFoundError):
            mark = orjson.loads(self._mark.read_bytes())
            if mark["store"] != identity:
                raise ConfigurationError(
                    f"{path} was written from another store: use that one, or another --output"
                )
            self._batch, length = mark["batch"], mark["length"]
        if not length and path.exists() and path.stat().st_size and not self._mark.exists():
            raise ConfigurationError(f"{path} exists and no crawl wrote it: choose another --output")
        self._file = path.open("ab")
        self._file.truncate(length)

    def committed(self) -> int:
        """See `Publisher.committed`."""
        return self._batch

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """See `Publisher.publish`."""
        self._file.write(b"\n".join([*records, b""]))
        self._file.flush()
        os.fsync(self._file.fileno())
        mark = {"store": self._identity, "batch": batch, "length": self._file.tell()}
        written = self._mark.with_name(f"{self._mark.name}.new")
        written.write_bytes(orjson.dumps(mark))
        written.replace(self._mark)
        self._batch = batch

    def close(self) -> None:
        """See `Publisher.close`."""
        self._file.close()


class StandardOutput:
    """JSON lines on standard output: what was written cannot be known after a restart, so all is new."""

    def committed(self) -> int:
        """None of the batches."""
        return 0

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """Write and flush."""
        sys.stdout.buffer.write(b"\n".join([*records, b""]))
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """Nothing is kept open."""


class KafkaPublisher:
    """A topic; each batch is one transaction with the batch's number in a compacted progress topic.

    Args:
        kafka: how to reach the brokers.
        topic: of the pairs; made when it is missing (4 partitions).
        name: of the crawl; a second process with the same name fences the first one off.
        identity: of the store.
        source_field: side that the records are keyed by.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, name: str, identity: str, source_field: str = "src"
    ) -> None:
        self._source_field = source_field
        self._kafka, self._topic, self._progress = kafka, topic, f"{topic}.progress"
        self._name, self._identity = name, identity
        self._partitions = self._ensure_topics()
        self._output: Any = None
        self._batch = 0
        self._connect()

    def _ensure_topics(self) -> int:
        from connectors.kafka.admin import COMPACTED, TopicPlan, connect

        with connect(self._kafka) as admin:
            present = admin.partitions()
            plans = [
                TopicPlan("topic", self._topic, 4, {}, {}),
                TopicPlan("progress", self._progress, 1, COMPACTED, {}),
            ]
            missing = [plan for plan in plans if plan.name not in present]
            if missing:
                admin.create(missing, min(3, len(admin.cluster()["brokers"])))
            return int(present.get(self._topic, 4))

    def _connect(self) -> None:
        """A new producer, which ends what an older one of this name has begun; then the last batch that counts."""
        from connectors.kafka.output import TransactionalOutput
        from connectors.kafka.reader import KafkaReader

        self._output = TransactionalOutput(self._kafka, f"craft-crawl-{self._topic}-{self._name}")
        reader = KafkaReader(self._kafka)
        try:
            first, end = reader.bounds(self._progress, [0])[0]
            for messages in reader.read(self._progress, 0, first, end):
                for message in messages:
                    if message.key == self._name.encode() and message.value:
                        self._remember(orjson.loads(message.value))
        finally:
            reader.close()

    def _remember(self, progress: dict[str, Any]) -> None:
        if progress["store"] != self._identity:
            raise ConfigurationError(
                f'the crawl "{self._name}" published to {self._topic} from another store: use that one, '
                "or another --name"
            )
        self._batch = int(progress["batch"])

    def committed(self) -> int:
        """See `Publisher.committed`."""
        return self._batch

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """See `Publisher.publish`; an ambiguous failure is settled by reading what the topic holds.

        Raises:
            UnavailableError: the batch could not be published.
            ConfigurationError: another process took the crawl over.
        """
        progress = orjson.dumps({"store": self._identity, "batch": batch})
        for attempt in range(3):
            try:
                if attempt:
                    self._output.close()
                    self._connect()
                    if self._batch >= batch:
                        return
                self._output.begin()
                for record in records:
                    key = source_key(record, self._source_field)
                    partition = int.from_bytes(key, "little") % self._partitions
                    self._output.send(self._topic, partition, record, key)
                self._output.send(self._progress, 0, progress, self._name.encode())
                self._output.commit({}, None)
                self._batch = batch
                return
            except TransactionError as error:
                if error.fenced:
                    raise ConfigurationError(
                        f'another process runs the crawl "{self._name}": {error}'
                    ) from error
                failure = error
        raise UnavailableError(f"batch {batch} could not be published: {failure}")

    def close(self) -> None:
        """See `Publisher.close`."""
        self._output.close()
