"""The TLS context of a configuration; what is wrong with its files is said by name, before any broker is asked."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from craft_stream.errors import ConfigurationError
from craft_stream.settings import SecuritySettings


def tls_context(security: SecuritySettings) -> ssl.SSLContext:
    """How to greet a broker: TLS 1.2 at least, its certificate checked.

    Raises:
        ConfigurationError: a file is missing or unreadable, the key's password is wrong, key and certificate differ.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = security.ssl_check_hostname
    if security.ssl_ciphers:
        try:
            context.set_ciphers(security.ssl_ciphers)
        except ssl.SSLError:
            raise _wrong("ssl_ciphers", security.ssl_ciphers, "names no cipher that OpenSSL has") from None
    if security.ssl_cafile:
        _load("ssl_cafile", security.ssl_cafile, context.load_verify_locations)
    else:
        context.load_default_certs()
    if security.ssl_certfile:
        _load_certificate(context, security)
    if security.ssl_crlfile:
        _load("ssl_crlfile", security.ssl_crlfile, context.load_verify_locations)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load_certificate(context: ssl.SSLContext, security: SecuritySettings) -> None:
    key = security.ssl_keyfile or security.ssl_certfile or ""
    for name, path in (("ssl_certfile", security.ssl_certfile or ""), ("ssl_keyfile", key)):
        _load(name, path, _bytes)
    password = security.ssl_password.get_secret_value() if security.ssl_password else ""
    try:
        # an empty password, not none: OpenSSL would ask the terminal for one
        context.load_cert_chain(security.ssl_certfile or "", security.ssl_keyfile, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"is not the key of {security.ssl_certfile}"
        elif b"ENCRYPTED" in _bytes(key):
            why = (
                "cannot be opened with kafka.security.ssl_password"
                if password
                else "is encrypted: set kafka.security.ssl_password"
            )
        else:
            why = f"cannot be read as PEM ({error.reason or error})"
        raise _wrong("ssl_keyfile", key, why) from None
    except ValueError as error:  # a password that OpenSSL cannot take
        raise _wrong("ssl_password", "", str(error)) from None


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _load(name: str, path: str, step: Callable[[str], object]) -> None:
    try:
        step(path)
    except ssl.SSLError as error:
        raise _wrong(name, path, f"is no PEM file ({error.reason or error})") from None
    except OSError as error:
        raise _wrong(name, path, f"cannot be read: {error.strerror}") from None


def _wrong(name: str, value: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"kafka.security.{name}: {value} {why}")
