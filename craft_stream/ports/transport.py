"""What the worker asks of a message system: a group to consume in, outputs to write through, topics to read.

`connectors.kafka` implements these protocols on a broker and `craft_stream.testing` in memory, with faults on
demand. Every method belongs to one thread at a time: a Group to the loop, an Output to whoever made it, a
Reader likewise; only `Group.claim` may be called from elsewhere, because it is what a transaction asks at its
end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from craft_stream.ports.messages import Message

Headers = Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """What an Output writes.

    Attributes:
        value, key: as in Kafka; one of them is needed.
        headers: its own.
        shared: headers that come before them, and that many records have alike: written down once.
    """

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    shared: tuple[tuple[str, bytes], ...] = ()


class TransactionError(Exception):
    """A transaction did not commit, or nobody knows; what it held must be restored and read again.

    Attributes:
        fenced: somebody else holds the partitions or the producer's name by now.
    """

    def __init__(self, message: str, fenced: bool = False) -> None:
        super().__init__(message)
        self.fenced = fenced


class ChangeKind(Enum):
    """What happened to partitions of a group's member."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Change:
    """Partitions that came or went, in the order of events.

    REVOKED ones may still be committed until the next `Group.poll`; LOST ones may not.
    """

    kind: ChangeKind
    partitions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Position:
    """A committed offset: the next record to read, and a note that is kept with it."""

    offset: int
    note: str = ""


class Claim(Protocol):
    """Proof of ownership that an Output sends along with offsets; opaque."""


class Group(Protocol):
    """A member of a consumer group on one input topic. New partitions are paused until `start`."""

    def poll(self, limit: int, seconds: float) -> Sequence[Message]:
        """Serve the group and return at most `limit` records, after at most about `seconds`.

        Raises:
            LogTruncatedError: the log no longer holds the record to be read next.
        """

    def changes(self) -> Sequence[Change]:
        """What happened since the last call."""

    def start(self, partition: int, offset: int) -> None:
        """Deliver records of a partition, from `offset` on."""

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing of these for now."""

    def resume(self, partitions: Iterable[int]) -> None:
        """Go on delivering these."""

    def ends(self) -> Mapping[int, int]:
        """Ends of the assigned partitions' logs, behind the last record, as far as known from the last fetches; costs nothing.

        Where everything has been read, that is behind the last record delivered: marks of transactions and what was aborted
        are nothing to wait for.
        """

    def joined(self) -> bool:
        """Whether this is a member of the group, with partitions or without."""

    def topic_known(self) -> bool:
        """Whether the input topic is there, as far as is known."""

    def claim(self, partitions: Iterable[int]) -> Claim:
        """Ownership of these partitions, now and ever since they were started. Any thread may ask.

        Raises:
            TransactionError: fenced; one of them is no longer this member's, or went and came back.
        """

    def reachable(self) -> bool:
        """Whether any broker is connected."""

    def leave(self) -> None:
        """Leave the group, with nothing committed; safe to call twice."""


class Receipt(Protocol):
    """What `Output.send` gives for a record."""

    def offset(self) -> int:
        """Where the record is in its partition; known after `Output.flush`."""


class Output(Protocol):
    """Writes records, and offsets with them, in transactions (or, at least once, in that order)."""

    def begin(self) -> None:
        """Start a transaction."""

    def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> Receipt:
        """Add a record; may return before it is written."""

    def send_all(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Add records, in order; whether they are written `flush` says."""

    def flush(self) -> None:
        """Return when all that was sent is written, though perhaps not committed.

        Raises:
            TransactionError: some of it is not.
        """

    def commit(self, offsets: Mapping[int, Position], claim: Claim | None) -> None:
        """Commit records and input offsets together; without a claim, records only.

        Raises:
            TransactionError: not committed, or unknown. Close this output and make a new one of its name.
        """

    def close(self) -> None:
        """Release it; what was begun and is not committed is ended, so that nobody waits for it; safe to call twice."""


class Reader(Protocol):
    """Reads committed records of any topic, outside of any group."""

    def partitions(self, topic: str) -> Sequence[int]:
        """Partitions of a topic, in order; empty when there is no such topic."""

    def topic_ids(self, *topics: str) -> Mapping[str, str]:
        """What tells topics from others of their names that were made anew (KIP-516), now; empty where that is not known."""

    def bounds(self, topic: str, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """For each partition its first offset and the end of what is committed."""

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Sequence[Message]]:
        """Records with offsets in [start, stop), in chunks.

        Raises:
            LogTruncatedError: the log begins after `start`.
        """

    def committed(self, partition: int) -> Position | None:
        """The group's committed position in the input topic; waits for transactions that are under way."""

    def close(self) -> None:
        """Release connections; safe to call twice."""


class Transport(Protocol):
    """Makes the clients of one configuration."""

    def group(self) -> Group:
        """Join the consumer group on the input topic."""

    def output(self, name: str) -> Output:
        """An Output with a transactional identity of that name; an older one of the same name is fenced."""

    def reader(self) -> Reader:
        """A Reader."""

    def widen(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic until it has so many.

        Raises:
            ConfigurationError: the brokers do not allow it.
        """
