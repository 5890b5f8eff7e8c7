"""Brokers that are out of reach for a while, at a worker's start and when a version is fetched; what is in use."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
from test_runtime_worker import configuration, filled, model

from craft_stream.encoders import load_encoder
from craft_stream.errors import UnavailableError
from craft_stream.events import Observer
from craft_stream.scoring.model import Model
from craft_stream.testing.memory import MemoryBroker, MemoryGroup, MemoryOutput, MemoryTransport
from craft_stream.topics.model_writer import publish
from craft_stream.topics.models import Manifest, ModelStore
from craft_stream.worker.model_follower import FixedModel, ModelFollower
from craft_stream.worker.worker import Worker

__all__ = ["model"]  # a fixture


class Away(MemoryTransport):
    """Brokers that cannot be reached the first few times that anything is asked of them."""

    refusals = 0

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("nobody there")

    def group(self) -> MemoryGroup:
        """As the parent's, when it is reached."""
        self._refuse()
        return super().group()

    def output(self, name: str) -> MemoryOutput:
        """As the parent's, when it is reached."""
        self._refuse()
        return super().output(name)


def test_a_start_that_is_told_to_stop_goes_no_further(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step is at work then: none that follows is taken, and no group is joined."""
    configured = configuration()
    broker = filled(configured)
    steps = ["_check_owner", "_warm_up"]
    for last in range(len(steps)):
        stop, taken = threading.Event(), list[str]()
        transport = MemoryTransport(broker, configured.kafka)
        models = FixedModel(
            ModelStore(transport.reader(), configured.kafka.model_topic), Observer(), model, 1
        )
        worker = Worker(configured, transport, load_encoder(), models, Observer(), stop)

        def take(name: str, taken: list[str] = taken, stop: threading.Event = stop, last: int = last) -> None:
            taken.append(name)
            if name == steps[last]:
                stop.set()

        for name in steps:
            monkeypatch.setattr(worker, name, partial(take, name))
        monkeypatch.setattr(transport, "group", lambda: pytest.fail("joined"))
        worker.run()
        assert taken == steps[: last + 1]
        assert not broker.committed


@pytest.mark.parametrize(("patience", "refusals"), [(60.0, 2), (0.6, 100)], ids=["back in time", "too late"])
def test_a_start_waits_for_brokers(
    model: Model, monkeypatch: pytest.MonkeyPatch, patience: float, refusals: int
) -> None:
    """As long as a worker at work would, and no longer."""
    monkeypatch.setattr("craft_stream.worker.retry.AGAIN_SECONDS", 0.05)
    configured = configuration(kafka__unavailable_seconds=patience)
    broker = filled(configured)
    stop = threading.Event()
    transport = Away(broker, configured.kafka, idle=stop.set)
    transport.refusals = refusals
    store = ModelStore(transport.reader(), configured.kafka.model_topic)
    models = FixedModel(store, Observer(), model, 1)
    worker = Worker(configured, transport, load_encoder(), models, Observer(), stop)
    if refusals > 2:
        with pytest.raises(UnavailableError, match="nobody there"):
            worker.run()
        return
    worker.run()
    assert broker.done(configured.kafka.input_topic)


def test_brokers_away_are_not_held_against_a_version(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be fetched is fetched later; what is damaged is passed over at the first look."""
    configured = configuration()
    broker = filled(configured)
    topic = configured.kafka.model_topic
    transport = MemoryTransport(broker, configured.kafka)
    output = transport.output("learner")
    publish(output, topic, model)
    second = replace(model, version=model.version + 1)
    publish(output, topic, second)
    store = ModelStore(transport.reader(), topic)
    follower = ModelFollower(store, Observer())
    fetch = store._fetch

    def away(manifest: Manifest) -> bytes:
        raise UnavailableError("nobody there")

    def damaged(manifest: Manifest) -> bytes:
        return fetch(manifest) if manifest.version == model.version else b"\0"

    monkeypatch.setattr(store, "_fetch", away)
    with pytest.raises(UnavailableError):
        follower.look()
    assert follower.current is None
    monkeypatch.setattr(store, "_fetch", damaged)
    follower.look()
    assert follower.current is not None
    assert follower.current.version == model.version
    monkeypatch.setattr(store, "_fetch", fetch)
    later = ModelFollower(store, Observer())
    later.look()
    assert later.current is not None
    assert later.current.version == second.version


def test_a_follower_that_was_stopped_tells_of_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection is closed while it looks, as a worker ends: that is no broker away."""
    configured = configuration()
    reader = MemoryTransport(filled(configured), configured.kafka).reader()
    follower = ModelFollower(ModelStore(reader, configured.kafka.model_topic), Observer(), 0.01)
    looking, ended = threading.Event(), threading.Event()

    def look() -> None:
        looking.set()
        ended.wait(10)
        raise UnavailableError("closed")

    monkeypatch.setattr(follower, "look", look)
    follower.start()
    assert looking.wait(10)
    follower.stop()
    ended.set()
    follower._thread.join(10)
    assert not caplog.records


def test_what_a_group_decides_with() -> None:
    """The latest use of each partition of the group and topic, of no other's."""
    configured = configuration()
    store = ModelStore(MemoryTransport(MemoryBroker({}), configured.kafka).reader(), "models")
    store.uses = {"g/t/0": {1: 0, 2: 1024, 3: 512}, "g/t/1": {1: 0}, "other/t/0": {7: 0}, "g/t/2": {}}
    assert store.in_use("g/t") == {1, 2}
