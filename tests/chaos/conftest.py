"""The broker of the integration tests serves the chaos tests too."""

from tests.integration.conftest import bootstrap

__all__ = ["bootstrap"]
