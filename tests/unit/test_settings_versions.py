"""Versions of a group's settings: how they travel, who may publish one, and that they take force the same everywhere."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_runtime_worker import PARTITIONS, TOY, VALUES, configuration, fill, filled, model
from toy import target

from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.events import Observer
from craft_stream.ports.transport import TransactionError
from craft_stream.recomputation import Recomputation, look
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Reason
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.settings.versioned import named_values
from craft_stream.testing.memory import Crash, Fault, MemoryBroker, MemoryTransport
from craft_stream.topics.models import MANIFESTS, ModelStore
from craft_stream.topics.settings_versions import FORMAT, SettingsVersion
from craft_stream.topics.settings_writer import publish_next
from craft_stream.worker.group_settings import GroupSettings, in_effect
from craft_stream.worker.model_follower import FixedModel, ModelFollower
from craft_stream.worker.named_encoders import NamedEncoders
from craft_stream.worker.worker import Worker

__all__ = ["model"]  # a fixture

HASHING = load_encoder().digest


def version_of(number: int, configured: Settings | None = None, **changes: Any) -> SettingsVersion:
    return SettingsVersion.of(configured or configuration(**changes), HASHING, number, 77)


def store_of(broker: MemoryBroker, configured: Settings) -> ModelStore:
    store = ModelStore(MemoryTransport(broker, configured.kafka).reader(), configured.kafka.model_topic)
    store.refresh()
    return store


def publish(broker: MemoryBroker, configured: Settings) -> SettingsVersion:
    """What `settings apply` does."""
    transport, store = MemoryTransport(broker, configured.kafka), store_of(broker, configured)
    kafka = configured.kafka
    published = publish_next(
        transport, store, kafka.model_topic, kafka.group_id,
        lambda before: SettingsVersion.of(configured, HASHING, before.number + 1 if before else 1, 5),
    )  # fmt: skip
    assert published is not None
    return published


# How they travel.


def test_a_version_comes_back_as_it_was() -> None:
    """Infinities and options of encoders among it; its settings are those of the file again."""
    configured = configuration(
        selection__near_duplicate=float("inf"), selection__quality_floor=float("-inf"), budget__rate=0.3,
        learner__clusters=7, encoder__options={"dimensions": 64}, selection__takedown=("a.txt",),
    )  # fmt: skip
    version = version_of(3, configured)
    again = SettingsVersion.decode(version.encode())
    assert again == version
    assert (again.number, again.parameters.listed) == (3, "")
    effective = in_effect(configuration(selection__takedown=("b.txt",), learner__keep_versions=7), again)
    assert named_values(effective.parameters()) == named_values(configured.parameters())
    assert effective.encoder == configured.encoder
    assert (effective.selection.takedown, effective.learner.keep_versions) == (("b.txt",), 7)


@pytest.mark.parametrize("part", ["format", "selection", "learning", "encoder", "value", "bytes"])
def test_what_a_newer_release_published_is_refused_by_the_right_words(part: str) -> None:
    """A newer format, names that are unknown here, and what is no version at all: with the release that published it."""
    values = json.loads(version_of(3).encode()) | {"release": "9.1.0"}
    match part:
        case "format":
            values["format"] = FORMAT + 1
        case "encoder":
            values["encoder"]["speed"] = 3
        case "value":
            values["parameters"]["selection"]["rate"] = "much"
        case "bytes":
            values = [values]
        case _:
            values["parameters"][part]["haste"] = 1
    with pytest.raises(
        IntegrityError, match="upgrade" if part == "format" else r"published cannot be read"
    ) as error:
        SettingsVersion.decode(json.dumps(values).encode())
    assert part == "bytes" or "9.1.0" in str(error.value)


def test_a_parameter_that_a_release_did_not_know_has_its_default() -> None:
    """An older release's version is read; what came since is as it is without being set."""
    values = json.loads(version_of(3, budget__rate=0.3).encode())
    del values["parameters"]["selection"]["horizon"]
    again = SettingsVersion.decode(json.dumps(values).encode())
    assert again.parameters == version_of(3, budget__rate=0.3).parameters


# Who may publish.


def test_of_two_that_publish_at_once_one_begins_again() -> None:
    """The first to look is fenced by the second, finds its version, and publishes the next."""
    configured = configuration()
    broker = filled(configured)
    kafka, store = configured.kafka, store_of(broker, configured)
    seen: list[int] = []

    def make(before: SettingsVersion | None) -> SettingsVersion:
        seen.append(0 if before is None else before.number)
        if len(seen) == 1:
            publish(broker, configured)
        return version_of(seen[-1] + 1)

    published = publish_next(MemoryTransport(broker, kafka), store, kafka.model_topic, kafka.group_id, make)
    assert published is not None
    assert (seen, published.number) == ([0, 1, 1], 2)
    assert store_of(broker, configured).settings_numbers(kafka.group_id) == [1, 2]

    def always(before: SettingsVersion | None) -> SettingsVersion:
        publish(broker, configured)
        return version_of(99)

    with pytest.raises(TransactionError):
        publish_next(MemoryTransport(broker, kafka), store, kafka.model_topic, kafka.group_id, always)


def test_versions_of_groups_are_apart() -> None:
    """A group sees its own, whatever slashes are in its name."""
    one, other = configuration(kafka__group_id="a"), configuration(kafka__group_id="a/b")
    broker = filled(one)
    publish(broker, one)
    publish(broker, other)
    publish(broker, other)
    store = store_of(broker, one)
    assert (store.settings_number("a"), store.settings_number("a/b"), store.settings_number("b")) == (1, 2, 0)
    assert [version.number for version in store.all_settings("a/b")] == [1, 2]


def test_a_version_under_another_number_is_refused() -> None:
    """What a key says is held against what stands in the record."""
    configured = configuration()
    broker = filled(configured)
    broker.append(configured.kafka.model_topic, MANIFESTS, version_of(3).encode(), b"settings/craft/4")
    with pytest.raises(IntegrityError, match="say that they are 3"):
        store_of(broker, configured).newest_settings("craft")


def test_the_first_worker_publishes_and_the_next_follows(caplog: pytest.LogCaptureFixture) -> None:
    """The group's version rules over another file, which is named once; what a record is may not be different."""
    first, second = configuration(budget__rate=0.2), configuration(budget__rate=0.4)
    broker = filled(first)
    agreed = []
    for configured in (first, second):
        own = GroupSettings(configured, HASHING, store_of(broker, configured), Observer())
        own.agree(MemoryTransport(broker, configured.kafka))
        agreed.append(own.current())
    assert agreed[0] == agreed[1] == first.parameters(HASHING).numbered(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "budget.rate: 0.4 -> 0.2" in caplog.text
    third = configuration(record__source_field="text")
    with pytest.raises(
        ConfigurationError, match=r"record.source_field = text \(it is src\): put it back"
    ) as error:
        GroupSettings(third, HASHING, store_of(broker, third), Observer()).agree(
            MemoryTransport(broker, third.kafka)
        )
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "lists", "named"),
    [
        ({"record__signals": ("laser",)}, {}, r"record\.signals = \['laser'\] \(it is \[\]\)"),
        ({"record__computed_signals": ("len?x=1",)}, {}, r"record\.computed_signals = "),
        ({}, {"selection.takedown": "abc"}, r"selection\.takedown = abc \(it is none\)"),
    ],
)
def test_what_a_process_takes_from_its_own_machine_is_the_same_in_all(
    changes: dict[str, Any], lists: dict[str, str], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Signals and lists: other ones are refused by name at the start, published they are; who is at work says so."""
    first, second = configuration(), configuration(**changes)
    broker = filled(first)
    transport = MemoryTransport(broker, first.kafka)
    store = store_of(broker, first)
    own = GroupSettings(first, HASHING, store, Observer())
    own.agree(transport)
    another = GroupSettings(second, HASHING, store_of(broker, second), Observer(), lists)
    with pytest.raises(ConfigurationError, match=f"{named}.*settings 1 of group craft.*settings apply"):
        another.agree(transport)
    version = SettingsVersion.of(second, HASHING, 2, 5, lists)
    assert len(list(version.changes(version_of(1, first)))) == 1
    broker.append(first.kafka.model_topic, MANIFESTS, version.encode(), b"settings/craft/2")
    store.refresh()
    assert [own.current().version for _ in range(2)] == [2, 2]
    (warned,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "restart it with what settings 2 say" in warned.getMessage()
    GroupSettings(second, HASHING, store_of(broker, second), Observer(), lists).agree(transport)
    with pytest.raises(ConfigurationError, match="this process has"):
        GroupSettings(first, HASHING, store_of(broker, first), Observer()).agree(transport)


def test_fields_with_urls_are_what_a_record_is() -> None:
    """Other ones would give pairs other pages: they are refused, in a list as in a file."""
    first, other = configuration(), configuration(record__url_fields=("page",))
    broker = filled(first)
    for configured in (first, first):
        own = GroupSettings(configured, HASHING, store_of(broker, configured), Observer())
        own.agree(MemoryTransport(broker, configured.kafka))
    with pytest.raises(ConfigurationError, match=r"record\.url_fields = \['page'\].*begin a new group"):
        GroupSettings(other, HASHING, store_of(broker, other), Observer()).agree(
            MemoryTransport(broker, other.kafka)
        )


def test_a_version_that_cannot_be_read_leaves_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    """A worker at work goes on and says so once; one that starts ends with the right words."""
    configured = configuration()
    broker = filled(configured)
    kafka, store = configured.kafka, store_of(broker, configured)
    own = GroupSettings(configured, HASHING, store, Observer())
    own.agree(MemoryTransport(broker, kafka))
    newer = json.loads(version_of(2).encode()) | {"format": FORMAT + 1, "release": "9.1.0"}
    broker.append(kafka.model_topic, MANIFESTS, json.dumps(newer).encode(), b"settings/craft/2")
    store.refresh()
    with caplog.at_level(logging.ERROR):
        assert [own.current().version for _ in range(3)] == [1, 1, 1]
    assert len(caplog.records) == 1
    with pytest.raises(IntegrityError, match=r"release 9\.1\.0 are of format 2.*upgrade"):
        GroupSettings(configured, HASHING, store, Observer()).agree(MemoryTransport(broker, kafka))


# That they take force.


class Change(Observer):
    """Publishes a version after so many commits."""

    def __init__(self, broker: MemoryBroker, plan: dict[int, Settings]) -> None:
        self.broker, self.plan, self.commits = broker, plan, 0
        self.told: list[tuple[int, float]] = []

    def settings(self, version: int, parameters: str, budget: float, changes: Sequence[str]) -> None:
        self.told.append((version, budget))

    def decided(self, partition: int, decisions: Any, rejected_kept: int) -> None:
        self.commits += 1
        if (configured := self.plan.pop(self.commits, None)) is not None:
            publish(self.broker, configured)


def work(
    broker: MemoryBroker,
    configured: Settings,
    model: Model,
    told: Observer,
    script: dict[int, Fault] | None = None,
) -> None:
    """Workers, one after the other, until all is committed."""
    script = dict(script or {})
    while not broker.done(configured.kafka.input_topic):
        stop = threading.Event()
        transport = MemoryTransport(broker, configured.kafka, script, stop.set)
        store = ModelStore(transport.reader(), configured.kafka.model_topic)
        models = FixedModel(store, told, model, 1)
        models._seconds = 0.001
        guard = threading.Timer(60, stop.set)
        guard.start()
        try:
            Worker(configured, transport, load_encoder(), models, told, stop).run()
        except Crash:
            script = transport.script
        finally:
            guard.cancel()


def audited(broker: MemoryBroker, configured: Settings, model: Model) -> list[list[int]]:
    """Everything recomputed and compared; the versions that were in force, by partition and in order."""
    kafka, found = configured.kafka, list[list[int]]()
    written = {}
    for partition in range(PARTITIONS):
        for message in broker.log(kafka.decisions_topic, partition):
            line = json.loads(message.value or b"")
            assert line["decision_id"] not in written, "decided twice"
            written[line["decision_id"]] = line
    reader = MemoryTransport(broker, kafka).reader()
    store = store_of(broker, configured)
    store.give(model)
    for partition in range(PARTITIONS):
        stretch = look(reader, configured, partition)
        # The settings at hand say nothing of a log: its ledger does.
        other = configuration(budget__rate=0.9, selection__gate=1.0)
        again = Recomputation(
            reader, configured, Selector(other.parameters(), load_encoder()), store, stretch
        )
        assert again.begin(0) == 0
        for _, decisions in again.run(stretch.committed):
            for row, offset in enumerate(decisions.positions.tolist()):
                line = written.pop(f"{kafka.input_topic}/{partition}/{offset}")
                assert line["reason"] == Reason(int(decisions.reason[row])).label
                assert line["parameters"] == f"{decisions.parameters[row]:016x}"
                assert line["settings_version"] == decisions.settings_version[row]
        assert not again.disagreeing
        restored = stretch.records.restore(other.parameters(), stretch.committed)
        assert restored is not None
        assert restored.ledger.digest() == again.ledger.digest()
        assert all(offset % 1024 == 0 for offset in stretch.records.settings), "changed within an epoch"
        found.append([one.parameters.version for _, one in sorted(stretch.records.settings.items())])
    assert not written, "written, but not to be decided"
    return found


CHANGES: list[dict[str, Any]] = [
    {"budget__rate": 0.5}, {"budget__rate": 0.02}, {"selection__method": "craft"}, {"selection__quality_weight": 1.0},
    {"selection__seen_pairs": 4096}, {"selection__near_duplicate": 2.0}, {"selection__relaxation": 0.0},
    {"selection__abstain": True}, {"learner__clusters": 2}, {"learner__prime_seconds": 3.0},
]  # fmt: skip
FAULTS = [Fault.ABORT, Fault.AMBIGUOUS, Fault.CRASH, Fault.CRASH_AFTER, Fault.REVOKE]


@given(
    st.dictionaries(st.integers(1, 20), st.sampled_from(CHANGES), max_size=6),
    st.dictionaries(st.integers(1, 30), st.sampled_from(FAULTS), max_size=5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_settings_change_among_faults_and_every_decision_is_audited(
    model: Model, plan: dict[int, dict[str, Any]], script: dict[int, Fault], rng: random.Random
) -> None:
    """Changes and faults anywhere: each record once, each change at an epoch, in order, and all as it is recomputed."""
    values = [value for value in VALUES if value != b"broken"]
    base = {"kafka__max_poll_records": 150, "budget__rate": 0.2}
    configured = configuration(**base)
    broker = filled(configured, values)
    told = Change(broker, {commit: configuration(**base | change) for commit, change in plan.items()})
    work(broker, configured, model, told, script)
    fill(broker, configured, values, len(values))  # what came late takes force now
    work(broker, configuration(**base | rng.choice(CHANGES)), model, Observer(), {})
    versions = audited(broker, configured, model)
    newest = store_of(broker, configured).settings_number(configured.kafka.group_id)
    assert newest == 1 + len(plan) - len(told.plan)
    assert all(some == sorted(set(some)) and some[-1] == newest for some in versions)


def test_an_encoder_is_loaded_by_what_a_version_names() -> None:
    """Once; one that nobody names, and one that is another on this machine, are refused."""
    configured, other = configuration(), configuration(encoder__options={"dimensions": 64})
    broker = filled(configured)
    publish(broker, configured)
    small = load_encoder("hashing", dimensions=64)
    kafka = configured.kafka
    store = store_of(broker, configured)
    publish_next(
        MemoryTransport(broker, kafka), store, kafka.model_topic, kafka.group_id,
        lambda before: SettingsVersion.of(other, small.digest, 2, 5),
    )  # fmt: skip
    calls = []

    def make(kind: str, **options: Any) -> Any:
        calls.append((kind, options))
        return load_encoder(kind, **options)

    encoders = NamedEncoders(store, kafka.group_id, load_encoder(), make)
    assert encoders.load(small.digest).digest == small.digest
    assert encoders.load(small.digest) is encoders.load(small.digest)
    assert calls == [("hashing", {"dimensions": 64})]
    with pytest.raises(IntegrityError, match="no version of the group's settings names it"):
        encoders.load("hashing-1-2")
    wrong = NamedEncoders(store, kafka.group_id, load_encoder(), lambda kind, **options: load_encoder())
    with pytest.raises(IntegrityError, match="install the same packages"):
        wrong.load(small.digest)


def test_the_learner_begins_again_with_other_settings_and_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of a live learner is followed by one with other clusters and another encoder, and workers decide with it."""
    monkeypatch.setattr("craft_stream.worker.learner_service.TARGET_SECONDS", 0.05)
    configured = configuration(learner__clusters=4)
    kafka = configured.kafka
    broker = filled(configured)
    for name, source, translation in zip(*_target(), strict=True):
        value = json.dumps({"src": source, "tgt": translation}).encode()
        broker.append(kafka.target_topic, 0, value, name.encode())
    other = configuration(learner__clusters=2, encoder__options={"dimensions": 64})
    small = load_encoder("hashing", dimensions=64)
    stop = threading.Event()
    transport = MemoryTransport(broker, kafka)
    store = ModelStore(transport.reader(), kafka.model_topic)
    models = ModelFollower(store, Observer(), 0.01)
    worker = Worker(
        configured, transport, load_encoder(), models, Observer(), stop, make_encoder=load_encoder
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        _wait(lambda: broker.done(kafka.input_topic))
        publish_next(
            MemoryTransport(broker, kafka), store_of(broker, configured), kafka.model_topic, kafka.group_id,
            lambda before: SettingsVersion.of(other, small.digest, 2, 5),
        )  # fmt: skip
        _wait(lambda: models.current is not None and models.current.translation.encoder == small.digest)
        fill(broker, configured, VALUES, len(VALUES))
        _wait(lambda: broker.done(kafka.input_topic))
    finally:
        stop.set()
        thread.join(30)
    assert models.current is not None
    assert models.current.clusters == 2
    for partition in range(PARTITIONS):
        used = {
            json.loads(message.value or b"")["model_version"]
            for message in broker.log(kafka.decisions_topic, partition)
        }
        assert max(used) == models.current.version
        assert len(used) > 1


def _target() -> tuple[list[str], list[str], list[str]]:
    names, batch = target(TOY)
    return names, batch.source.texts(), batch.target.texts()


def _wait(condition: Any, seconds: float = 60.0) -> None:
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        waiting.wait(0.02)
    raise AssertionError("not in time")
