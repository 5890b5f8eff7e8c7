"""One broker for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import broker


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Addresses of the cluster that CRAFT_TEST_BOOTSTRAP names, else of one started for the session."""
    with broker.bootstrap() as addresses:
        yield addresses
