"""Dead letters: records that could not be decided, as they are written to their topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from craft_stream.events import Stage
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Record
from craft_stream.reading.chunk import Chunk

MESSAGE_BYTES = 1_000  # of an error's message: it may quote input

_ADDED = frozenset(
    f"craft-error-{name}" for name in ("stage", "class", "message", "topic", "partition", "offset")
)


class DeadLetter(NamedTuple):
    """A record that could not be decided.

    Attributes:
        message: as it came.
        stage: where it failed.
        reason: a `DecodeReason`, or the class of the error.
        error: what the error said.
    """

    message: Message
    stage: Stage
    reason: str
    error: str

    def shared(self) -> tuple[tuple[str, bytes], ...]:
        """The record's own headers and what happened to it, but for the offset."""
        message = self.message
        return (
            *(header for header in message.headers if header[0] not in _ADDED),
            ("craft-error-stage", self.stage.encode()),
            ("craft-error-class", self.reason.encode()),
            ("craft-error-message", self.error[:MESSAGE_BYTES].encode("utf-8", "replace")),
            ("craft-error-topic", message.topic.encode()),
            ("craft-error-partition", b"%d" % message.partition),
        )


def refused(chunk: Chunk) -> list[DeadLetter]:
    """Dead letters of what holds no pair."""
    return [
        DeadLetter(chunk.messages[row], Stage.DECODE, reason, text) for row, (reason, text) in chunk.refused
    ]


def dead_letter_records(letters: Iterable[DeadLetter]) -> list[Record]:
    """Dead letters of one partition as they are written: key and bytes as they came, what happened in the headers.

    All but the offset is made once for those that failed alike: a stream that is all poison is written in half the time.
    """
    known: dict[object, tuple[tuple[str, bytes], ...]] = {}
    records = []
    for letter in letters:
        message, stage, reason, error = letter
        kind = (message.headers, stage, reason, error)
        shared = known.get(kind) or known.setdefault(kind, letter.shared())
        key = message.key
        if key is None and message.value is None:
            key = b""  # a record without value needs one
        records.append(Record(message.value, key, (("craft-error-offset", b"%d" % message.offset),), shared))
    return records
