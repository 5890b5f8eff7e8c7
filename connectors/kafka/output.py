"""Writing on kafka-python, in the order that loses nothing.

A commit of kafka-python 3.0.12 can return normally although the broker aborted the transaction (its time-out
had passed, one more record was sent, then committed). So: send, wait for every record and look at each
result, send the offsets as the last thing (that raises when the transaction is gone), commit.

And what of a transaction was not done when it was given up stays in the client, which sends it with the next
transaction of the same producer: offsets that the broker refused, whose records would be lost, and records that
wait to be sent again, which would be there twice. So a producer whose transaction failed is never used again.

Nor can it be left to the broker that a transaction ends. Kafka 4.3.1, while it starts, declares those ended that ran out of
time while it was away, but the marks that say so do not reach the partitions: the records stay open, and the next
transaction of the same name commits them with its own (each of some outages of 21 s: 200 decisions there twice). So a new
producer first ends, by an abort of its own, whatever is open under its name where it is going to write.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as client_errors

from connectors.kafka import bulk, internals
from connectors.kafka.clients import denied, explain, producer
from connectors.kafka.group import GroupClaim
from craft_stream.errors import AccessError
from craft_stream.ports.transport import Claim, Headers, Position, Record, TransactionError
from craft_stream.settings import KafkaSettings

FENCED = (
    client_errors.ProducerFencedError,
    client_errors.InvalidProducerEpochError,
    client_errors.IllegalGenerationError,
    client_errors.UnknownMemberIdError,
    client_errors.FencedInstanceIdError,
    client_errors.CommitFailedError,  # the generation of the group is another one by now
)
ABORT_SECONDS = 3.0  # a broker that is there answers in milliseconds; one that is not ends the transaction by its time-out
FLUSH_SECONDS = 75.0  # longer than the producer's delivery time-out, after which it fails by itself


class KafkaReceipt:
    """A record on its way."""

    __slots__ = ("_future",)

    def __init__(self, future: Any) -> None:
        self._future = future

    def offset(self) -> int:
        """See `Receipt.offset`."""
        return int(self._future.get(0).offset)


class _Output:
    """What both guarantees share: sending and looking at every result."""

    def __init__(self, settings: KafkaSettings, client: Any) -> None:
        self._settings = settings
        self._producer = client
        self._pending: list[Any] = []

    def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> KafkaReceipt:
        """See `Output.send`."""
        if value is None and key is None:
            raise ValueError("a record without value needs a key")
        try:
            future = self._producer.send(topic, value, key, list(headers), partition)
        except (client_errors.KafkaError, ValueError) as error:
            raise _failure("a record could not be sent", error, self._settings) from error
        self._pending.append(future)
        return KafkaReceipt(future)

    def send_all(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """See `Output.send_all`."""
        try:
            self._pending += bulk.send(self._producer, topic, partition, records)
        except (client_errors.KafkaError, ValueError) as error:
            raise _failure("records could not be sent", error, self._settings) from error

    def flush(self) -> None:
        """See `Output.flush`."""
        pending, self._pending = self._pending, []
        try:
            self._flush(time.monotonic() + FLUSH_SECONDS)
        except client_errors.KafkaError as error:
            raise _failure("records were not written in time", error, self._settings) from error
        for future in pending:
            if future.exception is not None:
                raise _failure(
                    "a record was not written", future.exception, self._settings
                ) from future.exception

    def _flush(self, deadline: float) -> None:
        """Wait for all that was sent, the parts of batches included that the broker found too large.

        kafka-python 3.0.12 wakes who waits for a batch when it splits it, and flush takes that for an unknown error.
        """
        while True:
            try:
                self._producer.flush(max(deadline - time.monotonic(), 0.0))
                return
            except client_errors.UnknownError:
                if time.monotonic() >= deadline:
                    raise

    def close(self) -> None:
        """See `Output.close`; what is not written by then is given up."""
        internals.close_at_once(self._producer)


class TransactionalOutput(_Output):
    """Records and offsets in one transaction.

    Args:
        topics: that it is going to write to; what is open in them under this name is aborted.
        group: whose offsets it is going to commit; likewise.
    """

    def __init__(
        self, settings: KafkaSettings, name: str, topics: Sequence[str] = (), group: str | None = None
    ) -> None:
        options = {"transactional_id": name, "transaction_timeout_ms": settings.transaction_timeout_ms}
        super().__init__(settings, producer(settings, **options))
        self._began = 0.0
        self._open = False
        try:
            self._producer.init_transactions()
            self._abort_open(topics, group)
        except client_errors.KafkaError as error:
            self.close()
            raise explain(error, settings) from error

    def _abort_open(self, topics: Sequence[str], group: str | None) -> None:
        places = [TopicPartition(topic, n) for topic in topics for n in self._producer.partitions_for(topic)]
        if not places:
            return
        self._producer.begin_transaction()
        internals.add_partitions(self._producer, places)
        if group is not None:
            self._producer.send_offsets_to_transaction({}, group)
        self._producer.abort_transaction()

    def begin(self) -> None:
        """See `Output.begin`."""
        self._pending.clear()
        self._began = time.monotonic()
        try:
            self._producer.begin_transaction()
        except client_errors.KafkaError as error:
            raise _failure("no transaction could be begun", error, self._settings) from error
        self._open = True

    def commit(self, offsets: Mapping[int, Position], claim: Claim | None) -> None:
        """See `Output.commit`."""
        self.flush()
        try:
            if isinstance(claim, GroupClaim):
                self._producer.send_offsets_to_transaction(_offsets(self._settings, offsets), claim.metadata)
            elif time.monotonic() - self._began > self._settings.transaction_timeout_ms / 2000:
                # without offsets nothing would tell that the broker has given the transaction up
                raise TransactionError("the transaction took more than half of its time-out")
            self._producer.commit_transaction()
        except client_errors.KafkaError as error:
            raise _failure("the transaction was not committed", error, self._settings) from error
        self._open = False

    def close(self) -> None:
        """See `Output.close`; what is open is aborted, as others would wait for its time-out to read on."""
        if self._open:
            self._open = False
            internals.abort_within(self._producer, ABORT_SECONDS)
        super().close()


class IdempotentOutput(_Output):
    """At least once: the same order, without a transaction; offsets go last, through the group."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, producer(settings))

    def begin(self) -> None:
        """See `Output.begin`."""
        self._pending.clear()

    def commit(self, offsets: Mapping[int, Position], claim: Claim | None) -> None:
        """See `Output.commit`."""
        self.flush()
        if not isinstance(claim, GroupClaim):
            return
        try:
            claim.group.commit(_offsets(self._settings, offsets))
        except client_errors.KafkaError as error:
            raise _failure("offsets were not committed", error, self._settings) from error


def _offsets(
    settings: KafkaSettings, offsets: Mapping[int, Position]
) -> dict[TopicPartition, OffsetAndMetadata]:
    return {
        TopicPartition(settings.input_topic, partition): OffsetAndMetadata(position.offset, position.note, -1)
        for partition, position in offsets.items()
    }


def _failure(what: str, error: BaseException, settings: KafkaSettings) -> TransactionError | AccessError:
    if isinstance(error, client_errors.AuthorizationError):  # trying again would go on for ever
        return denied(error, settings)
    return TransactionError(f"{what} ({type(error).__name__}: {error})", fenced=isinstance(error, FENCED))
