"""What the runtime asks of the outside: messages in, records out. Connectors implement these protocols.

A record travels as the bytes of one JSON object with a source and a target side; every format is converted to
and from that at the edge, so that nothing inside knows where a pair came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Message(NamedTuple):
    """One record of a log, as it came; a tuple, since there is one for every pair (.4 us to make, 1.0 as a dataclass).

    Attributes:
        value: the record's bytes; None is a tombstone.
        offset: its position in the partition, strictly increasing.
        key, headers, timestamp_ms: as in Kafka; empty for files.
        topic, partition: where it was; for files the path and 0.
        problem: why a connector could not turn its input into a record (then `value` is the raw input); None
        when it could.
    """

    value: bytes | None
    offset: int
    topic: str = ""
    partition: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    problem: str | None = None


@runtime_checkable
class Source(Protocol):
    """A finite or growing log of records, read in order, resumable by position."""

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next messages; empty at the end (a growing source: nothing new yet)."""

    def position(self) -> str:
        """Resume token: a source opened with it goes on after the last message that `read` returned."""

    def close(self) -> None:
        """Release files and connections; safe to call twice."""


@runtime_checkable
class Sink(Protocol):
    """A log that records are appended to."""

    def write(self, values: Iterable[bytes]) -> None:
        """Append records in order."""

    def close(self) -> None:
        """Flush and release; what was written is durable afterwards."""
