"""The one port that a worker listens on: /metrics, /livez, /readyz, /state and, at /, a page for people; read only.

    recorder = Recorder()
    server = Server(recorder, settings.observe.host, settings.observe.port, page)
    ...
    server.close()

/livez asks whether the worker's loop turns (restart it if not), /readyz whether it has joined its group and
restored what it holds; both answer 200 or 503 with a line of text. /state is a JSON object: `Recorder.state`.

The page shows texts of the stream and answers questions that cost something. Unless everyone may see it, it is for who sits at
this machine, or has a tunnel to it: the connection comes from the loopback interface, and the address was typed as `localhost`
or in numbers, so that no site of the web can make its own name mean this machine and read along. A question is answered
to the page itself alone, whoever may see it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from craft_stream.errors import ConfigurationError

log = logging.getLogger(__name__)

# A scraper sends its request at once; who does not, holds a thread for so long and no longer.
REQUEST_SECONDS: Final = 5.0


_REFUSED: Final[dict[int, str]] = {
    HTTPStatus.NOT_IMPLEMENTED: "only GET and HEAD are answered",
    HTTPStatus.REQUEST_URI_TOO_LONG: "the address is too long",
}


class Watched(Protocol):
    """What is served: a worker's `Recorder`, or a crawl's."""

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""

    def refresh(self) -> None:
        """Bring the metrics up to date, before a scrape."""

    def alive(self) -> str | None:
        """None, or what is wrong so that the process should be started again."""

    def ready(self) -> str | None:
        """None, or what is missing."""

    def state(self) -> dict[str, Any]:
        """For /state."""


class Shown(Protocol):
    """The page at /."""

    @property
    def policy(self) -> str:
        """Its content-security policy."""

    @property
    def everyone(self) -> bool:
        """Whether others than this machine may see it."""

    def render(self, query: Mapping[str, str]) -> bytes:
        """HTML, with the answer to what the query asks."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, recorder: Watched, host: str, port: int, page: Shown | None) -> None:
        self.recorder, self.page = recorder, page
        self.address_family = AF_INET6 if ":" in host else AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is wrong with an answer; who left before it was complete is nobody's concern."""
        if not isinstance(error := sys.exception(), OSError):
            log.error("an answer to %s failed", client_address[0], exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS
    server: _Listener
    server_version = "craft-stream"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            self._get()
        except _RequestError as error:
            self._say(400, str(error))

    do_HEAD = do_GET  # noqa: N815 (the base class's name)

    def _get(self) -> None:
        recorder = self.server.recorder
        path, _, query = self.path.partition("?")
        match path:
            case "/" if self.server.page is not None:
                self._page(self.server.page, _asked(query))
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                recorder.refresh()
                self._answer(200, content_type, encode(recorder.registry))
            case "/livez":
                self._probe(recorder.alive())
            case "/readyz":
                self._probe(recorder.ready())
            case "/state":
                body = orjson.dumps(
                    recorder.state(), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
                )
                self._answer(200, "application/json", body)
            case _:
                page = "/, " if self.server.page is not None else ""
                self._say(404, f"{page}/metrics, /livez, /readyz or /state")

    def _probe(self, problem: str | None) -> None:
        self._say(503 if problem else 200, problem or "ok")

    def _page(self, page: Shown, query: Mapping[str, str]) -> None:
        if not page.everyone and not self._here():
            port = self.server.server_address[1]
            self._say(
                403,
                f"the page is for this machine: open http://localhost:{port}/ on it or through a tunnel, or set observe.page",
            )
        elif query and self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self._say(403, "ask on the page itself")
        else:
            self._answer(200, "text/html; charset=utf-8", page.render(query), page.policy)

    def _here(self) -> bool:
        """Whether who asks is at this machine, and named it so that nobody else can have meant another."""
        name = _host_name(self.headers.get("Host", "")) or "localhost"
        return _loopback(self.client_address[0]) and (name == "localhost" or _is_address(name))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses by itself (no method of ours, too long an address): a line, as all else."""
        self.close_connection = True
        self._say(code, _REFUSED.get(code) or message or HTTPStatus(code).phrase)

    def _say(self, status: int, text: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())

    def _answer(
        self, status: int, content_type: str, body: bytes, policy: str = "default-src 'none'"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Probes every few seconds would drown the worker's own log."""


class _RequestError(ValueError):
    """Nothing that a browser sends."""


def _asked(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=8))
    except ValueError:
        raise _RequestError("too many questions at once") from None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        raise _RequestError("the Host is no name and no address") from None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _loopback(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


class Server:
    """Serves a Recorder in threads of its own until closed."""

    def __init__(self, recorder: Watched, host: str, port: int, page: Shown | None = None) -> None:
        """Bind and begin to serve; port 0 takes a free one.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        try:
            self._listener = _Listener(recorder, host, port, page)
        except OSError as error:
            raise ConfigurationError(
                f"observe: cannot listen on {host}:{port}: {error.strerror or error}"
            ) from None
        self._thread = threading.Thread(target=self._listener.serve_forever, name="observe", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listener.server_address[1])

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
