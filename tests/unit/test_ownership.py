"""Topics belong to one group: a second one is refused before it joins, decides or publishes anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from test_runtime_worker import VALUES, configuration, copied, fill, filled, learned, run

from craft_stream.cli.doctor import _owner
from craft_stream.errors import AccessError, ConfigurationError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Position
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryReader, MemoryTransport
from craft_stream.topics.model_writer import publish
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_group, check_owner, ledger_groups
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.settings_writer import publish_next

FEW = VALUES[:400]


def renamed(broker: MemoryBroker, **changes: Any) -> Settings:
    """Another group's settings; topics that the broker lacks are made."""
    settings = configuration(kafka__group_id="a/second", **changes)
    names = (
        getattr(settings.kafka, f"{name}_topic") for name in ("ledger", "decisions", "model", "accepted")
    )
    broker.topics = {**dict.fromkeys(names, 2), **broker.topics}
    broker.committed = {}  # of the other group: this broker knows one only
    return settings


def check(broker: MemoryBroker, settings: Settings) -> None:
    """As a worker that learns does."""
    reader = MemoryTransport(broker, settings.kafka).reader()
    store = ModelStore(reader, settings.kafka.model_topic)
    store.refresh()
    check_owner(reader, settings.kafka, store)


@pytest.fixture
def decided() -> MemoryBroker:
    """What the group `craft` has decided, by a version on the model topic."""
    return copied(_decided())


@cache
def _decided() -> MemoryBroker:
    configured = configuration()
    broker = filled(configured, FEW)
    output = MemoryTransport(broker, configured.kafka).output("learner")
    publish(output, configured.kafka.model_topic, learned())
    run(broker, configured, learned())
    return broker


def test_a_second_group_is_refused_before_it_publishes_anything(
    decided: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """By the ledger, whose group is named, with what to do; topics stay as they are, and no version is said to take force."""
    caplog.set_level("INFO")
    settings, before = renamed(decided), {place: len(log) for place, log in decided.logs.items()}
    with pytest.raises(
        ConfigurationError, match=r"holds the ledger of group craft, and none of a/second.*--rebuild"
    ):
        run(decided, settings, None)
    assert {place: len(log) for place, log in decided.logs.items()} == before
    assert "takes force" not in caplog.text


def test_what_contradicts_its_group_is_refused_before_anything_takes_force(
    decided: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that reads records otherwise: the last line says why, and none before it that a version takes force."""
    caplog.set_level("INFO")
    fill(decided, configuration(), FEW, len(FEW))
    with pytest.raises(ConfigurationError, match=r"record\.source_field = x"):
        run(decided, configuration(record__source_field="x"), None)
    assert "takes force" not in caplog.text


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"kafka__ledger_topic": "own.ledger"}, "craft.decisions holds decisions"),
        (
            {"kafka__ledger_topic": "own.ledger", "kafka__decisions_topic": "own.decisions"},
            "versions on craft.model",
        ),
    ],
)
def test_one_topic_of_its_own_is_not_enough(decided: MemoryBroker, own: dict[str, str], why: str) -> None:
    """Decisions among another's cannot be told apart, nor versions."""
    settings = renamed(decided, **own)
    with pytest.raises(ConfigurationError, match=why):
        check(decided, settings)
    reader = MemoryTransport(decided, settings.kafka).reader()
    with pytest.raises(ConfigurationError, match=why):  # `doctor` says what `run` does
        _owner(settings, reader, ModelStore(reader, settings.kafka.model_topic))


def test_a_ledger_of_its_own_gives_no_right_to_publish_versions(decided: MemoryBroker) -> None:
    """A group that has decided by others' topics, and then is given the model topic of another."""
    own = {f"kafka__{name}_topic": f"own.{name}" for name in ("ledger", "decisions", "model")}
    run(decided, renamed(decided, **own), learned())
    check(decided, renamed(decided, **own))
    del own["kafka__model_topic"]
    with pytest.raises(ConfigurationError, match=r"versions on craft\.model"):
        check(decided, renamed(decided, **own))


def test_settings_of_another_are_no_versions() -> None:
    """A group whose shadow came first: nobody has published what it could decide by."""
    shadow = configuration(kafka__group_id="shadow", learner__mode="off")
    broker = filled(shadow, FEW)
    transport = MemoryTransport(broker, shadow.kafka)
    store = ModelStore(transport.reader(), shadow.kafka.model_topic)
    store.refresh()
    publish_next(
        transport, store, shadow.kafka.model_topic, "shadow", lambda _: SettingsVersion.of(shadow, "x", 1, 1)
    )
    assert store.groups == {"shadow"}
    check(broker, configuration())


def test_topics_of_its_own_are_enough(decided: MemoryBroker) -> None:
    """And the first group goes on, as does one on new topics."""
    own = {f"kafka__{name}_topic": f"own.{name}" for name in ("ledger", "decisions", "model")}
    check(decided, renamed(decided, **own))
    check(decided, configuration())
    check(filled(configuration()), configuration())


def test_topics_of_a_group_that_is_given_up_are_taken_over(decided: MemoryBroker) -> None:
    """`--rebuild` begins a ledger behind the decisions of the other; later starts need it no more."""
    settings = renamed(decided)
    run(decided, settings, learned(), rebuild=True)
    reader = MemoryTransport(decided, settings.kafka).reader()
    assert ledger_groups(reader, settings.kafka.ledger_topic) == {"craft", "a/second"}
    fill(decided, settings, FEW, len(FEW))
    run(decided, settings, learned())


def test_a_renamed_group_goes_on_from_offsets_that_were_copied(decided: MemoryBroker) -> None:
    """Without them `--rebuild` decides all of the log again, onto the same topics."""
    settings, before = renamed(decided), len(decided.values(configuration().kafka.decisions_topic))
    decided.committed = {0: Position(150), 1: Position(200)}  # of 200 each, as the brokers' tool sets them
    run(decided, settings, learned(), rebuild=True)
    assert len(decided.values(settings.kafka.decisions_topic)) == before + sum(
        v != b"broken" for v in FEW[300::2]
    )
    settings = configuration(kafka__group_id="third")
    decided.committed = {}
    run(decided, settings, learned(), rebuild=True)
    assert len(decided.values(settings.kafka.decisions_topic)) > 2 * before


def test_who_may_not_read_a_ledger_is_not_told_that_there_is_none(decided: MemoryBroker) -> None:
    """Nor that the topics are another's."""

    class Denied(MemoryReader):
        def read(self, *_: Any) -> Iterator[Sequence[Message]]:
            raise AccessError("not allowed")

    settings = renamed(decided)
    reader = Denied(MemoryTransport(decided, settings.kafka))
    with pytest.raises(AccessError):
        check_group(reader, settings.kafka)
    check_owner(reader, settings.kafka)


def test_a_group_that_is_not_there_is_said_to_be_none(decided: MemoryBroker) -> None:
    """With those that are; one that has decided something passes."""
    settings = renamed(decided)
    with pytest.raises(ConfigurationError, match=r"no group a/second .* holds the ledger of group craft"):
        check_group(MemoryTransport(decided, settings.kafka).reader(), settings.kafka)
    empty = filled(settings)
    with pytest.raises(ConfigurationError, match="no ledger yet"):
        check_group(MemoryTransport(empty, settings.kafka).reader(), settings.kafka)
    check_group(MemoryTransport(decided, configuration().kafka).reader(), configuration().kafka)
