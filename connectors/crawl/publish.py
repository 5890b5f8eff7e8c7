"""Where pairs go: a Kafka topic, a file, or standard output. Each remembers the last batch that it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import orjson

from craft_stream.errors import ConfigurationError
from craft_stream.settings import KafkaSettings


class Publisher(Protocol):
    """Holds batches of records, in order of their numbers."""

    def committed(self) -> int:
        """Number of the last batch that it holds; 0 for none."""

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """Append a batch; all of it and its number, or nothing."""

    def close(self) -> None:
        """Release what is open."""


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
        topic: of the pairs; made when it is missing.
        name: of the crawl; a second process with the same name fences the first one off.
        identity: of the store.
        source_field: side that the records are keyed by.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, name: str, identity: str, source_field: str = "src"
    ) -> None:
        from connectors.kafka.publisher import MarkedPublisher

        self._identity = identity
        self._topic = MarkedPublisher(kafka, topic, name, source_field, make=True)
        if self._topic.mark is not None and self._topic.mark["store"] != identity:
            self._topic.close()
            raise ConfigurationError(
                f'the crawl "{name}" published to {topic} from another store: use that one, or another --name'
            )

    def committed(self) -> int:
        """See `Publisher.committed`."""
        return int(self._topic.mark["batch"]) if self._topic.mark else 0

    def publish(self, batch: int, records: Sequence[bytes]) -> None:
        """See `Publisher.publish`.

        Raises:
            UnavailableError: the batch could not be published.
            ConfigurationError: another process took the crawl over.
        """
        self._topic.publish(records, {"store": self._identity, "batch": batch})

    def close(self) -> None:
        """See `Publisher.close`."""
        self._topic.close()
