"""A record that could not be decided, with what went wrong."""

from __future__ import annotations

from typing import NamedTuple

from craft_stream.events import Stage
from craft_stream.ports.messages import Message

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
