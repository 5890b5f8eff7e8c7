"""Messages: records of a log, a topic or a file, as connectors hand them in.

A record travels as the bytes of one JSON object with a source and a target side; every format is converted to
and from that at the edge, so that nothing inside knows where a pair came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, overload


class Message(NamedTuple):
    """One record of a log, as it came; a tuple, since there is one for every pair (.4 us to make, 1.0 as a dataclass).

    Attributes:
        value: the record's bytes; None is a tombstone.
        offset: its position in the partition, strictly increasing.
        key, headers, timestamp_ms: as in Kafka; empty for files.
        topic, partition: where it was; for files the path and 0.
        problem: why a connector could not turn its input into a record (then `value` is the raw input); None when
            it could.
    """

    value: bytes | None
    offset: int
    topic: str = ""
    partition: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    problem: str | None = None

    @property
    def location(self) -> str:
        """Where it was, which is also its decision's id: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Lines(Sequence[Message]):
    """Messages that are nothing but the lines of a file: each is made when it is asked for, as a pass asks for few.

    Made at once they took a tenth of the time of `select`, and kept the interpreter's lock from the thread that decides.

    Args:
        values: of the messages.
        numbers: of their lines.
        topic: the path.
    """

    def __init__(self, values: list[bytes], numbers: Sequence[int], topic: str) -> None:
        self.values = values
        self.numbers, self.topic = numbers, topic

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        places = range(len(self.values))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        return Message(self.values[places], self.numbers[places], self.topic)

    def chosen(self, rows: Sequence[int]) -> Lines:
        """Some of them."""
        return Lines([self.values[row] for row in rows], [self.numbers[row] for row in rows], self.topic)


def chosen(messages: Sequence[Message], rows: Sequence[int]) -> Sequence[Message]:
    """Some messages, by their indices."""
    return messages.chosen(rows) if isinstance(messages, Lines) else [messages[row] for row in rows]


def joined(parts: Sequence[Sequence[Message]]) -> Sequence[Message]:
    """Messages that came in parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    lines = [part for part in parts if isinstance(part, Lines)]
    if lines and len(lines) == len(parts) and len({part.topic for part in lines}) == 1:
        values = list(chain.from_iterable(part.values for part in lines))
        return Lines(values, list(chain.from_iterable(part.numbers for part in lines)), lines[0].topic)
    return list(chain.from_iterable(parts))


def values(messages: Sequence[Message]) -> list[bytes]:
    """The messages' values; empty where there is none, or where it is no record."""
    if isinstance(messages, Lines):
        return messages.values
    return [(message.value or b"") if message.problem is None else b"" for message in messages]


def size(messages: Sequence[Message]) -> int:
    """Bytes of the messages' values."""
    if isinstance(messages, Lines):
        return sum(map(len, messages.values))
    return sum([len(message.value or b"") for message in messages])
