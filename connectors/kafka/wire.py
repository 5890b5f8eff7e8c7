"""The few requests that tell whether a broker lets us in, written by hand: versions, a login, metadata."""

from __future__ import annotations

import socket
import ssl
import struct

from kafka import errors as client_errors
from kafka.net.sasl import get_sasl_mechanism

from connectors.kafka.greeting import tls_failure
from connectors.kafka.oauth import token_provider
from connectors.kafka.sockets import SECONDS, split_address
from craft_stream.errors import AccessError, ConfigurationError, CraftError, UnavailableError
from craft_stream.settings import KafkaSettings

Brokers = frozenset[str]
_API_VERSIONS, _METADATA, _HANDSHAKE, _AUTHENTICATE = 18, 3, 17, 36
_ILLEGAL_SASL_STATE = 34
_ALERT = 0x15  # how a TLS alert begins


class Link:
    """Requests over one connection, one at a time."""

    def __init__(self, link: socket.socket, address: str, settings: KafkaSettings) -> None:
        self._link, self.address, self._settings = link, address, settings
        self._number = 0
        link.settimeout(SECONDS)

    def ask(self, key: int, version: int, body: bytes, ended: CraftError) -> bytes:
        """The answer's body; `ended` is what it means that the broker hangs up instead."""
        self._number += 1
        client = b"craft-stream-doctor"
        header = struct.pack(">hhih", key, version, self._number, len(client)) + client
        try:
            self._link.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            head = self._read(4)
            if head[:1] == bytes([_ALERT]):
                raise ConfigurationError(
                    f"{self.address}: this port speaks TLS: set kafka.security.security_protocol to SSL or SASL_SSL"
                )
            size = struct.unpack(">i", head)[0]
            if not 4 <= size <= 64 << 20:
                raise ConfigurationError(
                    f"{self.address}: what answers there is no Kafka broker: check the port"
                )
            return self._read(size)[4:]
        except TimeoutError:
            raise UnavailableError(
                f"{self.address}: connected, but no answer within {SECONDS:.0f} s: is it a port of the brokers?"
            ) from None
        except ssl.SSLError as error:
            raise tls_failure(self.address, error) from None
        except (EOFError, OSError):
            raise ended from None

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._link.recv(size - len(data))
            if not part:
                if data[:1] == bytes([_ALERT]):  # an alert, cut short
                    return data.ljust(size, b"\0")
                raise EOFError
            data += part
        return data


def talk(link: Link, settings: KafkaSettings) -> Brokers:
    """What a client says first: which versions, a login, who is there.

    Raises:
        ConfigurationError, AccessError, UnavailableError: what the broker does not take.
    """
    security, address = settings.security, link.address
    if security.uses_tls:
        why = "does it refuse our client certificate, or ask for one (kafka.security.ssl_certfile, ssl_keyfile)?"
    else:
        why = "does this port speak TLS (kafka.security.security_protocol), or is it no port of the brokers?"
    # A broker that is just ending hangs up too: none of these is final.
    link.ask(_API_VERSIONS, 0, b"", UnavailableError(f"{address}: hangs up at the first request: {why}"))
    if security.uses_sasl:
        _login(link, settings)
    answer = link.ask(
        _METADATA,
        1,
        struct.pack(">i", 0),  # no topics
        UnavailableError(
            f"{address}: hangs up unless one logs in: set kafka.security.security_protocol to SASL_SSL or "
            "SASL_PLAINTEXT, with sasl_mechanism and its login"
        )
        if not security.uses_sasl
        else UnavailableError(f"{address}: hangs up after the login"),
    )
    return _brokers(answer)


def _brokers(answer: bytes) -> Brokers:
    """Addresses in an answer to a request for metadata (version 1): node, host, port and rack of each broker."""
    (count,), at, found = struct.unpack_from(">i", answer), 4, set()
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at + 4)
        host = answer[at + 6 : at + 6 + length].decode("utf-8", "replace")
        at += 6 + length
        port, rack = struct.unpack_from(">ih", answer, at)
        at += 6 + max(rack, 0)
        found.add(f"{host}:{port}")
    return frozenset(found)


def _login(link: Link, settings: KafkaSettings) -> None:
    security, address = settings.security, link.address
    mechanism = security.sasl_mechanism or ""
    name = mechanism.encode()
    answer = link.ask(
        _HANDSHAKE,
        1,
        struct.pack(">h", len(name)) + name,
        UnavailableError(f"{address}: hangs up when asked for a login: is it a SASL listener?"),
    )
    (code, count), at, offered = struct.unpack_from(">hi", answer), 6, []
    for _ in range(max(count, 0)):
        (length,) = struct.unpack_from(">h", answer, at)
        offered.append(answer[at + 2 : at + 2 + length].decode("utf-8", "replace"))
        at += 2 + length
    if code == _ILLEGAL_SASL_STATE:
        raise ConfigurationError(
            f"{address}: this port asks for no login: set kafka.security.security_protocol to "
            f"{'SSL' if security.uses_tls else 'PLAINTEXT'}, or take the port of the SASL listener"
        )
    if code or mechanism not in offered:
        raise ConfigurationError(
            f"{address}: it takes no logins by {mechanism}, only by {', '.join(offered) or 'none'}: "
            "set kafka.security.sasl_mechanism"
        )
    try:
        options = {**security.client_options(), "sasl_oauth_token_provider": token_provider(security)}
        if mechanism == "GSSAPI":
            options.setdefault("sasl_kerberos_service_name", "kafka")
            options.setdefault("sasl_kerberos_domain_name", None)
            options.setdefault("sasl_kerberos_name", None)
        exchange = get_sasl_mechanism(mechanism)(host=split_address(address)[0], **options)
        while not exchange.is_done():
            exchange.receive(_authenticate(link, exchange.auth_bytes(), settings))
    except CraftError:
        raise
    except client_errors.KafkaError as error:
        raise ConfigurationError(f"kafka.security: {error}") from None
    except Exception as error:  # a mechanism's own: gssapi's, or a server's proof that is wrong
        raise AccessError(f"{address}: the login by {mechanism} failed: {error}") from None
    if not exchange.is_authenticated():
        raise refused(address, settings, "")


def _authenticate(link: Link, token: bytes, settings: KafkaSettings) -> bytes:
    answer = link.ask(
        _AUTHENTICATE,
        0,
        struct.pack(">i", len(token)) + token,
        UnavailableError(f"{link.address}: hangs up during the login"),
    )
    code, length = struct.unpack_from(">hh", answer)
    at = 4 + max(length, 0)
    if code:
        raise refused(link.address, settings, answer[4:at].decode("utf-8", "replace"))
    (size,) = struct.unpack_from(">i", answer, at)
    return answer[at + 4 : at + 4 + max(size, 0)]


def refused(address: str, settings: KafkaSettings, said: str) -> AccessError:
    """A login that was refused, with what to look at."""
    security = settings.security
    where = {
        "OAUTHBEARER": "the token: kafka.security.sasl_oauth_...",
        "GSSAPI": "the Kerberos ticket (`klist`) and kafka.security.sasl_kerberos_...",
    }.get(
        security.sasl_mechanism or "",
        f"kafka.security.sasl_plain_password of the user {security.sasl_plain_username!r}",
    )
    return AccessError(
        f"{address}: the broker refuses the login by {security.sasl_mechanism} ({said or 'no reason given'}): "
        f"check {where}"
    )
