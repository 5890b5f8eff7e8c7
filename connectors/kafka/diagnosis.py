"""Why a broker cannot be reached, step by step as a client would: name, port, TLS, protocol, login.

kafka-python tries for its bootstrap time-out and then says that it could not; what happened is in its log only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from connectors.kafka.greeting import greeted
from connectors.kafka.sockets import connected, split_address
from connectors.kafka.tls import tls_context
from connectors.kafka.wire import Brokers, Link, talk
from craft_stream.errors import ConfigurationError, CraftError, UnavailableError
from craft_stream.settings import KafkaSettings


def check_mechanism(settings: KafkaSettings) -> None:
    """That the library of the way to log in is there.

    Raises:
        ConfigurationError: with the command to type.
    """
    if settings.security.sasl_mechanism == "GSSAPI" and find_spec("gssapi") is None:
        raise ConfigurationError("kafka.security.sasl_mechanism GSSAPI needs a package: `pip install gssapi`")


def servers(settings: KafkaSettings) -> list[str]:
    """Addresses to ask first."""
    return [server.strip() for server in settings.bootstrap_servers.split(",") if server.strip()]


def reach(settings: KafkaSettings) -> None:
    """That a broker answers and lets us in.

    Raises:
        ConfigurationError, AccessError, UnavailableError: none does; the cause that tells most.
    """
    found = diagnose(settings, servers(settings))
    if named := advertised(found):
        others = sorted(named - set(servers(settings)))
        if len(others) == len(named):
            _one_of(named_by_brokers(diagnose(settings, others)))
    else:
        _one_of(found)


def _one_of(found: Sequence[Brokers | CraftError]) -> None:
    causes = [cause for cause in found if isinstance(cause, CraftError)]
    if causes and len(causes) == len(found):
        # Where one is away and one refuses us, the refusal is what somebody must mend.
        raise min(causes, key=lambda cause: isinstance(cause, UnavailableError))


def advertised(found: Sequence[Brokers | CraftError]) -> frozenset[str]:
    """The addresses by which brokers that were reached tell clients to reach them all."""
    return frozenset[str]().union(*(brokers for brokers in found if not isinstance(brokers, CraftError)))


def named_by_brokers(found: Sequence[Brokers | CraftError]) -> list[Brokers | CraftError]:
    """The same, where the addresses were not those of the settings: it is the brokers that name them."""
    return [
        type(cause)(f"{cause}; the brokers give this address themselves (advertised.listeners)")
        if isinstance(cause, CraftError)
        else cause
        for cause in found
    ]


def diagnose(settings: KafkaSettings, addresses: Sequence[str]) -> list[Brokers | CraftError]:
    """For each address what is wrong with it, else the addresses that are told there; all at once."""
    check_mechanism(settings)
    if settings.security.uses_tls:
        tls_context(settings.security)  # a file that is wrong is so for every address

    def cause(address: str) -> Brokers | CraftError:
        try:
            return probe(address, settings)
        except CraftError as error:
            return error

    with ThreadPoolExecutor(max(1, len(addresses)), "probe") as pool:
        return list(pool.map(cause, addresses))


def probe(address: str, settings: KafkaSettings) -> Brokers:
    """Reach one broker as a client does; the addresses that it gives for all of them.

    Raises:
        ConfigurationError: a setting is wrong.
        AccessError: it refuses our certificate, user or password.
        UnavailableError: nobody is there, or nobody who answers.
    """
    try:
        return _probe(address, settings)
    except struct.error:
        raise ConfigurationError(
            f"{address}: what answers there is no Kafka broker: check the port"
        ) from None


def _probe(address: str, settings: KafkaSettings) -> Brokers:
    security = settings.security
    host, port = split_address(address)
    with connected(address, host, port) as plain:
        if security.uses_tls:
            with greeted(address, host, port, plain, settings) as secure:
                return talk(Link(secure, address, settings), settings)
        else:
            return talk(Link(plain, address, settings), settings)
