"""The message system in memory keeps the contract of `craft_stream.testing`, which tells those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Claim, Record
from craft_stream.settings import KafkaSettings
from craft_stream.testing import ContractError, check_transport, memory

KAFKA = KafkaSettings()


def opened(kind: type[memory.MemoryTransport] = memory.MemoryTransport) -> memory.MemoryTransport:
    return kind(memory.MemoryBroker({KAFKA.input_topic: 2}), KAFKA)


def test_memory_keeps_the_contract() -> None:
    """Transactions, fencing, deliveries and claims are those of a broker."""
    check_transport(opened, KAFKA.input_topic, 5)


class Hasty(memory.MemoryOutput):
    """Shows what is not committed."""

    def flush(self) -> None:
        """Write at once."""
        self._write()


class Unfenced(memory.MemoryOutput):
    """Goes on when its name is taken."""

    def commit(self, *arguments: Any) -> None:
        """Never mind the name."""
        self._taken = self._transport.broker.outputs[self._name]
        super().commit(*arguments)


class Headless(memory.MemoryOutput):
    """Forgets shared headers."""

    def send_all(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Only its own."""
        super().send_all(topic, partition, [record._replace(shared=()) for record in records])


class Restless(memory.MemoryGroup):
    """Does not pause."""

    def pause(self, partitions: Iterable[int]) -> None:
        """Nothing."""


class Greedy(memory.MemoryGroup):
    """Gives more than was asked for."""

    def poll(self, limit: int, seconds: float) -> Sequence[Message]:
        """Twice the limit."""
        return super().poll(2 * limit, seconds)


class Generous(memory.MemoryGroup):
    """Gives a claim for anything."""

    def claim(self, partitions: Iterable[int]) -> Claim:
        """Itself."""
        return self


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Hasty, "not committed, is read"),
        (Unfenced, "taken over"),
        (Headless, "headers"),
        (Restless, "paused"),
        (Greedy, "at most 1"),
        (Generous, "not started"),
    ],
)
def test_a_transport_that_breaks_it_is_told(kind: type[Any], message: str) -> None:
    """Uncommitted records, an old output, lost headers, a pause that is none, too many records, claims for all."""

    class Broken(memory.MemoryTransport):
        def output(self, name: str) -> memory.MemoryOutput:
            return (kind if issubclass(kind, memory.MemoryOutput) else memory.MemoryOutput)(self, name)

        def group(self) -> memory.MemoryGroup:
            self.member = (kind if issubclass(kind, memory.MemoryGroup) else memory.MemoryGroup)(self)
            return self.member

    with pytest.raises(ContractError, match=message):
        check_transport(lambda: opened(Broken), KAFKA.input_topic, 5)
