"""What reads and writes files of pairs. Connectors implement these protocols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from craft_stream.ports.messages import Message


@runtime_checkable
class Source(Protocol):
    """A finite log of records, read in order."""

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next messages; empty at the end."""

    def close(self) -> None:
        """Release files and connections; safe to call twice."""


@runtime_checkable
class Sink(Protocol):
    """A log that records are appended to."""

    def write(self, values: Iterable[bytes]) -> None:
        """Append records in order."""

    def close(self) -> None:
        """Flush and release; what was written is durable afterwards."""
