"""The users of deploy/strimzi/user.yaml on a broker that enforces what they may do: enough for each, and not more.

Their access lists are given to a real broker with Kafka's own authorizer and a login (PLAIN in place of SCRAM, which is no
matter of permissions); its log says which of them each user needed.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from connectors.kafka.admin import COMPACTED, TopicPlan, connect
from tests import broker
from tests.integration.deployment import COMMAND, ROOT, Deployment, pairs, target_pairs

USERS = ROOT / "deploy" / "strimzi" / "user.yaml"
# What Strimzi calls them, and what Kafka's authorizer calls them.
KINDS = {"topic": "Topic", "group": "Group", "transactionalId": "TransactionalId"}
ALLOWED = re.compile(
    r"Principal = User:(\S+) is Allowed operation = (\w+) .* on resource = (\w+):LITERAL:(\S+) for request = (\w+)"
)


def users() -> dict[str, list[dict[str, Any]]]:
    """Access lists by user."""
    documents = yaml.safe_load_all(USERS.read_text())
    return {d["metadata"]["name"]: d["spec"]["authorization"]["acls"] for d in documents}


def _constant(name: str) -> str:
    """`DescribeConfigs` as DESCRIBE_CONFIGS."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


class Guarded(broker.Cluster):
    """A broker with a second listener that asks for a login; the first one's clients, and the broker, may do anything."""

    def _configure(self, index: int, identity: str) -> None:
        self.login = broker.free_port()
        super()._configure(index, identity)
        path = self._folder / f"{index}" / "server.properties"
        plain = dict(line.split("=", 1) for line in path.read_text().splitlines())
        logins = " ".join(f'user_{name}="secret"' for name in users())
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        properties = {
            "listeners": f"{plain['listeners']},LOGIN://127.0.0.1:{self.login}",
            "advertised.listeners": f"{plain['advertised.listeners']},LOGIN://127.0.0.1:{self.login}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},LOGIN:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": f"{module} required {logins};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        with path.open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in properties.items())

    def _command(self, index: int) -> list[str]:
        java, *rest = super()._command(index)
        return [java, "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=trace", *rest]

    def used(self) -> dict[str, set[tuple[str, str, str]]]:
        """What each user was allowed: operation, kind of resource, its name; from the authorizer's log."""
        found: dict[str, set[tuple[str, str, str]]] = {}
        log = (self._folder / "0" / "log").read_text(errors="replace")
        for user, operation, kind, name, _ in ALLOWED.findall(log):
            if user != "ANONYMOUS":
                found.setdefault(user, set()).add((operation, kind, name))
        return found


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """A broker with the access lists of the file."""
    with tempfile.TemporaryDirectory(prefix="craft-kafka-") as folder:
        running = Guarded(Path(folder))
        try:
            running.start(0)
            running.wait()
            admin = KafkaAdminClient(bootstrap_servers=running.bootstrap)
            lists = [
                ACL(
                    principal=f"User:{user}",
                    host="*",
                    operation=ACLOperation[_constant(operation)],
                    permission_type=ACLPermissionType.ALLOW,
                    resource_pattern=ResourcePattern(
                        ResourceType[_constant(entry["resource"]["type"])],
                        entry["resource"]["name"],
                        ACLResourcePatternType[
                            "PREFIXED" if "patternType" in entry["resource"] else "LITERAL"
                        ],
                    ),
                )
                for user, entries in users().items()
                for entry in entries
                for operation in entry["operations"]
            ]
            answer = admin.create_acls(lists)
            assert len(answer["succeeded"]) == len(lists), answer
            admin.close()
            yield running
        finally:
            running.stop()


def login(guarded: Guarded, user: str) -> dict[str, Any]:
    """Settings, as environment variables, with which a process is that user."""
    return {
        "kafka__bootstrap_servers": f"127.0.0.1:{guarded.login}",
        "kafka__security__security_protocol": "SASL_PLAINTEXT",
        "kafka__security__sasl_mechanism": "PLAIN",
        "kafka__security__sasl_plain_username": user,
        "kafka__security__sasl_plain_password": "secret",
    }


def test_each_user_may_do_its_work_and_no_more(guarded: Guarded, tmp_path: Path) -> None:
    """Target, crawl and worker run as their users; every right that is given was needed."""
    names = {
        "input": "crawl.pairs", "target": "craft.target", "accepted": "craft.accepted", "decisions": "craft.decisions",
        "dead_letter": "craft.dead-letters", "model": "craft.model", "ledger": "craft.ledger",
    }  # fmt: skip
    overrides: dict[str, Any] = {f"kafka.{role}_topic": name for role, name in names.items()}
    run = Deployment(guarded.bootstrap, tmp_path, 2, {**overrides, "kafka.group_id": "craft"})
    file = tmp_path / "target.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in target_pairs()))

    def command(user: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
            env=run.environment(**login(guarded, user)),
        )
        return done.returncode, done.stdout + done.stderr

    config = f"--config={run.path}"
    publish = ("target", "publish", str(file), config)
    # Only a topic that holds something is read: again, and once more after all was withdrawn.
    for arguments in (publish, publish, ("target", "clear", config), publish):
        code, said = command("craft-target", *arguments)
        assert code == 0, (arguments, said)
    code, said = command("craft-target", *publish, "--set", "kafka.target_topic=craft.accepted")
    assert code != 0, said
    assert not run.read("craft.accepted")

    progress = TopicPlan("progress", "crawl.pairs.progress", 1, COMPACTED, {})
    with connect(run.settings.kafka) as admin:
        admin.create([progress], 1)
    warc = tmp_path / "warc"
    assert command("craft-crawl", "simulate", str(warc), "--pages=20", "--rate=0")[0] == 0
    crawl = ("crawl", f"--warc={warc}", "--langs=en,fr", f"--store={tmp_path / 'store'}", config)
    code, said = command("craft-crawl", *crawl, "--topic=crawl.pairs")
    assert code == 0, said
    assert sum(len(m.value or b"") > 0 for m in run.read("crawl.pairs")) > 100

    run.feed([*pairs(3_000), b"{not json"])
    with run.worker(**login(guarded, "craft-stream")) as process:
        run.wait_done([process], gaps=True)
    assert run.read("craft.accepted")
    assert len(run.read("craft.dead-letters")) == 1
    for check in (("topics", "check"), ("doctor",)):
        code, said = command("craft-stream", *check, config)
        assert code == 0, said
    code, said = command("craft-stream", *publish)  # a worker may not change what it selects for
    assert code != 0, said

    used = guarded.used()
    for user, entries in users().items():
        needed = set()
        for operation, kind, name in used[user]:
            prefixes = [e["resource"]["name"] for e in entries if "patternType" in e["resource"]]
            needed.add((operation, kind, next((start for start in prefixes if name.startswith(start)), name)))
        granted = {
            (_constant(operation), KINDS[entry["resource"]["type"]], entry["resource"]["name"])
            for entry in entries
            for operation in entry["operations"]
        }
        assert needed == granted, user
