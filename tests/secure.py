"""A broker with a listener for each way to log in, an authorizer, and certificates made by openssl."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from tests import broker

PASSWORD = "secret"  # noqa: S105
USERS = (
    "worker", "admin", "learn", "publish", "crawl", "export", "target-publish", "audit", "dlq-replay", "other",
)  # fmt: skip
LISTENERS = {  # name: protocol; each on a port of its own
    "PLAIN": "SASL_PLAINTEXT",
    "SCRAM": "SASL_SSL",
    "TOKEN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
}


class Certificates:
    """An authority, a broker's certificate for localhost, a client's with an encrypted key, and a rogue's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for authority in ("ca", "rogue-ca"):
            self._openssl(
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key", "-out",
                f"{authority}.pem", "-days", "30", "-subj", f"/CN={authority}",
            )  # fmt: skip
        self.make("broker", "ca", "subjectAltName=DNS:localhost")
        self.make("worker", "ca")
        self.make("rogue", "rogue-ca")
        (folder / "broker.all").write_text(self.text("broker.key") + self.text("broker.pem"))
        self._openssl(
            "pkcs8", "-topk8", "-in", "worker.key", "-out", "worker.enc", "-passout", f"pass:{PASSWORD}"
        )

    def make(self, name: str, authority: str, extension: str = "", *more: str) -> None:
        """NAME.key and NAME.pem, signed by an authority."""
        self._openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        (self.folder / f"{name}.ext").write_text(extension or "basicConstraints=CA:FALSE")
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-extfile", f"{name}.ext", *(more or ("-days", "30")),
        )  # fmt: skip

    def text(self, name: str) -> str:
        """A file's content."""
        return (self.folder / name).read_text()

    def path(self, name: str) -> str:
        """A file's place."""
        return str(self.folder / name)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


class SecureBroker(broker.Cluster):
    """One broker; its first listener's clients may do anything."""

    FORMAT = tuple(
        word for user in USERS for word in ("--add-scram", f"SCRAM-SHA-256=[name={user},password={PASSWORD}]")
    )

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.certificates = Certificates(folder)
        self.ports = {name: broker.free_port() for name in LISTENERS}
        super().__init__(folder)

    def _configure(self, index: int, identity: str) -> None:
        super()._configure(index, identity)
        path = self._folder / f"{index}" / "server.properties"
        plain = dict(line.split("=", 1) for line in path.read_text().splitlines())
        module = "org.apache.kafka.common.security"
        logins = " ".join(f'user_{name}="{PASSWORD}"' for name in USERS)
        added = "".join(f",{name}://localhost:{port}" for name, port in self.ports.items())
        certificates = self.certificates
        properties = {
            "listeners": plain["listeners"] + added,
            "advertised.listeners": plain["advertised.listeners"] + added,
            "listener.security.protocol.map": plain["listener.security.protocol.map"]
            + "".join(f",{name}:{protocol}" for name, protocol in LISTENERS.items()),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.plain.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {logins};",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": (
                f'{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": certificates.path("broker.all"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": certificates.path("ca.pem"),
            "listener.name.mutual.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:admin",
        }
        with path.open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in properties.items())

    def allow(self, user: str, kind: str, name: str, *operations: str, prefix: bool = False) -> None:
        """Give a user rights."""
        pattern = ResourcePattern(
            ResourceType[kind],
            name,
            ACLResourcePatternType["PREFIXED" if prefix else "LITERAL"],
        )
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            answer = admin.create_acls(
                [
                    ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, pattern)
                    for operation in operations
                ]
            )
            assert len(answer["succeeded"]) == len(operations), answer

    def login(self, listener: str, **more: Any) -> dict[str, Any]:
        """Settings of `kafka`, by their names, with which a client uses a listener as `worker`."""
        security: dict[str, Any] = {"security_protocol": LISTENERS[listener]}
        if "SASL" in LISTENERS[listener]:
            security["sasl_mechanism"] = {"SCRAM": "SCRAM-SHA-256", "TOKEN": "OAUTHBEARER"}.get(
                listener, "PLAIN"
            )
            if listener != "TOKEN":
                security |= {"sasl_plain_username": "worker", "sasl_plain_password": PASSWORD}
        if "SSL" in LISTENERS[listener]:
            security["ssl_cafile"] = self.certificates.path("ca.pem")
        if listener == "MUTUAL":
            security |= {
                "ssl_certfile": self.certificates.path("worker.pem"),
                "ssl_keyfile": self.certificates.path("worker.enc"),
                "ssl_password": PASSWORD,
            }
        server = more.pop("bootstrap_servers", f"localhost:{self.ports[listener]}")
        security = {name: value for name, value in {**security, **more}.items() if value is not None}
        return {
            "kafka.bootstrap_servers": server,
            **{f"kafka.security.{name}": value for name, value in security.items()},
        }


@contextlib.contextmanager
def secure_broker() -> Iterator[SecureBroker]:
    """A running one, ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="craft-kafka-") as folder:
        running = SecureBroker(Path(folder))
        try:
            running.start(0)
            running.wait()
            yield running
        finally:
            running.stop()
