"""Topics belong to one group: a second one is refused before it joins, decides or publishes anything."""

from __future__ import annotations

from typing import Any

import pytest
from test_runtime_worker import VALUES, configuration, fill, filled, learned, run

from craft_stream.errors import ConfigurationError
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_group, check_owner, ledger_groups

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
    """What the group `craft` has decided."""
    configured = configuration()
    broker = filled(configured, FEW)
    run(broker, configured, learned())
    return broker


def test_a_second_group_is_refused_before_it_publishes_anything(decided: MemoryBroker) -> None:
    """By the ledger, whose group is named, with what to do; topics stay as they are."""
    settings, before = renamed(decided), {place: len(log) for place, log in decided.logs.items()}
    with pytest.raises(
        ConfigurationError, match=r"holds the ledger of group craft, and none of a/second.*--rebuild"
    ):
        run(decided, settings, learned())
    assert {place: len(log) for place, log in decided.logs.items()} == before


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
    with pytest.raises(ConfigurationError, match=why):
        check(decided, renamed(decided, **own))


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


def test_a_group_that_is_not_there_is_said_to_be_none(decided: MemoryBroker) -> None:
    """With those that are; one that has decided something passes."""
    settings = renamed(decided)
    with pytest.raises(ConfigurationError, match=r"no group a/second .* holds the ledger of group craft"):
        check_group(MemoryTransport(decided, settings.kafka).reader(), settings.kafka)
    empty = filled(settings)
    with pytest.raises(ConfigurationError, match="no ledger yet"):
        check_group(MemoryTransport(empty, settings.kafka).reader(), settings.kafka)
    check_group(MemoryTransport(decided, configuration().kafka).reader(), configuration().kafka)
