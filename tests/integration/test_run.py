"""`craft-stream run` on a real broker."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from connectors.kafka.transport import KafkaTransport
from tests.integration.deployment import Deployment, pairs, pinned_model, target_pairs

pytestmark = pytest.mark.integration


def test_every_record_is_decided_and_the_worker_stops_cleanly(bootstrap: str, tmp_path: Path) -> None:
    """The main job with a live learner: priming, decisions, outputs in one transaction, metrics, SIGTERM."""
    run = Deployment(bootstrap, tmp_path, partitions=2)
    records = pairs(12_000)
    run.feed(records)
    run.publish_target(target_pairs())
    with run.worker() as worker:
        run.wait_done([worker])
        found = re.search(r"http://127.0.0.1:\d+", run.log())
        assert found
        with urllib.request.urlopen(f"{found.group()}/metrics", timeout=10) as answer:  # noqa: S310
            metrics = answer.read().decode()
        assert (
            sum(float(x) for x in re.findall(r"^craft_records_consumed_total.* (\S+)$", metrics, re.M))
            == 12_000
        )
    accepted, dead = run.accounted(12_000)
    assert dead == 0
    assert 0.5 * 0.05 * 12_000 <= accepted <= 0.05 * 12_000 + 2 * 50
    ledgers = run.ledger()
    assert sum(ledger["seen"] for ledger in ledgers) == 12_000
    assert all(ledger["problem"] is None for ledger in ledgers)
    originals = {json.dumps(record).encode() for record in records}
    for message in run.read(run.settings.kafka.accepted_topic):
        assert message.value in originals
        headers = dict(message.headers)
        assert headers["origin"] == b"test"
        assert (message.key or b"").startswith(b"k")
        assert headers["craft-reason"] == b"accepted"
        assert headers["craft-params"].decode() == run.settings.parameters().digest


def test_poison_is_accounted_for_record_by_record(bootstrap: str, tmp_path: Path) -> None:
    """100,000 records, 1 % of them broken in 15 ways: each one is a decision or a dead letter with its bytes."""
    good = json.dumps({"src": "a", "tgt": "b"}).encode()
    kinds: list[tuple[bytes | None, str]] = [
        (b"not json", "not_json"),
        (b'{"src": "a", "tgt": ', "not_json"),
        (b"", "not_json"),
        (b"[1, 2]", "not_object"),
        (b'"text"', "not_object"),
        (b"17", "not_object"),
        (b"null", "not_object"),
        (b'{"tgt": "b"}', "missing_side"),
        (b'{"src": "a"}', "missing_side"),
        (b'{"src": 1, "tgt": "b"}', "not_text"),
        (b'{"src": "a", "tgt": null}', "not_text"),
        (b'{"src": "", "tgt": "b"}', "empty_side"),
        (b'{"src": "a", "tgt": " \\t "}', "empty_side"),
        (b'{"src": "\xff\xfe", "tgt": "b"}', "invalid_utf8"),
        (good[:-1] + b', "more": "' + b"x" * 900_000 + b'"}', "too_large"),
    ]
    run = Deployment(
        bootstrap,
        tmp_path,
        partitions=2,
        overrides={"kafka.max_poll_records": 10_000, "record.max_bytes": 500_000},
    )
    records = [json.dumps(record).encode() for record in pairs(99_000)]
    expected: dict[str, int] = {}
    poison: list[bytes] = []
    for number in range(1_000):
        value, reason = kinds[number % len(kinds)] if number % 100 < 15 or number % 15 != 14 else kinds[0]
        assert value is not None
        poison.append(value)
        expected[reason] = expected.get(reason, 0) + 1
    mixed: list[bytes] = []
    for number, value in enumerate(poison):
        mixed += [value, *records[number * 99 : (number + 1) * 99]]
    run.feed(mixed)
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker], 120)
    _, dead = run.accounted(100_000)
    assert dead == 1_000
    found: dict[str, int] = {}
    for message in run.read(run.settings.kafka.dead_letter_topic):
        headers = {name: value.decode() for name, value in message.headers}
        found[headers["craft-error-class"]] = found.get(headers["craft-error-class"], 0) + 1
        place = int(headers["craft-error-offset"]) * 2 + int(headers["craft-error-partition"])
        assert message.value == mixed[place]
        assert headers["origin"] == "test"
        assert headers["craft-error-stage"] == "decode"
        assert headers["craft-error-message"]
    assert found == expected
    listed = run.command("dlq", "ls", "--limit", "1")
    assert "1,000  in all" in listed.stdout


def test_run_and_select_decide_alike(bootstrap: str, tmp_path: Path) -> None:
    """The same records and pinned model through the broker and through files: equal decisions, id by id."""
    run = Deployment(bootstrap, tmp_path)
    records = pairs(15_000)
    run.feed(records)
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
    stream = tmp_path / "stream.jsonl"
    stream.write_text("".join(json.dumps(record) + "\n" for record in records))
    output, decisions = tmp_path / "out.jsonl", tmp_path / "decisions.jsonl"
    done = run.command(
        "select",
        "--one-pass",
        "--input",
        str(stream),
        "--output",
        str(output),
        "--decisions",
        str(decisions),
        "--model",
        str(model),
    )
    assert done.returncode == 0, done.stderr
    by_file = {line["id"]: line for line in map(json.loads, decisions.read_text().splitlines())}
    by_run = {line["id"]: line for line in run.decisions().values()}
    assert by_file.keys() == by_run.keys()
    for identifier, line in by_run.items():
        other = by_file[identifier]
        assert (line["settings_version"], other["settings_version"]) == (1, 0), (
            "a group publishes its settings"
        )
        own = {"decision_id": "", "settings_version": 0}
        assert {**line, **own} == {**other, **own}


def test_killed_workers_change_nothing(bootstrap: str, tmp_path: Path) -> None:
    """Killed in the middle and started again, a worker ends with the decisions and ledger of an undisturbed one."""
    records = pairs(20_000)
    overrides = {"kafka.max_poll_records": 700, "kafka.instance_id": "w0"}
    runs = [Deployment(bootstrap, tmp_path, overrides=overrides) for _ in range(2)]
    model = pinned_model(tmp_path, runs[0].settings, pairs(5_000, seed=9))
    for run in runs:
        run.feed(records)
    with runs[0].worker("--model", str(model)) as worker:
        runs[0].wait_done([worker])
    for limit in (1, 6_000, 12_000):
        process = runs[1].start("--model", str(model))
        runs[1].wait_committed(limit)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with runs[1].worker("--model", str(model)) as worker:
        runs[1].wait_done([worker])
    runs[1].accounted(20_000)
    plain, disturbed = ({i.partition("/")[2]: line for i, line in r.decisions().items()} for r in runs)
    for place, line in plain.items():
        assert {**line, "decision_id": ""} == {**disturbed[place], "decision_id": ""}
    assert runs[0].ledger()[0]["digest"] == runs[1].ledger()[0]["digest"]


def test_workers_come_and_go(bootstrap: str, tmp_path: Path) -> None:
    """Three workers share four partitions, one leaves and one is killed: nothing is lost or decided twice."""
    run = Deployment(bootstrap, tmp_path, partitions=4, overrides={"kafka.max_poll_records": 250})
    run.feed(pairs(40_000))
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    arguments = ("--model", str(model))
    with run.worker(*arguments, log="a") as first:
        run.wait_committed(2_000)
        with run.worker(*arguments, log="b"):
            third = run.start(*arguments, log="c")
            run.wait_committed(12_000)
            third.send_signal(signal.SIGKILL)
            third.wait()
        run.wait_done([first], 120)
    run.accounted(40_000)
    assert sum(ledger["seen"] for ledger in run.ledger()) == 40_000


def test_at_least_once_repeats_but_never_loses(bootstrap: str, tmp_path: Path) -> None:
    """Without transactions, killed workers may write twice: the same decision under the same id."""
    overrides = {"kafka.guarantee": "at_least_once", "kafka.max_poll_records": 500}
    run = Deployment(bootstrap, tmp_path, overrides=overrides)
    run.feed(pairs(12_000))
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    for limit in (1, 3_000, 6_000):
        process = run.start("--model", str(model))
        run.wait_committed(limit)
        process.kill()
        process.wait()
    with run.worker("--model", str(model)) as worker:
        run.wait_done([worker])
    found: dict[str, bytes] = {}
    for message in run.read(run.settings.kafka.decisions_topic):
        identity = json.loads(message.value or b"")["decision_id"]
        assert found.setdefault(identity, message.value or b"") == message.value
    assert len(found) == 12_000


def test_missing_topics_are_named_with_the_command(bootstrap: str, tmp_path: Path) -> None:
    """`run` refuses to start without its topics, says what to type, and that works."""
    run = Deployment(bootstrap, tmp_path, create=False)
    refused = run.command("run")
    assert refused.returncode == 2
    assert "craft-stream topics create" in refused.stderr
    assert run.settings.kafka.ledger_topic in refused.stderr
    made = run.command("topics", "create", "--partitions", "3", "--replication-factor", "1")
    assert made.returncode == 0, made.stderr
    assert run.command("topics", "check").returncode == 0


def test_unusable_targets_are_explained(bootstrap: str, tmp_path: Path) -> None:
    """An empty target, or one of a single pair, decides nothing and says why; with foreign ones it works."""
    run = Deployment(bootstrap, tmp_path, overrides={"learner.prime_seconds": 1})
    run.feed(pairs(3_000))
    with run.worker():
        deadline = time.monotonic() + 60
        while "target publish" not in run.log():
            assert time.monotonic() < deadline, run.log()
            time.sleep(0.2)
        run.publish_target([{"id": "only", "src": "zzzz qqqq", "tgt": "wwww vvvv"}])
        while "holds 1 record" not in run.log():
            assert time.monotonic() < deadline, run.log()
            time.sleep(0.2)
        assert not run.read(run.settings.kafka.decisions_topic)
        foreign = [{"id": f"f{i}", "src": f"zzzz q{i}", "tgt": f"wwww v{i}"} for i in range(40)]
        run.publish_target(foreign)
        run.wait_done(seconds=60)
    run.accounted(3_000)


def test_all_poison_opens_the_breaker(bootstrap: str, tmp_path: Path) -> None:
    """When nothing can be decided the worker stops with exit code 1; what it dead-lettered is committed."""
    run = Deployment(bootstrap, tmp_path)
    run.feed([b"junk"] * 5_000)
    model = pinned_model(tmp_path, run.settings, pairs(5_000, seed=9))
    process = run.start("--model", str(model))
    assert process.wait(60) == 1
    assert "dead_letter_limit" in run.log()
    dead = run.read(run.settings.kafka.dead_letter_topic)
    reader = KafkaTransport(run.settings.kafka).reader()
    position = reader.committed(0)
    reader.close()
    assert position is not None
    assert len(dead) == position.offset


def test_brokers_that_stay_away_end_the_worker(tmp_path: Path, bootstrap: str) -> None:
    """No broker at all: exit code 75, not before `kafka.unavailable_seconds`, so that a supervisor starts it again."""
    run = Deployment(bootstrap, tmp_path)
    away = ("--set", "kafka.bootstrap_servers=127.0.0.1:1", "--set", "kafka.unavailable_seconds=15")
    began = time.monotonic()
    refused = run.command("run", *away, timeout=120)
    assert refused.returncode == 75, refused.stderr
    assert time.monotonic() - began > 10
    assert "trying again" in refused.stderr
