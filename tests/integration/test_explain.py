"""`craft-stream explain --id` and `--offset`: why a group decided so, also where nothing was written."""

from __future__ import annotations

import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli import app
from craft_stream.cli.engine import load_selector
from craft_stream.recomputation import Recomputation, look
from craft_stream.selection.decisions import Reason
from craft_stream.topics.models import ModelStore
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def explain(run: Deployment, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", *arguments, "--config", str(run.path)])
    return getattr(done.exception, "exit_code", done.exit_code), done.output or str(done.exception)


def recomputed(run: Deployment) -> dict[int, tuple[str, float]]:
    """Reason and score of every decision, from the log."""
    transport = KafkaTransport(run.settings.kafka)
    with closing(transport.reader()) as reader, closing(transport.reader()) as evidence:
        store = ModelStore(evidence, run.settings.kafka.model_topic)
        store.refresh()
        stretch = look(evidence, run.settings, 0)
        work = Recomputation(reader, run.settings, load_selector(run.settings, store), store, stretch)
        work.begin(0)
        return {
            position: (Reason(reason).label, score)
            for _, decisions in work.run(stretch.committed)
            for position, reason, score in zip(
                decisions.positions.tolist(), decisions.reason.tolist(), decisions.score.tolist(), strict=True
            )
        }


def test_every_decision_is_explained_as_it_was_made(bootstrap: str, tmp_path: Path) -> None:
    """Of a run with a live learner that writes a tenth of the rejected, 30 records: reason and score are those of the audit."""
    run = Deployment(bootstrap, tmp_path, overrides={"decisions.rejected_sample": 0.1})
    records = pairs(9_000)
    run.feed([*records[:4_000], b"{no json", *records[4_000:]])
    run.publish_target(target_pairs())
    with run.worker() as process:
        run.wait_done([process])
    truth = recomputed(run)
    written = {int(key.rsplit("/", 1)[1]) for key in run.decisions()}
    topic, chance = run.settings.kafka.input_topic, random.Random(4)
    accepted = [offset for offset, (reason, _) in truth.items() if reason == "accepted"]
    silent = [offset for offset in truth if offset not in written]
    assert len(silent) > 5_000
    for offset in [
        *chance.sample(accepted, 5),
        *chance.sample(silent, 20),
        *chance.sample(sorted(written), 5),
    ]:
        code, said = explain(run, "--offset", f"{topic}/0/{offset}", "--json")
        assert code == 0, said
        found: dict[str, Any] = json.loads(said)
        assert (found["parts"]["reason"], found["differs"]) == (truth[offset][0], []), found
        assert (found["written"] is None) == (offset not in written)
        if truth[offset][0] == "accepted":
            assert found["parts"]["score"] == pytest.approx(truth[offset][1], abs=1e-4)
    offset = silent[-1]
    code, said = explain(run, "--offset", f"{topic}/0/{offset}")
    assert code == 0
    assert f"was rejected as {truth[offset][0]}" in " ".join(said.split())
    assert "No decision is written, as 10% of the rejected are" in " ".join(said.split())
    assert "Version" in said
    record = records[offset] if offset < 4_000 else records[offset - 1]
    code, said = explain(run, "--id", record["id"], "--json")
    assert json.loads(said)["place"] == f"{topic}/0/{offset}"
    code, said = explain(run, "--offset", f"{topic}/0/4000")
    assert code == 0
    assert "holds no pair: not_json" in " ".join(said.split())
    for arguments, expected, words in (
        (("--offset", f"{topic}/0/99999"), 1, "holds offsets 0 to"),
        (("--offset", f"{topic}/7/1"), 2, "has no partition 7"),
        (("--offset", "elsewhere/0/1"), 2, "is no place of a record"),
        (("--id", "nobody"), 1, "no record of"),
        ((), 2, "give SOURCE, TARGET and --model"),
    ):
        code, said = explain(run, *arguments)
        assert code == expected, said
        assert words in said
    done = run.command(
        "replay", "--set", "budget.rate=0.1", "--from", "8000", "--output", str(tmp_path / "other")
    )
    assert done.returncode == 0, done.stderr
    assert "compared from 8000" in done.stdout
    places = [json.loads(line)["decision_id"] for line in (tmp_path / "other").read_text().splitlines()]
    assert places == [f"{topic}/0/{offset}" for offset in range(8_000, 9_001)]
    run.feed(pairs(1, seed=8))
    code, said = explain(run, "--offset", f"{topic}/0/9001")
    assert code == 1
    assert "is not decided yet" in said
