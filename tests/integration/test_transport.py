"""The transport on a real broker keeps the contract of `craft_stream.testing`."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.kafka.transport import KafkaTransport
from craft_stream.testing import check_transport
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.integration


def test_kafka_keeps_the_contract(bootstrap: str, tmp_path: Path) -> None:
    """Transactions, fencing, deliveries and claims, through kafka-python."""
    kafka = Deployment(bootstrap, tmp_path, 2).settings.kafka
    check_transport(lambda: KafkaTransport(kafka), kafka.input_topic)
