"""Many records at once through kafka-python's producer, on a real broker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from connectors.kafka.transport import KafkaTransport
from craft_stream.ports.transport import Record, TransactionError
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.integration


def test_batches_that_the_broker_finds_too_large(bootstrap: str, tmp_path: Path) -> None:
    """Where the client splits batches all records arrive in order; one that fits in none fails the transaction."""
    run = Deployment(bootstrap, tmp_path, 1)
    topic = f"{run.settings.kafka.accepted_topic}-small"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    finally:
        admin.close()
    output = KafkaTransport(run.settings.kafka).output("worker")
    # of random bytes, which no compression makes small
    records = [Record(os.urandom(100), b"%d" % n, [("h", b"%d" % n)]) for n in range(3_000)]
    try:
        output.begin()
        output.send_all(topic, 0, records)
        output.flush()
        output.commit({}, None)
        output.begin()
        output.send_all(topic, 0, [Record(os.urandom(30_000), b"large")])
        with pytest.raises(TransactionError):
            output.commit({}, None)
    finally:
        output.close()
    found = run.read(topic)
    assert [(m.key, m.value, list(m.headers)) for m in found] == [
        (r.key, r.value, r.headers) for r in records
    ]
