"""One broker for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import broker


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Addresses of a Kafka cluster: the one that CRAFT_TEST_BOOTSTRAP names, or one started for the session."""
    with broker.bootstrap() as addresses:
        yield addresses
