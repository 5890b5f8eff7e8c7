"""A connection to an address: its name, its port."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate

from craft_stream.errors import UnavailableError

SECONDS = 3.0  # for each step; `doctor` is to answer within 5
PORT = 9092


def split_address(address: str) -> tuple[str, int]:
    """Host and port; brackets of an IPv6 address are taken off."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        host, port = address, str(PORT)
    return host.strip("[]"), int(port)


def connected(address: str, host: str, port: int) -> socket.socket:
    """A connection.

    Raises:
        UnavailableError: the name does not resolve, nobody listens, nobody answers.
    """
    pool = ThreadPoolExecutor(1, "resolve")  # nothing else bounds how long a look-up takes
    try:
        found = pool.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM).result(SECONDS)
    except TooLate:
        raise UnavailableError(
            f"{address}: no name server answered within {SECONDS:.0f} s: is the network there?"
        ) from None
    except (socket.gaierror, UnicodeError) as error:
        raise UnavailableError(
            f"{address}: the name {host} does not resolve ({error}): check kafka.bootstrap_servers and the DNS"
        ) from None
    finally:
        pool.shutdown(wait=False)
    failure: OSError | None = None
    for family, kind, protocol, _, where in found:
        link = socket.socket(family, kind, protocol)
        link.settimeout(SECONDS)
        try:
            link.connect(where)
        except OSError as error:
            link.close()
            failure = error
        else:
            return link
    if isinstance(failure, ConnectionRefusedError):
        said = "nobody listens on this port: is the broker up, is it this port?"
    elif isinstance(failure, TimeoutError):
        said = f"no answer within {SECONDS:.0f} s: is a firewall in between?"
    else:
        said = f"cannot be reached: {failure.strerror if failure else 'no address'}"
    raise UnavailableError(f"{address}: {said}")
