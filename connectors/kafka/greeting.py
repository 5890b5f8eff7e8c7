"""TLS with a broker, and in words what is wrong with it."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from connectors.kafka.sockets import SECONDS, connected
from connectors.kafka.tls import tls_context
from craft_stream.errors import AccessError, ConfigurationError, CraftError, UnavailableError
from craft_stream.settings import KafkaSettings

# X509_V_ERR_...: as OpenSSL numbers them
_EXPIRED, _NOT_YET, _REVOKED, _NAMES = (10,), (9,), (23,), (62, 64)


def greeted(
    address: str, host: str, port: int, plain: socket.socket, settings: KafkaSettings
) -> ssl.SSLSocket:
    """A connection after the TLS greeting.

    Raises:
        ConfigurationError, AccessError, UnavailableError: what is wrong with protocol, certificates or names.
    """
    context = tls_context(settings.security)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _unverified(address, host, port, settings, error) from None
    except ssl.SSLError as error:
        raise tls_failure(address, error) from None
    except TimeoutError:
        raise UnavailableError(
            f"{address}: no TLS greeting within {SECONDS:.0f} s: is it a port of the brokers?"
        ) from None
    except OSError:
        raise _no_greeting(address) from None


def _no_greeting(address: str) -> UnavailableError:
    return UnavailableError(
        f"{address}: the connection ended during the TLS greeting: if it does so always, this port speaks no TLS: set "
        "kafka.security.security_protocol to PLAINTEXT or SASL_PLAINTEXT, or take the port of the TLS listener"
    )


def _unverified(
    address: str, host: str, port: int, settings: KafkaSettings, error: ssl.SSLCertVerificationError
) -> CraftError:
    code = error.verify_code
    if code in _NAMES:
        names = ", ".join(_names(address, host, port, settings)) or "no name"
        return ConfigurationError(
            f"{address}: its certificate is for {names}, not for {host}: use one of these names in "
            "kafka.bootstrap_servers, or have the certificate made for this one"
        )
    if code in (*_EXPIRED, *_NOT_YET):
        when = "has expired" if code in _EXPIRED else "is not valid yet"
        return UnavailableError(
            f"{address}: its certificate {when}: renew it, or set this machine's clock right"
        )
    if code in _REVOKED:
        return ConfigurationError(f"{address}: its certificate is revoked by kafka.security.ssl_crlfile")
    source = settings.security.ssl_cafile or "this machine's own authorities"
    return ConfigurationError(
        f"{address}: {source} did not sign its certificate ({error.verify_message}): set "
        "kafka.security.ssl_cafile to the PEM file of the authority that did"
    )


def _names(address: str, host: str, port: int, settings: KafkaSettings) -> list[str]:
    """For whom a broker's certificate is, which is signed as it should be."""
    context = tls_context(settings.security)
    context.check_hostname = False
    try:
        with connected(address, host, port) as plain, context.wrap_socket(plain) as secure:
            certificate: Any = secure.getpeercert() or {}
    except (OSError, CraftError):
        return []
    return [name for _, name in certificate.get("subjectAltName", ())]


def tls_failure(address: str, error: ssl.SSLError) -> CraftError:
    """An error of OpenSSL in words."""
    reason = error.reason or str(error)
    if any(mark in reason for mark in ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")):
        return ConfigurationError(
            f"{address}: it speaks no TLS 1.2 or newer ({reason}): raise ssl.enabled.protocols of the broker"
        )
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason or "UNEXPECTED_MESSAGE" in reason:
        return ConfigurationError(
            f"{address}: this port speaks no TLS: set kafka.security.security_protocol to PLAINTEXT or "
            "SASL_PLAINTEXT, or take the port of the TLS listener"
        )
    if "UNEXPECTED_EOF" in reason:
        return _no_greeting(address)
    if "HANDSHAKE_FAILURE" in reason or "NO_SHARED_CIPHER" in reason or "NO_CIPHERS" in reason:
        return ConfigurationError(
            f"{address}: no cipher is allowed on both sides, or it asks for a client certificate ({reason}): "
            "check kafka.security.ssl_ciphers and ssl_certfile"
        )
    if "ALERT" in reason:
        return _certificate_refused(address, reason)
    return UnavailableError(f"{address}: TLS failed ({reason})")


def _certificate_refused(address: str, reason: str) -> AccessError:
    return AccessError(
        f"{address}: the broker refuses our client certificate ({reason}): set kafka.security.ssl_certfile "
        "and ssl_keyfile to one that its authority (ssl.truststore) has signed and that has not expired"
    )
