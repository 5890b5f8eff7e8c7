"""The target topic: pairs that describe the domain, or texts of one side; key = id, a tombstone withdraws it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from craft_stream.errors import ConfigurationError
from craft_stream.learning.learner import Learner
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader
from craft_stream.reading.records import Pair, Refusal, examine_described
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch

log = logging.getLogger(__name__)


class TargetObserver(Protocol):
    """Who is told of the target, as a `Learner` is."""

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch, /) -> None:
        """Add pairs, or replace those of the same ids."""

    def withdraw_target(self, identifiers: Sequence[str], /) -> None:
        """Take pairs out."""


class TargetFollower:
    """Feeds the target topic to a learner: to its end at first, then what is new.

    Attributes:
        bad: records that are no pairs, nor texts of one side, passed over.
        replaced: the topic is shorter than it was, so it was made anew, and must be read again.
    """

    def __init__(self, reader: Reader, topic: str, fields: RecordSettings) -> None:
        self.bad = 0
        self.replaced = False
        self._reader = reader
        self._topic = topic
        self._fields = fields
        self._positions: dict[int, int] = {}

    def refresh(self, observer: TargetObserver) -> int:
        """Read to the end as of now; how many records that brought.

        Raises:
            ConfigurationError: there is no such topic.
        """
        partitions = self._reader.partitions(self._topic)
        if not partitions:
            raise ConfigurationError(f"there is no topic {self._topic}: type `craft-stream topics create`")
        count = 0
        for partition, (first, end) in self._reader.bounds(self._topic, partitions).items():
            start = max(first, self._positions.get(partition, first))
            self.replaced |= start > end
            if start >= end:
                continue
            for messages in self._reader.read(self._topic, partition, start, end):
                count += len(messages)
                self._feed(messages, observer)
            self._positions[partition] = end
        return count

    def reread(self, learner: Learner) -> None:
        """Show the learner the whole target again, as it is now, withdrawn pairs left out.

        A reservoir from which more was withdrawn than it holds in reserve lacks pairs that it let go earlier. Withdrawing
        them once more would leave it as incomplete: so what was withdrawn is found first, and never shown.
        """
        learner.forget_target()
        self.replaced = False
        bounds = self._reader.bounds(self._topic, self._reader.partitions(self._topic))
        for partition, (first, end) in bounds.items():
            last: dict[bytes, bool] = {}  # by key whether it is withdrawn; a compacted topic has few others
            for messages in self._reader.read(self._topic, partition, first, end):
                for message in messages:
                    if message.value is None or message.key in last:
                        last[message.key or b""] = message.value is None
            withdrawn = {key for key, gone in last.items() if gone}
            for messages in self._reader.read(self._topic, partition, first, end):
                self._feed([m for m in messages if (m.key or b"") not in withdrawn], learner)
            self._positions[partition] = end

    def _feed(self, messages: Iterable[Message], observer: TargetObserver) -> None:
        """Upserts and withdrawals in their order, as few calls as that allows."""
        pairs: list[Pair] = []
        for message in messages:
            identifier = (message.key or b"").decode("utf-8", "replace")
            if message.value is None:
                _upsert(pairs, observer)
                pairs = []
                observer.withdraw_target([identifier])
                continue
            found = examine_described(message, self._fields)
            if isinstance(found, Refusal):
                self.bad += 1
                log.warning("%s: %s", message.location, found.text)
                continue
            pairs.append(found._replace(id=identifier or found.id))
        _upsert(pairs, observer)


def _upsert(pairs: Sequence[Pair], observer: TargetObserver) -> None:
    if pairs:
        texts = PairBatch.pack([pair.source for pair in pairs], [pair.target for pair in pairs])
        observer.observe_target([pair.id for pair in pairs], texts)
