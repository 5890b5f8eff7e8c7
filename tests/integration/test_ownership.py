"""On a real broker a second group on the topics of another is refused by name, and theirs stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from craft_stream.cli import app
from craft_stream.settings import Settings
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = pytest.mark.integration


def test_a_second_group_is_refused_by_every_command_that_writes(bootstrap: str, tmp_path: Path) -> None:
    """One line, exit code 2, no record more on any topic; `doctor` says it, too, and the first group's audit stays clean."""
    run = Deployment(bootstrap, tmp_path, 2)
    kafka = run.settings.kafka
    run.publish_target(target_pairs(100))
    run.feed(pairs(3_000))
    with run.worker() as process:
        run.wait_done([process])
    topics = (kafka.model_topic, kafka.ledger_topic, kafka.decisions_topic, kafka.target_topic)
    before = [len(run.read(topic)) for topic in topics]
    target = tmp_path / "target.txt"
    target.write_text('{"id": "new", "src": "a", "tgt": "b"}\n')
    other = ["--set", "kafka.group_id=second"]
    refused = f"{kafka.ledger_topic} holds the ledger of group {run.name}, and none of second"
    for arguments in (
        ["run", *other],
        ["learn", *other, "--set", "learner.mode=separate"],
    ):
        done = run.command(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        said = done.stderr.splitlines()[-1]
        assert said.startswith(f"craft-stream: {refused}"), said
    for arguments in (
        ["settings", "apply", *other],
        ["settings", "rollback", *other],
        ["target", "publish", str(target), *other],
        ["target", "clear", *other],
    ):  # in this process, as a start takes 2 s of CPU
        result = CliRunner().invoke(app, [*arguments, "--config", str(run.path)])
        assert str(result.exception).startswith(refused), (arguments, result.output)
    # With a ledger and decisions of its own it would still put its name, and what it learns, on the model topic.
    own = [f"--set=kafka.{name}_topic={run.name}.{name}.second" for name in ("ledger", "decisions")]
    result = CliRunner().invoke(app, ["settings", "apply", *other, *own, "--config", str(run.path)])
    versions = f"versions on {kafka.model_topic} are those of group {run.name}"
    assert str(result.exception).startswith(versions), result.output
    assert [len(run.read(topic)) for topic in topics] == before
    doctor = run.command("doctor", *other)
    assert doctor.returncode == 1
    assert "failure  owner: " in doctor.stdout
    assert run.command("audit").returncode == 0

    # Given up for good, its topics are taken over: what is decided from then on can be audited.
    run.settings = Settings.load(run.path, ["kafka.group_id=second"])
    with run.worker("--rebuild", *other) as process:
        run.wait_done([process])
    run.feed(pairs(1_000, seed=4), start=3_000)
    with run.worker(*other) as process:
        run.wait_done([process])
    assert run.command("audit", *other).returncode == 0
