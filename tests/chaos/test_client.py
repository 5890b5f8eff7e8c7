"""Faults of the client library that would strand a partition or lose a record, each with what we do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from connectors.kafka.group import KafkaGroup
from connectors.kafka.transport import KafkaTransport
from craft_stream.ports.transport import ChangeKind, Position, Record, TransactionError
from tests.chaos.conftest import Proxied
from tests.chaos.proxy import Api
from tests.integration.deployment import Deployment, pairs

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


def start(group: KafkaGroup, wanted: set[int]) -> None:
    """Poll until these partitions are given, and start them."""
    deadline = time.monotonic() + 20
    while wanted and time.monotonic() < deadline:
        group.poll(1, 0.1)
        for change in group.changes():
            for partition in change.partitions:
                group.start(partition, 0)
                wanted = wanted - {partition}
    assert not wanted


def test_offsets_of_an_aborted_transaction_stay_aborted(bootstrap: str, tmp_path: Path) -> None:
    """Refused with a generation that is gone, they are not in the next transaction of the worker."""
    run = Deployment(bootstrap, tmp_path, 2)
    transport = KafkaTransport(run.settings.kafka)
    group, output, reader = transport.group(), transport.output("worker"), transport.reader()
    try:
        start(group, {0, 1})
        claim = group.claim([0, 1])
        stale = replace(
            claim, metadata=claim.metadata._replace(generation_id=claim.metadata.generation_id + 1)
        )
        output.begin()
        output.send(run.settings.kafka.decisions_topic, 0, b"{}", b"aborted")
        with pytest.raises(TransactionError):
            output.commit({0: Position(1_000, "")}, stale)
        # as `Committer.recover` does
        output.close()
        output = transport.output("worker")
        output.begin()
        output.send(run.settings.kafka.decisions_topic, 1, b"{}", b"committed")
        output.commit({1: Position(10, "")}, claim)
        assert reader.committed(1) == Position(10, "")
        assert reader.committed(0) is None
        assert [message.key for message in run.read(run.settings.kafka.decisions_topic)] == [b"committed"]
    finally:
        group.leave()
        output.close()
        reader.close()


@contextmanager
def unverified(bootstrap: str) -> Iterator[None]:
    """Brokers that take records of a transaction which its coordinator knows nothing of."""

    def verify(value: bool) -> None:
        configs = {"transaction.partition.verification.enable": str(value).lower()}
        brokers = [str(broker["broker_id"]) for broker in admin.describe_cluster()["brokers"]]
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, name, configs) for name in brokers])
        time.sleep(1)  # until the brokers have heard of it

    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        verify(False)
        yield
        verify(True)
    finally:
        admin.close()


def test_what_a_broker_left_open_is_not_committed_with_what_follows(bootstrap: str, tmp_path: Path) -> None:
    """Records whose transaction has ended without a mark in their partition, as after an outage, never count."""
    run = Deployment(bootstrap, tmp_path, 1)
    topic, transport = run.settings.kafka.decisions_topic, KafkaTransport(run.settings.kafka)
    with unverified(bootstrap):
        left = transport.output("worker")
        left.begin()
        left._producer._transaction_manager._partitions_in_transaction.add(TopicPartition(topic, 0))
        left.send(topic, 0, b"{}", b"left open")
        left.flush()
        left.close()
    output = transport.output("worker")
    output.begin()
    output.send(topic, 0, b"{}", b"committed")
    output.commit({}, None)
    output.close()
    assert [message.key for message in run.read(topic)] == [b"committed"]


def test_an_output_is_closed_with_records_that_are_not_written(proxied: Proxied, tmp_path: Path) -> None:
    """The broker's answers stay away: closing raises nothing, and the client's thread ends without another try."""
    run = Deployment(proxied.cluster.bootstrap, tmp_path, 1)
    kafka = run.settings.kafka.model_copy(update={"bootstrap_servers": proxied.workers})
    output = KafkaTransport(kafka).output("worker")
    output.begin()
    with proxied.proxy.hold((Api.PRODUCE,)):
        output.send(kafka.decisions_topic, 0, b"{}", b"given up")
        output.send_all(kafka.decisions_topic, 0, [Record(b"{}", b"given up too")])
        time.sleep(0.2)
        output.close()
        output._producer._sender.join(20)
        assert not output._producer._sender.is_alive()


def test_a_partition_that_went_and_came_back_is_claimed_from_its_new_start_on(
    bootstrap: str, tmp_path: Path
) -> None:
    """What was decided before it went is not committed after it came back, though its owner is the same."""
    run = Deployment(bootstrap, tmp_path, 2)
    group = KafkaTransport(run.settings.kafka).group()
    where = [TopicPartition(run.settings.kafka.input_topic, 0)]
    try:
        start(group, {0, 1})
        group.claim([0, 1])
        group.on_partitions_revoked(where)
        group.claim([0, 1])  # nobody else can have got it in this generation
        group.on_partitions_assigned(where)
        group.claim([1])
        with pytest.raises(TransactionError):
            group.claim([0])
        group.on_partitions_revoked(where)
        with pytest.raises(TransactionError):
            group.claim([0])
        group.on_partitions_assigned(where)
        group.start(0, 0)
        group.claim([0, 1])
        group.on_partitions_lost(where)
        with pytest.raises(TransactionError):
            group.claim([0, 1])
    finally:
        group.leave()


def test_a_member_that_was_put_out_claims_nothing(bootstrap: str, tmp_path: Path) -> None:
    """Whatever it was in the midst of: it hears of its loss first, and joins as one that owns no partition."""
    run = Deployment(bootstrap, tmp_path, 2)
    group = KafkaTransport(run.settings.kafka).group()
    coordinator = group._consumer._coordinator
    seen: list[tuple[ChangeKind, frozenset[int]]] = []

    def poll_until(wanted: int) -> None:
        deadline = time.monotonic() + 60
        while len(seen) < wanted and time.monotonic() < deadline:
            group.poll(1, 0.1)
            seen.extend((change.kind, change.partitions) for change in group.changes())

    try:
        poll_until(1)
        coordinator.rejoining = True  # a round has begun
        coordinator.reset_generation()
        ((_, metadata),) = coordinator.group_protocols()
        assert not metadata.owned_partitions
        poll_until(3)
    finally:
        group.leave()
    both = frozenset({0, 1})
    assert seen == [(ChangeKind.ASSIGNED, both), (ChangeKind.LOST, both), (ChangeKind.ASSIGNED, both)]


def test_a_partition_that_was_paused_delivers_again(bootstrap: str, tmp_path: Path) -> None:
    """Paused in the midst of what was fetched of it, while another one is read to its end, then resumed: all arrives."""
    run = Deployment(bootstrap, tmp_path, 2)
    run.feed(pairs(4_000))
    group = KafkaTransport(run.settings.kafka).group()
    counts = [0, 0]

    def read(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline, f"stranded after {counts} of 2,000 each"
            for message in group.poll(10, 0.1):
                counts[message.partition] += 1
            for change in group.changes():
                for partition in change.partitions:
                    group.start(partition, 0)

    try:
        read(lambda: sum(counts) > 0)
        first = 0 if counts[0] else 1
        group.pause([first])
        read(lambda: counts[1 - first] == 2_000)
        assert counts[first] < 2_000
        group.resume([first])
        read(lambda: counts == [2_000, 2_000])
    finally:
        group.leave()
