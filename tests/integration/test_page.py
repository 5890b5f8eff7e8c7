"""The page of a real worker, and the reports of its group: they show what the topics hold."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from craft_stream.cli import app
from tests.integration.deployment import Deployment, pairs, target_pairs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def ask(port: int, **query: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    connection.request("GET", f"/?{urllib.parse.urlencode(query)}")
    html = connection.getresponse().read().decode()
    connection.close()
    return html


def report(run: Deployment, source: str, path: Path) -> tuple[str, str]:
    """What `craft-stream report` says and writes."""
    done = CliRunner().invoke(app, ["report", source, "--output", str(path), "--config", str(run.path)])
    assert done.exit_code == 0, (done.exception, done.output)
    return done.output, path.read_text("utf-8")


def test_a_running_group_is_seen(bootstrap: str, tmp_path: Path) -> None:
    """The page answers on pairs and records while the worker runs; a snapshot and the decisions topic give the same figures."""
    run = Deployment(bootstrap, tmp_path, partitions=2, overrides={"decisions.rejected_sample": 0.5})
    run.feed([*pairs(6_000), b"{no json"])
    run.publish_target(target_pairs())
    with run.worker() as process:
        run.wait_done([process])
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", run.log())[-1])
        decisions = run.decisions()
        place, decision = next(item for item in decisions.items() if item[1]["outcome"] == "accepted")
        html = ask(port, offset=place)
        assert f"<bdi>{place}</bdi> was" in html
        assert ">accepted</b>" in html.partition("</bdi> was")[2]
        assert f"<bdi>{place}</bdi> was" in ask(port, id=decision["id"])
        assert "no record of" in ask(port, id="nobody")
        refused = ask(port, offset=f"{run.settings.kafka.input_topic}/0/3000")
        assert "holds no pair" in refused
        assert "On partition 0 it would be" in ask(port, source="A sentence.", target="Another one.")
        said, page = report(run, "--group", tmp_path / "group.html")
    assert "6,001 records" in said
    accepted = sum(decision["outcome"] == "accepted" for decision in decisions.values())
    assert f"<dd>{accepted:,}</dd>" in page
    assert "not_json" in page
    said, page = report(run, "--topic", tmp_path / "topic.html")
    assert f"{len(decisions):,} records" in said
    assert f"<dd>{accepted:,}</dd>" in page
    assert "a sample of 0.5" in page
    counts = Counter(decision["reason"] for decision in decisions.values())
    for reason, count in counts.items():
        assert re.search(rf">{reason}<small>.*?{count:,}</td>", page, re.DOTALL)
