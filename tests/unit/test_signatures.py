"""Signed versions: what is not signed by the key decides nothing, and says so."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from toy import versions

from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.events import Observer
from craft_stream.settings import ModelsSettings, Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.topics import model_writer
from craft_stream.topics.models import MANIFESTS, Manifest, ModelStore
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.settings_writer import sign_settings
from craft_stream.topics.signatures import Signatures
from craft_stream.worker.model_follower import ModelFollower

KEY = "a key that is long enough"
SIGNED = Signatures("m", KEY.encode())


class Told(Observer):
    """Keeps how many versions are passed over."""

    passed_over = -1

    def models_passed_over(self, versions: int, /) -> None:
        """Note it."""
        self.passed_over = versions


def transport() -> MemoryTransport:
    return MemoryTransport(MemoryBroker({"m": 2}), Settings().kafka)


def store(transport: MemoryTransport, signatures: Signatures | None = SIGNED) -> ModelStore:
    found = ModelStore(transport.reader(), "m", signatures)
    found.refresh()
    return found


def test_only_signed_versions_are_followed(caplog: pytest.LogCaptureFixture) -> None:
    """Of versions by the key, by another one, without one and with a changed field the first decides; the others are named."""
    first, second = versions()
    made = transport()
    output = made.output("learner")
    model_writer.publish(output, "m", replace(first, version=1), SIGNED)
    model_writer.publish(output, "m", replace(second, version=2), Signatures("m", b"another key of 24 bytes"))
    model_writer.publish(output, "m", replace(second, version=3))
    model_writer.publish(output, "m", replace(second, version=4), Signatures("other topic", KEY.encode()))
    told = Told()
    follower = ModelFollower(store(made), told)
    with caplog.at_level(logging.WARNING):
        follower.look()
    assert follower.current is not None
    assert follower.current.version == 1
    assert told.passed_over == 3
    assert set(follower.store.refused) == {2, 3, 4}
    assert follower.store.last_number == 4
    assert "not signed" in follower.store.refused[3]
    assert "signature" in follower.store.refused[2]
    with pytest.raises(IntegrityError, match="model sign 3"):
        follower.store.load(3)
    assert store(made, None).newest == 4  # without a key everything is taken


def test_a_changed_manifest_is_not_signed_any_more() -> None:
    """Whatever field is another one: the bytes that it names, its number, its place."""
    made = transport()
    model_writer.publish(made.output("learner"), "m", replace(versions()[0], version=1), SIGNED)
    sound = json.loads(made.broker.log("m", MANIFESTS)[0].value or b"")
    SIGNED.verify(sound)
    for name in Manifest.__dataclass_fields__:
        with pytest.raises(IntegrityError):
            SIGNED.verify({**sound, name: "7"})


def test_versions_of_before_are_signed_later() -> None:
    """A group that comes to sign signs what is there; the same bytes then decide."""
    made = transport()
    model_writer.publish(made.output("learner"), "m", replace(versions()[0], version=1))
    assert store(made).newest == 0
    model_writer.sign(made.output("admin"), "m", store(made, None).manifests.values(), SIGNED)
    assert store(made).load(1).digest == versions()[0].digest


def test_settings_of_before_are_signed_later(caplog: pytest.LogCaptureFixture) -> None:
    """Versions of the settings without signature are passed over; signed in place they are what they were."""
    made, settings = transport(), Settings()
    for number in (1, 2):
        version = SettingsVersion.of(settings, "an encoder", number, 7)
        made.broker.append("m", MANIFESTS, version.encode(), f"settings/g/{number}".encode())
    assert store(made).newest_settings("g") is None
    assert "settings 2 of group g are passed over: it is not signed" in caplog.text
    before = list(store(made, None).all_settings("g"))
    sign_settings(made.output("settings"), "m", "g", before, SIGNED)
    assert list(store(made).all_settings("g")) == before
    assert store(made).newest_settings("g") == before[1]


def test_what_is_signed_by_now_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """What was signed again or withdrawn is not told of, though the topic still holds it as it was; what comes later is."""
    made = transport()
    output = made.output("learner")
    model_writer.publish(output, "m", replace(versions()[0], version=1))
    model_writer.pin(output, "m", 1)
    settings = SettingsVersion.of(Settings(), "an encoder", 1, 7)
    made.broker.append("m", MANIFESTS, settings.encode(), b"settings/g/1")
    store(made)
    assert caplog.text.count("passed over") == 3
    plain = store(made, None)
    model_writer.sign(output, "m", plain.manifests.values(), SIGNED)
    model_writer.pin(output, "m", None, SIGNED)
    sign_settings(output, "m", "g", list(plain.all_settings("g")), SIGNED)
    caplog.clear()
    store(made)
    assert "passed over" not in caplog.text
    model_writer.pin(output, "m", 1)
    store(made)
    assert caplog.text.count("passed over") == 1


def test_only_signed_pins_count() -> None:
    """A pin that anybody wrote moves nobody; a tombstone lifts a pin, as it can only give back what the key has signed."""
    made = transport()
    output = made.output("admin")
    for version in (1, 2):
        model_writer.publish(output, "m", replace(versions()[0], version=version), SIGNED)
    model_writer.pin(output, "m", 1)
    assert store(made).newest == 2
    model_writer.pin(output, "m", 1, SIGNED)
    assert store(made).newest == 1
    model_writer.pin(output, "m", None, SIGNED)
    assert store(made).newest == 2


def test_without_a_key_manifests_are_those_of_the_first_release() -> None:
    """A field that it does not know would make 0.1.0 refuse the version."""
    made = transport()
    model_writer.publish(made.output("learner"), "m", replace(versions()[0], version=1))
    assert "signature" not in json.loads(made.broker.log("m", MANIFESTS)[0].value or b"")


def test_the_key_is_a_secret(tmp_path: Path) -> None:
    """From a file or a setting, of some length, and in no text that is made of settings."""
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    assert ModelsSettings(key_file=str(file)).signing_key() == KEY.encode()
    settings = Settings.load(overrides=[f"models.key={KEY}"])
    assert settings.models.signing_key() == KEY.encode()
    assert KEY not in f"{settings!r} {settings.model_dump_json()} {Signatures.of(settings)!r}"
    with pytest.raises(ConfigurationError, match="both"):
        ModelsSettings(key=KEY, key_file=str(file)).signing_key()  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least 16"):
        Settings.load(overrides=["models.key=short"]).models.signing_key()
    with pytest.raises(ConfigurationError, match="cannot read"):
        ModelsSettings(key_file=str(tmp_path / "none")).signing_key()
