"""What becomes of records that cannot be decided: a dead letter, and a breaker when there are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from craft_stream.errors import DataError
from craft_stream.runtime.observer import Stage
from craft_stream.runtime.ports import Message
from craft_stream.runtime.transport import Record
from craft_stream.settings import ErrorsSettings

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


def dead_records(letters: Iterable[DeadLetter]) -> list[Record]:
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


class Breaker:
    """Stops the work when too many of the latest records are dead letters: input or settings are wrong.

    Attributes:
        share: of dead letters among the records remembered.
    """

    def __init__(self, settings: ErrorsSettings) -> None:
        self._limit = settings.dead_letter_limit
        self._window = settings.dead_letter_window
        self._counts: deque[tuple[int, int]] = deque()
        self._records = self._dead = 0

    @property
    def share(self) -> float:
        """Share of dead letters among the latest records."""
        return self._dead / self._records if self._records else 0.0

    def count(self, records: int, dead: int) -> None:
        """Take note of a transaction that is committed.

        Raises:
            DataError: the share is above the limit.
        """
        self._counts.append((records, dead))
        self._records += records
        self._dead += dead
        while self._counts and self._records - self._counts[0][0] >= self._window:
            gone, dead_gone = self._counts.popleft()
            self._records -= gone
            self._dead -= dead_gone
        # A few bad records at the very start say nothing: judged from a tenth of the window on.
        if self._records >= self._window // 10 and self.share > self._limit:
            raise DataError(
                f"{self._dead} of the last {self._records} records could not be decided, more than "
                f"errors.dead_letter_limit = {self._limit} allows: `craft-stream dlq ls` shows why"
            )
