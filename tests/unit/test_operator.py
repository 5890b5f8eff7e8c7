"""What an operator types about a group, on a message system in memory: which part, which names, how much that says."""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_runtime_worker import (
    PARTITIONS,
    RECORDS,
    VALUES,
    configuration,
    copied,
    fill,
    filled,
    model,
    run,
)

from craft_stream.cli import main
from craft_stream.cli.lists import read_lists
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.events import Observer
from craft_stream.scoring.model import Model
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.topics.model_writer import publish
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import FixedModel
from craft_stream.worker.worker import Worker

__all__ = ["model"]  # a fixture

FLAGS = ("learner.prime_pairs=1000", "decisions.rejected_sample=1.0")
LAST = RECORDS // PARTITIONS


class Desk:
    """A shell whose commands talk to a broker in memory."""

    def __init__(
        self, broker: MemoryBroker, folder: Path, capfd: pytest.CaptureFixture[str], patch: Any
    ) -> None:
        self._capfd, self._patch = capfd, patch
        self._file = folder / "craft.toml"
        self._file.write_text("\n".join(FLAGS))
        for name in ("audit", "replay", "settings", "dlq", "decided"):
            module = importlib.import_module(f"craft_stream.cli.{name}")
            patch.setattr(module, "KafkaTransport", lambda kafka: MemoryTransport(broker, kafka))

    def type(self, *words: object) -> tuple[int, str, str]:
        """Exit code, standard output and error of a command."""
        self._patch.setattr(sys, "argv", ["craft-stream", *map(str, words), "--config", str(self._file)])
        self._capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *self._capfd.readouterr()


@pytest.fixture
def broker() -> MemoryBroker:
    """With the log."""
    return filled(configuration())


@pytest.fixture
def desk(
    broker: MemoryBroker, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """At that broker."""
    return Desk(broker, tmp_path, capfd, monkeypatch)


@pytest.fixture(scope="module")
def once(model: Model) -> MemoryBroker:
    """A log that is decided, by a version that is on its topic."""
    configured = configuration()
    broker = filled(configured)
    run(broker, configured, model)
    publish(MemoryTransport(broker, configured.kafka).output("learner"), configured.kafka.model_topic, model)
    return broker


@pytest.fixture
def decided(broker: MemoryBroker, once: MemoryBroker) -> None:
    """The broker holds what was decided once, for this test alone."""
    vars(broker).update(vars(copied(once)))


# A version of a file.


def test_what_a_file_has_decided_is_decided_again_with_that_file(
    desk: Desk, broker: MemoryBroker, model: Model, tmp_path: Path
) -> None:
    """Of `run --model FILE` no version is on its topic: every command that decides again says so, and takes FILE.

    `replay` takes another one beside it, by --model.
    """
    run(broker, configuration(), model)
    file = tmp_path / "model"
    file.write_bytes(model.encode())
    place = f"{configuration().kafka.input_topic}/0/100"
    for command in (["audit"], ["replay"], ["explain", "--offset", place]):
        code, _, err = desk.type(*command)
        assert (code, "decided with `run --model FILE`" in err, "pruned" in err) == (1, True, False), err
    code, out, err = desk.type("audit", "--model", file)
    assert (code, ": 0 differ" in out) == (0, True), err
    code, out, err = desk.type("explain", "--offset", place, "--model", file)
    assert (code, "Version 1 of the model was in force" in out) == (0, True), out + err
    code, out, err = desk.type("replay", "--run-model", file, "--model", file)
    assert (code, "decisions, 0 differ" in out) == (0, True), err
    code, out, err = desk.type("replay", "--run-model", file, "--set", "budget.rate=0.5")
    assert (code, "decisions, 0 differ" in out, "budget.rate: " in out) == (0, False, True), err


def test_a_number_stands_for_one_version(
    desk: Desk, broker: MemoryBroker, model: Model, tmp_path: Path
) -> None:
    """A learner numbers on behind a file that has decided; a file whose number is another's is refused, and named by audits."""
    configured = configuration()
    topic, transport = configured.kafka.model_topic, MemoryTransport(broker, configured.kafka)
    third = replace(model, version=3)
    run(broker, configured, third)
    store = ModelStore(transport.reader(), topic)
    store.refresh()
    assert (store.last_number, store.newest) == (3, 0)
    publish(transport.output("learner"), topic, replace(third, pairs_seen=third.pairs_seen + 1))
    fill(broker, configured, VALUES, RECORDS)
    with pytest.raises(ConfigurationError, match=rf"model 3, and the topic {topic} holds another model 3"):
        run(broker, configured, third)
    file = tmp_path / "model"
    file.write_bytes(third.encode())
    code, out, err = desk.type("audit", "--model", file)
    assert (code, ": 0 differ" in out) == (0, True), err
    assert f"{topic} holds another model 3 than the file" in err


# Lists.


def follow(broker: MemoryBroker, model: Model, **lists: Path) -> None:
    """Another worker with other lists decides what has come."""
    configured = configuration(**{f"selection__{name}": (str(path),) for name, path in lists.items()})
    stop = threading.Event()
    transport = MemoryTransport(broker, configured.kafka, {}, stop.set)
    models = FixedModel(ModelStore(transport.reader(), configured.kafka.model_topic), Observer(), model, 1)
    guard = threading.Timer(60, stop.set)
    guard.start()
    Worker(
        configured, transport, load_encoder(), models, Observer(), stop, listed=read_lists(configured)
    ).run()
    guard.cancel()


def gone(path: Path, first: int) -> Path:
    """A list of every seventh id."""
    path.write_text("".join(f"r{number}\n" for number in range(first, RECORDS, 7)))
    return path


def test_an_audit_across_lists_names_them_and_is_exact_with_the_old_ones(
    desk: Desk, broker: MemoryBroker, model: Model, tmp_path: Path
) -> None:
    """One list, another, and the first again: by name, with the command for what is left; the old file audits it all."""
    first, second = gone(tmp_path / "first.txt", 0), gone(tmp_path / "second.txt", 3)
    now = ("--set", f"selection.takedown={second}")
    configured = configuration()
    publish(MemoryTransport(broker, configured.kafka).output("learner"), configured.kafka.model_topic, model)
    for start, path in ((0, first), (0, second), (1, first), (2, second)):
        if start or path is second:
            fill(broker, configured, VALUES, RECORDS * start)
            applied = desk.type("settings", "apply", "--set", f"selection.takedown={path}")
            assert applied[0] == 0, applied[2]
        follow(broker, model, takedown=path)
    code, out, err = desk.type("audit", *now)
    assert code == 1
    said = f"crawl.pairs/0: offsets 0 to {LAST - 1} were decided beside another selection.takedown ("
    assert said in out
    assert ", that of settings 1" in out
    assert f"crawl.pairs/1: offsets {2 * LAST} to {3 * LAST - 1} were decided beside" in out
    assert "craft-stream audit --older-lists selection.takedown=OLD.txt" in out
    places = re.search(r"`craft-stream audit --from (\S+)`", out)
    assert places is not None, out
    code, out, err = desk.type("audit", *now, "--from", places[1])
    assert (code, " 0 differ" in out) == (0, True), (out, err)
    code, out, err = desk.type("audit", *now, "--older-lists", f"selection.takedown={first}")
    pairs = RECORDS - VALUES.count(b"broken")
    assert (code, f"compared {4 * pairs}: 0 differ" in out) == (0, True), (out, err)
    for text in (str(first), "selection.takedown="):
        code, _, err = desk.type("audit", *now, "--older-lists", text)
        assert (code, "takes NAME=FILE, such as selection.takedown=OLD.txt" in err) == (2, True), err
    code, _, err = desk.type("audit", *now, "--older-lists", f"selection.takdown={first}")
    assert code == 2
    assert 'the nearest is "selection.takedown"' in err


def test_digests_of_a_check_are_those_of_the_settings_of_a_group(
    desk: Desk, broker: MemoryBroker, model: Model, tmp_path: Path
) -> None:
    """Of parameters, of each list, and of all together as decisions have it, and `explain`; a line is one entry."""
    path = tmp_path / "gone.txt"
    path.write_text("www.example.org\n")
    now = ("--set", f"selection.takedown={path}", "--set", "learner.prime_seconds=0.1")
    follow(broker, model, takedown=path)
    code, checked, err = desk.type("config", "check", *now)
    assert code == 0, err
    listed = json.loads(desk.type("settings", "ls", "--json")[1])
    assert f"as `settings ls` has it: {listed['digest']}\n" in checked
    assert "selection.takedown: 1 entry; digest " in checked
    digest = checked.partition("entry; digest ")[2][:16]
    assert f"selection.takedown: {digest} -> none" in desk.type(
        "settings", "diff", "--set", "learner.prime_seconds=0.1"
    )[1].replace("\n", " ")
    (line, *_) = (json.loads(m.value or b"") for m in broker.log("craft.decisions", 0))
    assert f"as decisions have it: {line['parameters']}\n" in checked
    publish(MemoryTransport(broker, configuration().kafka).output("learner"), "craft.model", model)
    code, out, err = desk.type("explain", "--offset", "crawl.pairs/0/700", "--json", *now)
    assert (code, json.loads(out)["differs"]) == (0, []), err


# Offsets.


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize("command", ["audit", "replay"])
def test_nothing_past_the_end_differs(command: str, desk: Desk) -> None:
    """Offsets at which nothing is decided: exit code 2, and how far each partition is; where some is there, that is taken."""
    code, out, err = desk.type(command, "--from", LAST)
    assert (code, out) == (2, "")
    assert f"crawl.pairs/0: nothing is there, decided are offsets 0 to {LAST - 1}" in err
    assert f"crawl.pairs/1: nothing is there, decided are offsets 0 to {LAST - 1}" in err
    assert desk.type(command, "--from", 1000, "--to", 1000)[0] == 2
    code, out, err = desk.type(command, "--from", f"0:{LAST + 7},1:1000")
    assert code == 0, err
    assert "crawl.pairs/0: nothing is there" in err
    assert "crawl.pairs/1: " in out
    assert "crawl.pairs/0" not in out


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        ("9:5", "crawl.pairs has no partition 9"), ("-5", "is no offset"), ("0:x", "is no offset"),
        ("0:1;1:2", "is no offset"), ("", "is no offset"), ("٣", "is no offset"),
        ("9" * 5000, "is no offset"), ("9" * 5000 + ":1", "is no offset"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_what_is_no_offset_is_refused(option: str, offsets: str, said: str, desk: Desk) -> None:
    """By the option's name; a partition that is not there, too, of which nothing was said."""
    code, _, err = desk.type("audit", f"{option}={offsets}")
    assert code == 2
    assert option in err
    assert said in err


@pytest.mark.usefixtures("decided")
def test_offsets_that_expired_are_taken_from_the_ledger(desk: Desk, broker: MemoryBroker) -> None:
    """An idle group has decided all the same."""
    before = {command: desk.type(command)[:2] for command in ("audit", "replay")}
    broker.committed.clear()
    assert {command: desk.type(command)[:2] for command in ("audit", "replay")} == before
    assert before["audit"][0] == 0


def test_a_group_that_has_decided_nothing_says_so(desk: Desk, broker: MemoryBroker, model: Model) -> None:
    """It is no difference, and no success: of a wrong name those that there are are named."""
    place = f"{configuration().kafka.input_topic}/0/100"
    for command in (["audit"], ["replay"], ["explain", "--offset", place]):
        code, _, err = desk.type(*command)
        assert code == 2
        assert (
            "there is no group craft that has decided anything of crawl.pairs: craft.ledger holds no ledger"
            in err
        )
    run(broker, configuration(), model)
    broker.committed = {}
    for command in (["audit"], ["replay"], ["explain", "--offset", place]):
        code, _, err = desk.type(*command, "--set", "kafka.group_id=crft")
        assert (code, "no group crft" in err, "the ledger of group craft" in err) == (2, True, True), err


# How much a replay says.


@pytest.mark.usefixtures("decided")
def test_a_replay_says_when_it_compared_too_little(desk: Desk) -> None:
    """How much of the log, how far chance moves its numbers, that the learner was primed with it, what it cannot show."""
    code, out, err = desk.type("replay", "--set", "budget.rate=0.2", "--from", 500)
    assert code == 0, err
    assert f"compared 55% ({2 * (LAST - 500):,} of {RECORDS:,} offsets)" in out
    assert "too little to go by" in err
    assert "too young" not in err  # behind what it was primed with
    assert f"compared 100% ({RECORDS:,} of {RECORDS:,} offsets)" in desk.type("replay")[1]
    assert (
        f"compared 23% (500 of {RECORDS:,} offsets)"
        in desk.type("replay", "--from", f"0:{LAST},1:{LAST - 500}")[1]
    )
    code, out, err = desk.type("replay", "--set", "learner.clusters=7", "--to", 700)
    assert code == 0, err
    assert "too young to go by" in err
    assert "learner.clusters: not shown here" in err


# Going back.


@pytest.mark.usefixtures("decided")
def test_going_back_twice_goes_further_back(desk: Desk) -> None:
    """One step each, to what the group decided by before, and then no further; a version is named, whatever it is."""
    for rate in (0.1, 0.2):
        assert desk.type("settings", "apply", "--set", f"budget.rate={rate}")[0] == 0
    code, out, _ = desk.type("settings", "rollback")
    assert (code, out.splitlines()[:2]) == (
        0, ["budget.rate: 0.2 -> 0.1", "back from settings 3 to settings 2"],
    )  # fmt: skip
    code, out, _ = desk.type("settings", "rollback")
    assert out.splitlines()[:3] == [
        "budget.rate: 0.1 -> 0.05", "learner.prime_seconds: 30.0 -> 0.1", "back from settings 4 (those of 2) to settings 1",
    ]  # fmt: skip
    code, _, err = desk.type("settings", "rollback")
    assert code == 2
    assert "there are no other settings before settings 5 (those of 1), the newest" in err
    code, out, _ = desk.type("settings", "rollback", 3)
    assert "back from settings 5 (those of 1) to settings 3" in out
    assert desk.type("settings", "apply", "--set", "budget.rate=0.3")[0] == 0
    assert "back from settings 7 to settings 6 (those of 3)" in desk.type("settings", "rollback")[1]
    assert "back from settings 8 (those of 3) to settings 2" in desk.type("settings", "rollback")[1]
    listed = [json.loads(line) for line in desk.type("settings", "ls", "--json")[1].splitlines()]
    assert [line["restores"] for line in listed] == [None, None, None, 2, 1, 3, None, 3, 2]


# Names out of a list.


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("dlq", "ls", "--reason", "not_jsn"), "not_json"), (("dlq", "replay", "--reason", "TOMBSTONES"), "tombstone"),
        (("export", "--output", "o", "--format", "jsonl.zip"), "jsonl.gz"), (("doctor", "--for", "learner"), "learn"),
        (("target", "publish", "a.txt", "--side", "src"), "source"),
    ],
)  # fmt: skip
def test_a_name_that_there_is_none_of_is_refused_with_the_nearest(
    words: tuple[str, ...], nearest: str, desk: Desk
) -> None:
    """Exit code 2, before anything is done."""
    code, out, err = desk.type(*words)
    assert (code, out) == (2, "")
    assert f'{words[-2]}: there is no "{words[-1]}"; the nearest is "{nearest}" of ' in err


def test_letters_of_an_error_that_happened_are_found(desk: Desk, broker: MemoryBroker) -> None:
    """Beside the reasons of reading, whatever error a letter names is one; a reason without letters is no error."""
    code, out, _ = desk.type("dlq", "replay", "--reason", "EmbeddingError", "--yes")
    assert (code, out) == (0, "sent 0 again\n")
    broker.append(
        configuration().kafka.dead_letter_topic,
        0,
        b"x",
        b"k",
        (("craft-error-class", b"EmbeddingError"), ("craft-error-stage", b"embed")),
    )
    out = desk.type("dlq", "ls", "--reason", "EmbeddingError")[1]
    assert "  1 byte  " in out
    assert "1  in all" in out
    assert desk.type("dlq", "ls", "--reason", "not_json")[0] == 0
    assert '"EmbeddingError" of' in desk.type("dlq", "ls", "--reason", "embeddingerror")[2]
