"""What can be proved and changed afterwards: audit, replay, versions of the model, ledgers, dead letters."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.dlq import MARK
from craft_stream.topics.models import ModelStore
from tests.integration.deployment import COMMAND, ROOT, Deployment, pairs, pinned_model, target_pairs

pytestmark = pytest.mark.integration


def test_changes_of_model_are_audited(bootstrap: str, tmp_path: Path) -> None:
    """The target is swapped, a version pinned and unpinned, under a live learner: the audit finds all as it must be."""
    overrides = {
        "learner.publish_pairs": 4096,
        "kafka.max_poll_records": 500,
        "decisions.rejected_sample": 0.2,
    }
    run = Deployment(bootstrap, tmp_path, 2, overrides)
    run.publish_target(target_pairs())
    run.feed(pairs(8_000))
    with run.worker() as worker:
        run.wait_done([worker])
        run.publish_target(
            [{**record, "id": f"other-{record['id']}"} for record in pairs(200, seed=8, share=0)]
        )
        deadline = time.monotonic() + 60
        while len(run.command("model", "ls", "--json").stdout.splitlines()) < 2:
            assert time.monotonic() < deadline, run.log()
            time.sleep(0.3)
        time.sleep(2.0)  # followed every second
        run.feed(pairs(6_000, seed=2), start=8_000)
        run.wait_done([worker])
        assert run.command("model", "rollback").returncode == 0
        time.sleep(2.5)
        run.feed(pairs(6_000, seed=3), start=14_000)
        run.wait_done([worker])
    shown = json.loads(run.command("ledger", "show", "0").stdout)
    versions = [change["version"] for change in shown["models"]]
    assert len(versions) >= 3
    assert versions != sorted(versions), "the roll-back is not in the ledger"
    assert all(change["offset"] % 1024 == 0 for change in shown["models"]), "changed within an epoch"
    audit = run.command("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert " 0 differ" in audit.stdout
    part = run.command("audit", "--from", "2000", "--to", "0:3000,1:2500")
    assert "recomputed 1500 decisions" in part.stdout
    assert run.command("ledger", "verify").returncode == 0
    other = run.command("replay", "--set", "budget.rate=0.1", "--diff")
    assert "-> accepted" in other.stdout, other.stdout + other.stderr
    assert "budget.rate: 0.05 -> 0.1" in other.stdout
    assert "new group" not in other.stdout + other.stderr


def test_an_audit_finds_what_is_forged(bootstrap: str, tmp_path: Path) -> None:
    """A decision that the log and the model do not give is found, and so is one that is missing."""
    run = Deployment(bootstrap, tmp_path)
    run.feed(pairs(4_000))
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
    assert run.command("audit", "--model", str(model)).returncode == 0
    output = KafkaTransport(run.settings.kafka).output("forger")
    victim = next(line for line in run.decisions().values() if line["outcome"] == "rejected")
    forged = {**victim, "outcome": "accepted", "reason": "accepted"}
    output.begin()
    output.send(
        run.settings.kafka.decisions_topic, 0, json.dumps(forged).encode(), victim["decision_id"].encode()
    )
    output.commit({}, None)
    output.close()
    audit = run.command("audit", "--model", str(model))
    assert audit.returncode == 1
    assert victim["decision_id"] in audit.stdout


def test_a_damaged_version_is_passed_over(bootstrap: str, tmp_path: Path) -> None:
    """A manifest that names the wrong chunks: the version is named and not used, the worker goes on with the one before."""
    run = Deployment(bootstrap, tmp_path)
    run.publish_target(target_pairs())
    run.feed(pairs(6_000))
    with run.worker() as worker:
        run.wait_done([worker])
    transport = KafkaTransport(run.settings.kafka)
    reader, output = transport.reader(), transport.output("forger")
    store = ModelStore(reader, run.settings.kafka.model_topic)
    store.refresh()
    newest = store.manifests[store.newest]
    # A copy of the newest manifest under the next number, which names chunks that are another version's.
    output.begin()
    value = json.dumps({**asdict(newest), "version": newest.version + 1}).encode()
    output.send(run.settings.kafka.model_topic, 0, value, f"version/{newest.version + 1}".encode())
    output.commit({}, None)
    output.close()
    reader.close()
    run.feed(pairs(3_000, seed=2), start=6_000)
    with run.worker(learner__mode="off", log="second") as worker:
        run.wait_done([worker])
    assert "passed over" in run.log("second")
    run.accounted(9_000)


def test_dead_letters_are_sent_again(bootstrap: str, tmp_path: Path) -> None:
    """What was refused comes back as it was, key and headers too, and is decided or refused anew."""
    run = Deployment(bootstrap, tmp_path, overrides={"errors.dead_letter_limit": 1.0})
    run.feed([b"junk", *[json.dumps(record).encode() for record in pairs(200)]])
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
        assert "1 would be sent again" in run.command("dlq", "replay").stdout
        assert "sent 1 again" in run.command("dlq", "replay", "--yes").stdout
        run.wait_committed(202)  # the transaction's mark, which ends the log, is no record
    written = run.read(run.settings.kafka.dead_letter_topic)
    dead = [message for message in written if message.key != MARK]
    assert len(written) == 3
    assert [message.value for message in dead] == [b"junk", b"junk"]
    assert [message.key for message in dead] == [b"k0", b"k0"]
    assert dict(dead[1].headers)["origin"] == b"test"
    assert "not_json" in run.command("dlq", "ls").stdout


def test_a_learner_of_its_own(bootstrap: str, tmp_path: Path) -> None:
    """`learner.mode = "separate"`: the worker waits for the first version, then decides without learning."""
    run = Deployment(bootstrap, tmp_path, overrides={"learner.mode": "separate"})
    run.publish_target(target_pairs())
    run.feed(pairs(6_000))
    with run.worker() as worker:
        with (tmp_path / "learner.log").open("wb") as log:
            learner = subprocess.Popen(
                [*COMMAND, "learn", "--config", str(run.path)],
                cwd=ROOT,
                env=run.environment(),
                stdout=log,
                stderr=log,
            )
        try:
            run.wait_done([worker, learner])
            learner.send_signal(signal.SIGTERM)
            assert learner.wait(30) == 0, (tmp_path / "learner.log").read_text()
        finally:
            if learner.poll() is None:
                learner.kill()
                learner.wait()
    run.accounted(6_000)


def test_targets_are_published_and_withdrawn(bootstrap: str, tmp_path: Path) -> None:
    """From a file to the topic and back out; a broken line is named and fails the command."""
    run = Deployment(bootstrap, tmp_path)
    path = tmp_path / "target.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in target_pairs(10)))
    assert "published 10" in run.command("target", "publish", str(path)).stdout
    assert "withdrew 10" in run.command("target", "publish", str(path), "--withdraw").stdout
    values = [message.value for message in run.read(run.settings.kafka.target_topic)]
    assert len(values) == 20
    assert values[10:] == [None] * 10
    texts = tmp_path / "domain.txt"
    texts.write_text("a house\n\ntwo houses\n")
    assert "published 2 texts" in run.command("target", "publish", str(texts), "--side", "target").stdout
    found = [json.loads(message.value or b"") for message in run.read(run.settings.kafka.target_topic)[20:]]
    assert sorted((record["tgt"], len(record)) for record in found) == [("a house", 2), ("two houses", 2)]
    assert "withdrew 2 texts of the target side" in run.command("target", "clear").stdout
    assert "withdrew nothing" in run.command("target", "clear").stdout
    path.write_text("broken\n")
    failed = run.command("target", "publish", str(path))
    assert failed.returncode == 1
    assert "not JSON" in failed.stderr


def test_the_doctor_says_what_is_wrong(bootstrap: str, tmp_path: Path) -> None:
    """All well, a topic missing, and no broker."""
    run = Deployment(bootstrap, tmp_path)
    empty = run.command("doctor")
    assert empty.returncode == 1
    assert "is empty: `craft-stream target publish FILE`" in empty.stdout
    run.publish_target(target_pairs(40))
    well = run.command("doctor")
    assert well.returncode == 0, well.stdout
    missing = run.command("doctor", "--set", "kafka.ledger_topic=nowhere")
    assert missing.returncode == 1
    assert "nowhere is missing" in missing.stdout
