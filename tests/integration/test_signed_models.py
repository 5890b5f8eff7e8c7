"""Signed versions on a broker: what somebody else publishes decides nothing, is named and counted; audits stay exact."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.tell import counted
from craft_stream.topics import model_writer
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = pytest.mark.integration
KEY = "a key of the group, long enough"


def passed_over(run: Deployment, log: str) -> float:
    """What the worker's metric says."""
    found = re.search(r"http://127.0.0.1:\d+", run.log(log))
    assert found
    with urllib.request.urlopen(f"{found.group()}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    (value,) = re.findall(r"^craft_passed_over_models (\S+)", text, re.MULTILINE)
    return float(value)


def test_only_what_the_learner_signed_decides(bootstrap: str, tmp_path: Path) -> None:
    """A group comes to sign; a version and a pin without signature are passed over; the key is in no output."""
    run = Deployment(bootstrap, tmp_path)
    topic = run.settings.kafka.model_topic
    run.publish_target(target_pairs())
    run.feed(pairs(6_000))
    with run.worker(log="unsigned") as worker:
        run.wait_done([worker])
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    run.path.write_text(run.path.read_text() + f'models.key_file = "{key}"\n')
    listed = run.command("model", "ls").stdout
    assert "passed over: it is not signed" in listed
    versions = re.findall(r"^ *(\d+)  passed over", listed, re.MULTILINE)
    assert run.command("settings", "show").returncode != 0, "unsigned settings were shown"
    signed = run.command("model", "sign")
    assert signed.returncode == 0, signed.stderr
    assert f"signed {counted(len(versions), 'versions')} of the model, 1 of the settings" in signed.stdout
    assert run.command("settings", "show").returncode == 0
    listed_now = run.command("model", "ls")
    assert "passed over" not in listed_now.stdout + listed_now.stderr
    transport = KafkaTransport(run.settings.kafka)
    with run.worker(log="signed") as worker:
        run.feed(pairs(3_000, seed=2), start=6_000)
        run.wait_done([worker])
        reader, output = transport.reader(), transport.output("forger")
        store = ModelStore(reader, topic, Signatures(topic, KEY.encode()))
        store.refresh()
        newest = store.manifests[store.newest]
        model_writer.publish(output, topic, replace(store.load(newest.version), version=newest.version + 50))
        output.begin()
        value = json.dumps({**asdict(newest), "version": newest.version + 51}).encode()
        output.send(topic, 0, value, f"version/{newest.version + 51}".encode())
        output.commit({}, None)
        model_writer.pin(output, topic, int(versions[0]))
        output.close()
        reader.close()
        deadline = time.monotonic() + 20
        while passed_over(run, "signed") < 2:
            assert time.monotonic() < deadline, run.log("signed")
            time.sleep(0.2)
        run.feed(pairs(3_000, seed=3), start=9_000)
        run.wait_done([worker])
    told = run.log("signed")
    assert f"model {newest.version + 50} is passed over: it is not signed" in told
    assert f"model {newest.version + 51} is passed over: its signature" in told
    assert "the pin is passed over" in told
    used = [change["version"] for change in json.loads(run.command("ledger", "show", "0").stdout)["models"]]
    assert not {newest.version + 50, newest.version + 51} & set(used)
    audit = run.command("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert KEY not in told + audit.stdout + run.command("config", "show").stdout
