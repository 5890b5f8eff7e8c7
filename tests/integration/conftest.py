"""One broker for the whole session, and one that is secured for each module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import broker
from tests.secure import SecureBroker, secure_broker


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Addresses of the cluster that CRAFT_TEST_BOOTSTRAP names, else of one started for the session."""
    with broker.bootstrap() as addresses:
        yield addresses


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureBroker]:
    """A broker with an authorizer and a listener of each kind."""
    with secure_broker() as running:
        yield running
