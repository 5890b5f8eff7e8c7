"""`craft-stream doctor` names each fault in one line, on a real broker with every login and an authorizer; so does `run`."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.kafka.admin import connect
from connectors.kafka.sink import TopicSink
from craft_stream.cli import app
from craft_stream.settings import Settings
from tests import broker
from tests.integration.deployment import Deployment, pairs, target_pairs
from tests.secure import PASSWORD, Certificates, SecureBroker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SECONDS = 5.0


@pytest.fixture(scope="module")
def deployment(secure: SecureBroker, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Topics, and a worker who may do all that a worker needs."""
    made = Deployment(secure.bootstrap, tmp_path_factory.mktemp("secure"), 1)
    kafka = made.settings.kafka
    for topic in (kafka.input_topic, kafka.target_topic):
        secure.allow("worker", "TOPIC", topic, "READ", "DESCRIBE_CONFIGS")
    for topic in (kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic):
        secure.allow("worker", "TOPIC", topic, "WRITE", "DESCRIBE_CONFIGS")
    for topic in (kafka.model_topic, kafka.ledger_topic):
        secure.allow("worker", "TOPIC", topic, "READ", "WRITE", "DESCRIBE_CONFIGS")
    secure.allow("worker", "GROUP", kafka.group_id, "READ")
    secure.allow("worker", "TRANSACTIONAL_ID", f"craft-{kafka.group_id}-", "WRITE", "DESCRIBE", prefix=True)
    made.publish_target(target_pairs())
    return made


def doctor(deployment: Deployment, settings: dict[str, Any], *more: str) -> tuple[int, list[str], float]:
    """Exit code, the lines that are not ok, and how long it took."""
    options = [f"--set={name}={value}" for name, value in settings.items()]
    began = time.monotonic()
    done = CliRunner().invoke(app, ["doctor", "--config", str(deployment.path), *options, *more])
    took = time.monotonic() - began
    if not isinstance(done.exception, SystemExit | None) and not done.output:
        return int(getattr(done.exception, "exit_code", 1)), [str(done.exception)], took
    wrong = [line for line in done.output.splitlines() if line and not line.startswith("ok ")]
    return int(getattr(done.exception, "exit_code", done.exit_code)), wrong, took


@contextmanager
def served(answer: bytes | None, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """An address where something else than a broker answers: these bytes, or nothing for ever (None)."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                held.append(link)
                try:
                    if context is not None:
                        held.append(context.wrap_socket(link, server_side=True))
                    elif answer is not None:
                        link.recv(1 << 16)
                        link.sendall(answer)
                        link.close()
                except OSError:
                    link.close()

        held: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for link in held:
                link.close()


def token(subject: str, ends: float | None = None) -> str:
    """An unsigned JWT, as the broker's test login takes it."""
    parts: list[dict[str, Any]] = [
        {"alg": "none"},
        {"sub": subject, "iat": time.time(), "exp": ends or time.time() + 600},
    ]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return f"{coded[0]}.{coded[1]}."


def printing(text: str) -> str:
    """A command that prints a text."""
    return shlex.join([sys.executable, "-c", f"print({text!r})"])


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    # name: listener, what is set otherwise, what must be said
    "name": ("PLAIN", {"bootstrap_servers": "broker.invalid:9092"}, "does not resolve"),
    "port": ("PLAIN", {"bootstrap_servers": "REFUSED"}, "nobody listens on this port"),
    "tls to plain": ("TLS", {"bootstrap_servers": "PLAINTEXT"}, "speaks no TLS"),
    "authority": ("TLS", {"ssl_cafile": "FILE:rogue-ca.pem"}, "did not sign its certificate"),
    "authority's file": ("TLS", {"ssl_cafile": "/nowhere/ca.pem"}, "No such file"),
    "authority's format": ("TLS", {"ssl_cafile": "FILE:broker.ext"}, "is no PEM file"),
    "host": ("TLS", {"bootstrap_servers": "BY ADDRESS"}, "is for localhost, not for 127.0.0.1"),
    "ciphers": ("TLS", {"ssl_ciphers": "NO-SUCH"}, "no cipher that OpenSSL has"),
    "no certificate": ("MUTUAL", {"ssl_certfile": None, "ssl_keyfile": None}, "client certificate"),
    "rogue certificate": (
        "MUTUAL",
        {"ssl_certfile": "FILE:rogue.pem", "ssl_keyfile": "FILE:rogue.key"},
        "refuses our client certificate",
    ),
    "key's password": (
        "MUTUAL",
        {"ssl_password": "wrong"},
        "cannot be opened with kafka.security.ssl_password",
    ),
    "no password": ("MUTUAL", {"ssl_password": None}, "is encrypted: set kafka.security.ssl_password"),
    "other key": ("MUTUAL", {"ssl_keyfile": "FILE:rogue.key"}, "is not the key of"),
    "password, PLAIN": ("PLAIN", {"sasl_plain_password": "wrong"}, "refuses the login by PLAIN"),
    "password, SCRAM": ("SCRAM", {"sasl_plain_password": "wrong"}, "refuses the login by SCRAM-SHA-256"),
    "user": ("SCRAM", {"sasl_plain_username": "nobody"}, "of the user 'nobody'"),
    "mechanism": ("SCRAM", {"sasl_mechanism": "PLAIN"}, "only by SCRAM-SHA-256"),
    "login where none is": ("PLAIN", {"bootstrap_servers": "PLAINTEXT"}, "asks for no login"),
    "tls login, plain client": ("SCRAM", {"security_protocol": "SASL_PLAINTEXT"}, "speaks TLS"),
    "no login": (
        "PLAIN",
        {"bootstrap_servers": "AS IT IS", "security_protocol": None, "sasl_mechanism": None},
        "hangs up unless one logs in",
    ),
    "token command": ("TOKEN", {"sasl_oauth_token_command": "false"}, "token_command ended with 1"),
    "token": ("TOKEN", {"sasl_oauth_token_command": printing("no.token.")}, "the token: kafka.security"),
    "token's url": (
        "TOKEN",
        {"sasl_oauth_token_url": "http://127.0.0.1:1/token", "sasl_oauth_client_id": "x"},
        "gives no token",
    ),
    "no mechanism": ("PLAIN", {"sasl_mechanism": None}, "needs a sasl_mechanism"),
    "unknown mechanism": ("PLAIN", {"sasl_mechanism": "SCRAM"}, "'SCRAM-SHA-256'"),
    "GSSAPI's library": ("PLAIN", {"sasl_mechanism": "GSSAPI"}, "pip install gssapi"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_connection_has_a_line_of_its_own(
    secure: SecureBroker, deployment: Deployment, fault: str
) -> None:
    """One line that says what is wrong and what to do, within 5 s; not a word of the client's."""
    listener, changed, said = FAULTS[fault]
    port = secure.ports[listener]
    places = {
        "REFUSED": f"localhost:{broker.free_port()}",
        "PLAINTEXT": secure.bootstrap,
        "AS IT IS": f"localhost:{port}",
        "BY ADDRESS": f"127.0.0.1:{port}",
    }
    values = {
        name: secure.certificates.path(str(value)[5:])
        if str(value).startswith("FILE:")
        else places.get(str(value), value)
        for name, value in changed.items()
    }
    code, lines, took = doctor(deployment, secure.login(listener, **values))
    assert code in (1, 2), lines
    assert said in lines[0]
    assert len(lines) == 1, lines
    assert took < SECONDS


def test_what_answers_is_no_broker_or_no_longer_good(deployment: Deployment, tmp_path: Path) -> None:
    """A web server, a port that never answers, a certificate that has expired, and a TLS that is too old."""
    made = Certificates(tmp_path)
    made.make("old", "ca", "subjectAltName=IP:127.0.0.1", "-days", "-1")
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    expired.load_cert_chain(made.path("old.pem"), made.path("old.key"))
    made.make("fresh", "ca", "subjectAltName=IP:127.0.0.1")
    ancient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ancient.load_cert_chain(made.path("fresh.pem"), made.path("fresh.key"))
    ancient.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        ancient.minimum_version = ssl.TLSVersion.TLSv1
        ancient.maximum_version = ssl.TLSVersion.TLSv1_1
    for answer, context, said in (
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None, "no Kafka broker"),
        (None, None, "no answer within 3 s"),
        (None, expired, "has expired"),
        (None, ancient, "no TLS 1.2 or newer"),
    ):
        with served(answer, context) as address:
            tls = {"security_protocol": "SSL", "ssl_cafile": made.path("ca.pem")} if context else {}
            settings = {f"kafka.security.{name}": value for name, value in tls.items()}
            code, lines, took = doctor(deployment, {**settings, "kafka.bootstrap_servers": address})
        assert (code, len(lines)) == (1, 1), lines
        assert said in lines[0]
        assert took < SECONDS


@pytest.mark.parametrize("listener", ["PLAIN", "SCRAM"])
def test_a_worker_logs_in_and_works(secure: SecureBroker, deployment: Deployment, listener: str) -> None:
    """All is well: the doctor finds nothing, and says what else this user may not do."""
    login = secure.login(listener)
    code, lines, took = doctor(deployment, login)
    assert (code, lines) == (0, [])
    assert took < SECONDS
    code, lines, _ = doctor(deployment, login, "--for=target publish")
    assert code == 1
    assert lines == [
        f"failure  rights: for `target publish` this user lacks Write on topic {deployment.settings.kafka.target_topic}"
    ]


def test_tokens_and_certificates_let_in(secure: SecureBroker, deployment: Deployment) -> None:
    """OAUTHBEARER by a command, and a client's certificate with an encrypted key; then only rights are missing."""
    for login in (
        secure.login("TOKEN", sasl_oauth_token_command=printing(token("stranger"))),
        secure.login("MUTUAL"),
    ):
        code, lines, took = doctor(deployment, login)
        assert code == 1
        assert "for `run` this user lacks Read on topic" in lines[0]
        assert took < SECONDS
    worker = secure.login("TOKEN", sasl_oauth_token_command=printing(token("worker")))
    assert doctor(deployment, worker)[:2] == (0, [])


def test_a_token_from_an_oidc_provider(secure: SecureBroker, deployment: Deployment) -> None:
    """OAUTHBEARER by client credentials: the provider's token lets in; a wrong secret is told by name."""

    class Provider(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            login = base64.b64decode(self.headers["Authorization"].split()[1]).decode()
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            good = login == f"client:{PASSWORD}" and form == "grant_type=client_credentials&scope=kafka"
            body = json.dumps({"access_token": token("worker"), "expires_in": 600}).encode()
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(body if good else b"{}")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {
            "sasl_oauth_token_url": f"http://127.0.0.1:{server.server_port}/token",
            "sasl_oauth_client_id": "client", "sasl_oauth_scope": "kafka",
        }  # fmt: skip
        good = secure.login("TOKEN", sasl_oauth_client_secret=PASSWORD, **settings)
        assert doctor(deployment, good)[:2] == (0, [])
        wrong = secure.login("TOKEN", sasl_oauth_client_secret="other", **settings)  # noqa: S106
        code, lines, _ = doctor(deployment, wrong)
        server.shutdown()
    assert code == 1
    assert "401" in lines[0]
    assert "sasl_oauth_client_secret" in lines[0]


def test_brokers_that_name_an_address_which_is_not_there(deployment: Deployment) -> None:
    """The address in the settings is well, the one that the brokers give (advertised.listeners) is not."""
    ports = broker.free_port(), broker.free_port()
    with broker.cluster(proxy=ports):
        code, lines, took = doctor(deployment, {"kafka.bootstrap_servers": f"127.0.0.1:{ports[0]}"})
        done = deployment.command(
            "topics", "check", "--set", f"kafka.bootstrap_servers=127.0.0.1:{ports[0]}", timeout=30
        )
    assert (code, len(lines)) == (1, 1), lines
    assert f"127.0.0.1:{ports[1]}: nobody listens" in lines[0]
    assert "advertised.listeners" in lines[0]
    assert took < SECONDS
    assert done.returncode == 75
    assert "advertised.listeners" in done.stderr


def test_each_right_that_is_missing_is_named_and_ends_a_worker(secure: SecureBroker, tmp_path: Path) -> None:
    """A worker that may do all but write what it accepts ends before it joins: exit code 77, one line; so with a password."""
    run = Deployment(secure.bootstrap, tmp_path, 1)
    run.publish_target(target_pairs(40))
    kafka = run.settings.kafka
    user, login = "worker", secure.login("PLAIN")
    for topic in (kafka.input_topic, kafka.target_topic):
        secure.allow(user, "TOPIC", topic, "READ", "DESCRIBE_CONFIGS")
    for topic in (kafka.model_topic, kafka.ledger_topic):
        secure.allow(user, "TOPIC", topic, "READ", "WRITE", "DESCRIBE_CONFIGS")
    for topic in (kafka.decisions_topic, kafka.dead_letter_topic):
        secure.allow(user, "TOPIC", topic, "WRITE", "DESCRIBE_CONFIGS")

    def worker(**more: Any) -> tuple[int, str]:
        options = [f"--set={name}={value}" for name, value in secure.login("PLAIN", **more).items()]
        done = run.command("run", *options, timeout=60)
        return done.returncode, done.stderr.strip()

    lacks = f"this user lacks Write on topic {kafka.accepted_topic}, Read on group {kafka.group_id}"
    assert worker() == (77, f"craft-stream: {lacks}")
    assert any(lacks in line for line in doctor(run, login)[1])
    code, said = worker(sasl_plain_password="wrong")  # noqa: S106
    assert code == 77
    assert len(said.splitlines()) == 1
    assert "refuses the login by PLAIN" in said
    secure.allow(user, "TOPIC", kafka.accepted_topic, "WRITE", "DESCRIBE_CONFIGS")
    secure.allow(user, "GROUP", kafka.group_id, "READ")
    code, said = worker()
    assert code == 77
    assert "Write and Describe on its transactional ids" in said.splitlines()[-1]
    assert any("transactional ids" in line for line in doctor(run, login)[1])
    secure.allow(user, "TRANSACTIONAL_ID", f"craft-{kafka.group_id}-", "WRITE", "DESCRIBE", prefix=True)
    assert doctor(run, login)[:2] == (0, [])


def test_topics_and_their_settings(secure: SecureBroker, tmp_path: Path) -> None:
    """What deletes records unread, by age or by size, a topic that is missing, and a clock that is behind."""
    run = Deployment(secure.bootstrap, tmp_path, 1)
    kafka = run.settings.kafka

    def alter(**values: str) -> None:
        from kafka.admin import ConfigResource, ConfigResourceType

        with connect(kafka) as admin:
            client = admin._client
            client.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, kafka.input_topic, configs=values)]
            )

    def said() -> str:
        return " ".join(doctor(run, {"kafka.bootstrap_servers": secure.bootstrap})[1])

    assert "is empty: `craft-stream target publish FILE`" in said()
    run.publish_target(target_pairs(40))
    assert not said()
    alter(**{"retention.bytes": "1000000"})
    assert "1.0 MB of each partition (retention.bytes)" in said()
    alter(**{"retention.ms": "3600000"})
    assert "keeps records for 1.0 h only" in said()
    sink = TopicSink(run.settings.kafka, kafka.input_topic)
    sink._producer.send(kafka.input_topic, b"{}", timestamp_ms=int(1000 * (time.time() + 1800)))
    sink.flush()
    sink.close()
    assert "s ahead of this machine's clock" in said()
    with connect(kafka) as admin:
        admin._client.delete_topics([kafka.accepted_topic])
    assert f"{kafka.accepted_topic} is missing" in said()


def test_the_worker_works_under_its_rights(secure: SecureBroker, deployment: Deployment) -> None:
    """With the rights that `doctor` asks for, over SCRAM and TLS, records are decided."""
    login = [f"--set={name}={value}" for name, value in secure.login("SCRAM").items()]
    deployment.feed(pairs(3_000))
    with deployment.worker(*login) as process:
        deployment.wait_done([process])
    assert deployment.accounted(3_000)[0] > 0
    assert Settings.load(deployment.path).kafka.group_id == deployment.name
    assert PASSWORD not in deployment.log()
