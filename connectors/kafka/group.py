"""Membership of a consumer group on kafka-python.

Rebalance callbacks run in the client's IO thread, where a blocking call would raise: they only note what
happened and make sure that a new partition delivers nothing before the worker says so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as client_errors

from connectors.kafka import internals
from connectors.kafka.clients import SafeClient, explain, member
from craft_stream.errors import LogTruncatedError, TopicReplacedError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Change, ChangeKind, TransactionError
from craft_stream.settings import KafkaSettings

JOIN_MS = 300  # of waiting for a rebalance before the loop gets its turn


@dataclass(frozen=True, slots=True)
class GroupClaim:
    """The member and its metadata at the moment when it owned what it claimed."""

    metadata: Any
    group: KafkaGroup


class KafkaGroup(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of the group on the input topic."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.input_topic
        self._lock = threading.Lock()
        self._started: set[int] = set()  # since they were assigned
        self._revoked: dict[int, int] = {}  # of those, by the generation that took it away
        self._changes: list[Change] = []
        self._delivered: dict[int, int] = {}  # behind the last record that was, by partition
        self._fenced: list[client_errors.KafkaError] = []
        self._client: SafeClient | None = None
        self._topic_id = ""
        self._consumer = member(settings, self._make_client)
        internals.claim_nothing_when_put_out(self._consumer)
        internals.note_fencing(self._consumer, self._fenced.append)
        try:
            self._consumer.subscribe([self._topic], listener=self)
            # A leader that joins before it knows the topic's partitions assigns none, and may never look again.
            self._consumer.partitions_for_topic(self._topic)
        except client_errors.KafkaError as error:
            self._consumer.close(autocommit=False, timeout_ms=0)
            raise explain(error, settings) from error

    def _make_client(self, **options: Any) -> SafeClient:
        self._client = SafeClient(**options)
        return self._client

    def poll(self, limit: int, seconds: float) -> Sequence[Message]:
        """See `Group.poll`."""
        if self._fenced:
            raise explain(self._fenced[0], self._settings) from self._fenced[0]
        self._check_topic()
        try:
            if internals.join_group(self._consumer, JOIN_MS):
                seconds = 0.0
            if self._changes:
                return []
            internals.unpark(self._consumer)
            chunks = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=limit)
        except client_errors.OffsetOutOfRangeError as error:
            raise LogTruncatedError(
                f"{self._topic} no longer holds the record to be read next ({error}): raise its retention; "
                "`craft-stream run --rebuild` starts again from what is left"
            ) from error
        except client_errors.LogTruncationError as error:
            raise LogTruncatedError(
                f"{self._topic} no longer holds records that were read ({error}): it was deleted and made anew, or its "
                "brokers have lost them. `craft-stream run` says which at its next start; `craft-stream run --rebuild` begins "
                "at what is left"
            ) from error
        except client_errors.RetriableError:
            return []
        except client_errors.KafkaError as error:
            raise explain(error, self._settings) from error
        for where, messages in chunks.items():
            if messages:
                self._delivered[where.partition] = messages[-1].offset + 1
        return [message for messages in chunks.values() for message in messages]

    def _check_topic(self) -> None:
        """That the topic is the one that was joined, as the newest metadata have it: a look-up."""
        found = self._client.topic_id(self._topic) if self._client is not None else ""
        if self._topic_id and found and found != self._topic_id:
            raise TopicReplacedError(
                f"the topic {self._topic} was deleted and made anew while this worker read it: offsets of before mean nothing "
                "on it. `craft-stream run --rebuild` begins a new ledger at the log's first record"
            )
        self._topic_id = found or self._topic_id

    def changes(self) -> Sequence[Change]:
        """See `Group.changes`."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes

    def start(self, partition: int, offset: int) -> None:
        """See `Group.start`."""
        where = TopicPartition(self._topic, partition)
        if where in self._consumer.assignment():
            with self._lock:
                self._started.add(partition)
            self._delivered[partition] = offset
            self._consumer.seek(where, offset)
            self._consumer.resume(where)

    def pause(self, partitions: Iterable[int]) -> None:
        """See `Group.pause`."""
        self._consumer.pause(*self._assigned(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """See `Group.resume`."""
        self._consumer.resume(*self._assigned(partitions))

    def ends(self) -> Mapping[int, int]:
        """See `Group.ends`."""
        found = {}
        for where in self._consumer.assignment():
            end, position = (
                internals.highwater(self._consumer, where),
                internals.position(self._consumer, where),
            )
            last = self._delivered.get(where.partition)
            if end is not None:
                read = last is not None and position is not None and position >= end
                found[where.partition] = last if read and last is not None else end
        return found

    def joined(self) -> bool:
        """See `Group.joined`."""
        metadata = self._consumer.group_metadata()
        return bool(metadata.member_id) and metadata.generation_id >= 0

    def topic_known(self) -> bool:
        """See `Group.topic_known`."""
        return self._client is None or bool(self._client.cluster.partitions_for_topic(self._topic))

    def claim(self, partitions: Iterable[int]) -> GroupClaim:
        """See `Group.claim`.

        The broker checks member and generation, not partitions, and checks nothing at all for a member
        without a generation. So the metadata is read first: if a partition is still ours afterwards, or was
        taken away by this very generation (nobody can get it before the next one), a later owner implies a
        later generation, and the broker refuses ours. One that went and came back in between is ours, but what was
        decided before is not to be committed any more: it counts from `start` on.
        """
        metadata = self._consumer.group_metadata()
        if metadata.generation_id < 0 or not metadata.member_id:
            raise TransactionError("this worker is no member of the group any more", fenced=True)
        with self._lock:
            for partition in partitions:
                if partition in self._started or self._revoked.get(partition) == metadata.generation_id:
                    continue
                raise TransactionError(f"partition {partition} belongs to another worker by now", fenced=True)
        return GroupClaim(metadata, self)

    def commit(self, offsets: Mapping[TopicPartition, Any]) -> None:
        """Commit offsets outside of a transaction (at-least-once); the broker checks the generation."""
        self._consumer.commit(offsets, timeout_ms=30_000)

    def reachable(self) -> bool:
        """See `Group.reachable`."""
        return self._client is not None and self._client.reachable()

    def leave(self) -> None:
        """See `Group.leave`."""
        self._consumer.close(autocommit=False, timeout_ms=5_000)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """In the IO thread: new partitions wait, at a position that means nothing, until `start`."""
        for where in assigned:
            self._consumer.pause(where)
            self._consumer.seek(where, 0)
        self._note(ChangeKind.ASSIGNED, assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """In the IO thread."""
        generation = self._consumer.group_metadata().generation_id
        self._note(ChangeKind.REVOKED, revoked, generation)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """In the IO thread."""
        self._note(ChangeKind.LOST, lost)

    def _note(self, kind: ChangeKind, where: Iterable[TopicPartition], generation: int = -1) -> None:
        partitions = frozenset(item.partition for item in where)
        if not partitions:
            return
        with self._lock:
            self._changes.append(Change(kind, partitions))
            for partition in partitions:
                self._revoked.pop(partition, None)
                if kind is ChangeKind.REVOKED and partition in self._started:
                    self._revoked[partition] = generation
            self._started -= partitions

    def _assigned(self, partitions: Iterable[int]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        wanted = (TopicPartition(self._topic, partition) for partition in partitions)
        return [where for where in wanted if where in assignment]
