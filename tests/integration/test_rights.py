"""With the rights that `doctor --for COMMAND` asks for, and no other, each command works; on a broker with an authorizer."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime

import pytest
from click.testing import Result
from typer.testing import CliRunner

pytest.importorskip("fastwarc")

from connectors.kafka.admin import COMPACTED, TopicPlan, connect
from connectors.kafka.rights import GROUP, NEEDS, PROGRESS
from craft_stream.cli import app
from craft_stream.demo.fetch import warc_record
from craft_stream.demo.site import Site
from craft_stream.errors import AccessError
from tests.integration.deployment import COMMAND, Deployment, pairs, target_pairs
from tests.secure import SecureBroker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# By the name in `NEEDS` what is typed; `run` is in tests/integration/test_doctor.py.
COMMANDS = {
    "learn": [["learn"]],
    "publish": [["publish", "FILE"]],
    "crawl": [["crawl", "--langs", "en,fr", "--warc", "WARC", "--topic", "INPUT", "--store", "STORE"]],
    "export": [["export", "--output", "OUTPUT"]],
    "target publish": [["target", "publish", "FILE"], ["target", "publish", "FILE", "--withdraw"]],
    "audit": [
        ["audit"],
        ["replay", "--set", "budget.rate=0.02"],
        ["explain", "--offset", "INPUT/0/1000"],
        ["ledger", "ls"],
        ["ledger", "show", "0"],
        ["ledger", "verify"],
        ["report", "--group", "--output", "REPORT"],
    ],
    "dlq replay": [["dlq", "ls"], ["dlq", "replay", "--yes"]],
}


@pytest.fixture(scope="module")
def decided(secure: SecureBroker, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """What a worker that may do anything has decided, a dead letter among it."""
    run = Deployment(secure.bootstrap, tmp_path_factory.mktemp("rights"), 1)
    run.publish_target(target_pairs())
    run.feed([*pairs(3_000), b"no pair"])
    with run.worker() as process:
        run.wait_done([process])
    (run.folder / "file.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs(50, seed=9)))
    site, date = Site(10), datetime(2026, 1, 1, tzinfo=UTC)
    with (run.folder / "pages.warc.gz").open("wb") as file:
        for path in (f"/{code}/plant-{n}.html" for n in range(10) for code in ("en", "fr")):
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + (site.page(path) or "").encode()
            file.write(warc_record(f"http://site{path}", answer, date))
    # As an administrator makes it, so that nobody needs the right to create topics.
    with connect(run.settings.kafka) as admin:
        admin.create([TopicPlan("", f"{run.settings.kafka.input_topic}.progress", 1, COMPACTED, {})], 1)
    return run


def typed(run: Deployment, secure: SecureBroker, user: str, command: list[str]) -> Result:
    """What comes of a command that a user types."""
    places = {
        "FILE": "file.jsonl", "WARC": "pages.warc.gz", "STORE": "store.sqlite", "OUTPUT": "shards", "REPORT": "report.html",
    }  # fmt: skip
    words = [
        str(run.folder / places[word])
        if word in places
        else word.replace("INPUT", run.settings.kafka.input_topic)
        for word in command
    ]
    login = secure.login("PLAIN", sasl_plain_username=user)
    return CliRunner().invoke(
        app, [*words, "--config", str(run.path), *(f"--set={name}={value}" for name, value in login.items())]
    )


def allow(run: Deployment, secure: SecureBroker, user: str, command: str) -> None:
    """What `NEEDS` names."""
    kafka = run.settings.kafka
    for role, operations in NEEDS[command].items():
        if role == GROUP:
            secure.allow(user, "GROUP", kafka.group_id, *operations)
        else:
            name = f"{kafka.input_topic}.progress" if role == PROGRESS else getattr(kafka, role)
            secure.allow(user, "TOPIC", name, *operations)
    secure.allow(user, "TRANSACTIONAL_ID", "craft-", "WRITE", "DESCRIBE", prefix=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_doctor_asks_for_is_enough(decided: Deployment, secure: SecureBroker, name: str) -> None:
    """Without rights `doctor` names all, and takes no topic for missing that it may not see; with them each command works.

    Then `doctor` finds no fault, whatever else this user may not do.
    """
    user = name.replace(" ", "-")
    before = typed(decided, secure, user, ["doctor", "--for", name])
    lacking = next(line for line in before.output.splitlines() if line.startswith("failure  rights"))
    assert lacking.count(" on topic ") + lacking.count(" on group ") == sum(map(len, NEEDS[name].values()))
    assert "is missing: " not in before.output
    assert before.exit_code != 0

    allow(decided, secure, user, name)
    for command in COMMANDS[name]:
        if name == "learn":
            learn(decided, secure)
            continue
        result = typed(decided, secure, user, command)
        assert result.exit_code == 0, (command, result.exception, result.output)
    after = typed(decided, secure, user, ["doctor", "--for", name])
    assert after.exit_code == 0, after.output


def learn(run: Deployment, secure: SecureBroker) -> None:
    """A learner of its own publishes a version."""
    login = secure.login("PLAIN", sasl_plain_username="learn") | {"learner.mode": "separate"}
    words = ["learn", "--config", str(run.path), *(f"--set={name}={value}" for name, value in login.items())]
    log = run.folder / "learn.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*COMMAND, *words], stdout=file, stderr=file, env=run.environment())
    deadline = time.monotonic() + 60
    try:
        while "published model" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_one_right_less_is_named(decided: Deployment, secure: SecureBroker) -> None:
    """Who may read all topics and knows nothing of the group is told by `audit` and by `doctor` what is missing."""
    for topic in (topic for topic in NEEDS["audit"] if topic != GROUP):
        secure.allow("other", "TOPIC", getattr(decided.settings.kafka, topic), "READ")
    result = typed(decided, secure, "other", ["audit"])
    assert isinstance(result.exception, AccessError)
    group = f"group {decided.settings.kafka.group_id}"
    assert f"a right on {group}" in str(result.exception)
    said = typed(decided, secure, "other", ["doctor", "--for", "audit"]).output
    assert f"for `audit` this user lacks Describe on {group}\n" in said
