"""One broker for all tests, a second one behind a proxy, and one pinned model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from craft_stream.settings import Settings
from tests import broker
from tests.chaos.proxy import Proxy
from tests.integration.conftest import bootstrap
from tests.integration.deployment import DEFAULTS, pairs, pinned_model

__all__ = ["bootstrap"]


@dataclass(frozen=True)
class Proxied:
    """A broker of its own, which checkers reach directly and workers through a proxy.

    Attributes:
        cluster: the broker.
        proxy: before it.
        workers: the bootstrap address for workers.
    """

    cluster: broker.Cluster
    proxy: Proxy

    @property
    def workers(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"


@pytest.fixture(scope="session")
def proxied() -> Iterator[Proxied]:
    """A broker behind a proxy, which a test may also kill and start again."""
    port = broker.free_port()
    with Proxy(port) as proxy, broker.cluster(proxy=(port, proxy.port)) as cluster:
        yield Proxied(cluster, proxy)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model learned under the tests' usual settings."""
    settings = Settings.load(None, [f"{name}={value}" for name, value in DEFAULTS.items()])
    return pinned_model(tmp_path_factory.mktemp("model"), settings, pairs(5_000, seed=9))
