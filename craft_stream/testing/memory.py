"""A message system in memory, with faults on demand, for tests of the worker and of your own connectors.

    broker = MemoryBroker({"crawl.pairs": 2, ...})
    broker.append("crawl.pairs", 0, b'{"src": ..., "tgt": ...}')
    transport = MemoryTransport(broker, settings.kafka, {3: Fault.AMBIGUOUS, 5: Fault.CRASH}, idle=stop.set)

`MemoryTransport` implements `craft_stream.ports.transport.Transport`. The script says what happens to the n-th commit
(counting from 1, over all transports of a broker): see `Fault`. Transactions are atomic: what is not
committed is never seen. At least once (`kafka.guarantee`), the worker's records are seen when they are flushed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from craft_stream.errors import LogTruncatedError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import (
    Change,
    ChangeKind,
    Claim,
    Headers,
    Position,
    Record,
    TransactionError,
)
from craft_stream.settings import KafkaSettings


class Crash(BaseException):
    """The process dies here: nothing that follows happens."""


class Fault(Enum):
    """What happens to a commit."""

    ABORT = "nothing is written, and the worker is told so"
    AMBIGUOUS = "everything is written, and the worker is told that it failed"
    FENCED = "nothing is written: another worker has taken over"
    CRASH = "the worker dies before anything is written"
    CRASH_AFTER = "everything is written, then the worker dies"
    REVOKE = "written; at the next poll every partition is taken away and given back"
    LOST = "nothing is written: the group took every partition away; the next poll gives them back"
    SCATTERED = (
        "at least once: the worker dies in a flush, of which only records of the ledger topic are written"
    )


@dataclass
class MemoryBroker:
    """Topics and committed offsets.

    Attributes:
        topics: partitions by topic.
        logs: records by topic and partition; a record's offset is its index.
        first: where logs begin, where retention has deleted something.
        committed: positions in the input topic.
        commits: how many were tried.
        outputs: how often each name of an output was taken.
        ids: of topics.
    """

    topics: Mapping[str, int]
    logs: dict[tuple[str, int], list[Message]] = field(default_factory=dict)
    first: dict[tuple[str, int], int] = field(default_factory=dict)
    committed: dict[int, Position] = field(default_factory=dict)
    commits: int = 0
    outputs: Counter[str] = field(default_factory=Counter)
    ids: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def append(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> int:
        """Add a committed record; its offset."""
        with self.lock:
            log = self.log(topic, partition)
            log.append(Message(value, len(log), topic, partition, key, tuple(headers), 1))
            return len(log) - 1

    def log(self, topic: str, partition: int) -> list[Message]:
        """A partition's records."""
        if not 0 <= partition < self.topics[topic]:
            raise KeyError(f"{topic} has no partition {partition}")
        return self.logs.setdefault((topic, partition), [])

    def values(self, topic: str) -> list[bytes | None]:
        """All values of a topic, partition by partition."""
        return [
            message.value for partition in range(self.topics[topic]) for message in self.log(topic, partition)
        ]

    def done(self, topic: str) -> bool:
        """Whether everything on the input topic is committed."""
        with self.lock:
            return all(
                self.committed.get(partition, Position(0)).offset == len(self.log(topic, partition))
                for partition in range(self.topics[topic])
            )


class MemoryTransport:
    """See `Transport`.

    Args:
        broker: shared by all workers.
        kafka: names of topics.
        script: faults by the number of the commit.
        idle: called from the loop when everything is committed.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        kafka: KafkaSettings,
        script: Mapping[int, Fault] | None = None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.broker, self.kafka, self.idle = broker, kafka, idle
        self.script = dict(script or {})
        self.member: MemoryGroup | None = None

    def group(self) -> MemoryGroup:
        """See `Transport.group`."""
        self.member = MemoryGroup(self)
        return self.member

    def output(self, name: str) -> MemoryOutput:
        """See `Transport.output`; only the worker's own meets faults."""
        return MemoryOutput(self, name)

    def reader(self) -> MemoryReader:
        """See `Transport.reader`."""
        return MemoryReader(self)

    def widen(self, topic: str, partitions: int) -> None:
        """See `Transport.widen`."""
        self.broker.topics = {**self.broker.topics, topic: partitions}


class MemoryGroup:
    """The only member of a group: it has every partition."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._broker, self._topic, self._idle = transport.broker, transport.kafka.input_topic, transport.idle
        self._all = frozenset(range(self._broker.topics[self._topic]))
        self._owned: frozenset[int] = frozenset()
        self._started: set[int] = set()
        self._revoked: set[int] = set()  # by this poll: they may be committed until the next one
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._changes: list[Change] = []
        self.pending: list[ChangeKind] = [ChangeKind.ASSIGNED]

    def poll(self, limit: int, seconds: float) -> Sequence[Message]:
        """See `Group.poll`."""
        self._revoked = set()
        kinds, self.pending = (
            self.pending[:1],
            self.pending[1:],
        )  # one a poll: what is revoked is drained before the next
        for kind in kinds:
            self._changes.append(Change(kind, self._all))
            self._owned = self._all if kind is ChangeKind.ASSIGNED else frozenset()
            if kind is ChangeKind.REVOKED:
                self._revoked = set(self._started)
            self._started.clear()
            self._positions.clear()
        if self._broker.done(self._topic):
            self._idle()
        found: list[Message] = []
        with self._broker.lock:
            for partition in sorted(self._positions.keys() - self._paused):
                log, start = self._broker.log(self._topic, partition), self._positions[partition]
                found += log[start : start + limit - len(found)]
                self._positions[partition] = found[-1].offset + 1 if len(log) > start and found else start
                if len(found) >= limit:
                    break
        if not found:
            threading.Event().wait(min(seconds, 0.002))
        return found

    def changes(self) -> Sequence[Change]:
        """See `Group.changes`."""
        changes, self._changes = self._changes, []
        return changes

    def start(self, partition: int, offset: int) -> None:
        """See `Group.start`."""
        self._started.add(partition)
        self._positions[partition] = offset
        self._paused.discard(partition)

    def pause(self, partitions: Iterable[int]) -> None:
        """See `Group.pause`."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """See `Group.resume`."""
        self._paused.difference_update(partitions)

    def ends(self) -> Mapping[int, int]:
        """See `Group.ends`."""
        return {partition: len(self._broker.log(self._topic, partition)) for partition in self._owned}

    def joined(self) -> bool:
        """From the first poll on."""
        return not self.pending

    def topic_known(self) -> bool:
        """It always is."""
        return True

    def claim(self, partitions: Iterable[int]) -> Claim:
        """See `Group.claim`."""
        if not set(partitions) <= self._started | self._revoked:
            raise TransactionError("not owned", fenced=True)
        return self

    def reachable(self) -> bool:
        """Memory is always there."""
        return True

    def leave(self) -> None:
        """See `Group.leave`."""
        self._owned = frozenset()
        self._started.clear()


@dataclass(frozen=True, slots=True)
class MemoryReceipt:
    """Where a record will be if nobody else writes to its partition meanwhile."""

    at: int

    def offset(self) -> int:
        """See `Receipt.offset`."""
        return self.at


class MemoryOutput:
    """See `Output`."""

    def __init__(self, transport: MemoryTransport, name: str) -> None:
        self._transport, self._name, self._faulty = transport, name, name == "worker"
        transport.broker.outputs[name] += 1
        self._taken = transport.broker.outputs[name]
        self._staged: list[tuple[str, int, Message]] = []

    def begin(self) -> None:
        """See `Output.begin`."""
        self._staged = []

    def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> MemoryReceipt:
        """See `Output.send`."""
        before = sum((topic, partition) == item[:2] for item in self._staged)
        at = len(self._transport.broker.log(topic, partition)) + before
        self._staged.append((topic, partition, Message(value, at, topic, partition, key, tuple(headers), 1)))
        return MemoryReceipt(at)

    def send_all(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """See `Output.send_all`."""
        for value, key, headers, shared in records:
            self.send(topic, partition, value, key, (*shared, *headers))

    def flush(self) -> None:
        """Nothing to wait for; at least once, what was sent is seen from now on."""
        transport, broker = self._transport, self._transport.broker
        if not self._faulty or transport.kafka.guarantee == "exactly_once":
            return
        ledger = [item for item in self._staged if item[0] == transport.kafka.ledger_topic]
        if ledger and transport.script.get(broker.commits + 1) is Fault.SCATTERED:
            del transport.script[broker.commits + 1]
            self._staged = ledger
            self._write()
            raise Crash
        self._write()

    def _write(self) -> None:
        with self._transport.broker.lock:
            for topic, partition, message in self._staged:
                log = self._transport.broker.log(topic, partition)
                log.append(message._replace(offset=len(log)))
            self._staged = []

    def commit(self, offsets: Mapping[int, Position], claim: Claim | None) -> None:
        """See `Output.commit`; the script's place."""
        broker, group = self._transport.broker, self._transport.member
        if broker.outputs[self._name] != self._taken:
            raise TransactionError("another output has taken over the name", fenced=True)
        fault = None
        if self._faulty:
            broker.commits += 1
            fault = self._transport.script.pop(broker.commits, None)
        if fault is Fault.CRASH:
            raise Crash
        if fault in (Fault.ABORT, Fault.FENCED, Fault.LOST):
            if fault is Fault.LOST and group is not None:
                group.pending = [ChangeKind.LOST, ChangeKind.ASSIGNED]
            raise TransactionError("scripted", fenced=fault is not Fault.ABORT)
        with broker.lock:
            self._write()
            broker.committed.update(offsets)
        if fault is Fault.CRASH_AFTER:
            raise Crash
        if fault is Fault.AMBIGUOUS:
            raise TransactionError("scripted: nobody knows")
        if fault is Fault.REVOKE and group is not None:
            group.pending = [ChangeKind.REVOKED, ChangeKind.ASSIGNED]

    def close(self) -> None:
        """See `Output.close`."""


class MemoryReader:
    """See `Reader`."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._broker = transport.broker

    def partitions(self, topic: str) -> Sequence[int]:
        """See `Reader.partitions`."""
        return range(self._broker.topics.get(topic, 0))

    def topic_ids(self, *topics: str) -> Mapping[str, str]:
        """See `Reader.topic_ids`."""
        return {topic: self._broker.ids.get(topic, "") for topic in topics}

    def bounds(self, topic: str, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """See `Reader.bounds`."""
        with self._broker.lock:
            return {
                p: (self._broker.first.get((topic, p), 0), len(self._broker.log(topic, p)))
                for p in partitions
            }

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Sequence[Message]]:
        """See `Reader.read`."""
        if start < self._broker.first.get((topic, partition), 0):
            raise LogTruncatedError(f"{topic}/{partition} does not hold offset {start} any more")
        with self._broker.lock:
            found = self._broker.log(topic, partition)[start:stop]
        if found:
            yield found

    def committed(self, partition: int) -> Position | None:
        """See `Reader.committed`."""
        return self._broker.committed.get(partition)

    def close(self) -> None:
        """See `Reader.close`."""
