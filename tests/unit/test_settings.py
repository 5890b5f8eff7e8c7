"""Settings: precedence, names, secrets, and what they hand to the engine."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from craft_stream.cli.config import toml
from craft_stream.errors import ConfigurationError
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.settings import Settings, known_names
from craft_stream.settings.renamed import RENAMED

ISSUE_EXAMPLE = """
[kafka]
bootstrap_servers = "localhost:9092"
group_id = "craft"
input_topic = "crawl.pairs"
target_topic = "craft.target"
accepted_topic = "craft.accepted"
decisions_topic = "craft.decisions"
dead_letter_topic = "craft.dead-letters"
model_topic = "craft.model"
ledger_topic = "craft.ledger"
guarantee = "exactly_once"
[record]
source_field = "src"
target_field = "tgt"
id_field = "id"
[budget]
rate = 0.05
[decisions]
rejected_sample = 0.01
[learner]
mode = "embedded"
[encoder]
kind = "hashing"
[observe]
port = 9464
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "craft.toml"
    path.write_text('[kafka]\nbootstrap_servers = "file:1"\ngroup_id = "file"\n[budget]\nrate = 0.1\n')
    return path


def test_defaults_are_the_documented_example(tmp_path: Path) -> None:
    """The TOML that the documentation shows spells the defaults out, nothing else."""
    path = tmp_path / "craft.toml"
    path.write_text(ISSUE_EXAMPLE)
    assert Settings.load(path) == Settings.load()


def test_flags_beat_environment_beats_file_beats_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer wins over those below it and leaves what it does not name."""
    monkeypatch.setenv("CRAFT_KAFKA__BOOTSTRAP_SERVERS", "environment:1")
    monkeypatch.setenv("CRAFT_KAFKA__GROUP_ID", "environment")
    settings = Settings.load(file, ["kafka.group_id=flag"])
    assert settings.kafka.group_id == "flag"
    assert settings.kafka.bootstrap_servers == "environment:1"
    assert settings.budget.rate == 0.1
    assert settings.kafka.input_topic == "crawl.pairs"


def test_environment_reaches_engine_parameters_and_free_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text from the environment becomes the number that it spells, in dataclasses and free tables too."""
    monkeypatch.setenv("CRAFT_LEARNER__CLUSTERS", "12")
    monkeypatch.setenv("CRAFT_SELECTION__ABSTAIN", "false")
    monkeypatch.setenv("CRAFT_ENCODER__OPTIONS__DIMENSIONS", "128")
    settings = Settings.load()
    assert settings.parameters().learning.clusters == 12
    assert settings.parameters().selection.abstain is False
    assert settings.encoder.options == {"dimensions": 128}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("kafka.bootstrap_server", "kafka.bootstrap_servers"),
        ("budget.rat", "budget.rate"),
        ("budgt.rate", "budget"),
        ("learner.cluster", "learner.clusters"),
        ("selection.relaxatio", "selection.relaxation"),
        ("kafka.security.sasl_plain_user", "kafka.security.sasl_plain_username"),
    ],
)
def test_unknown_key_names_the_nearest(wrong: str, right: str) -> None:
    """A misspelt setting is refused, and the message has the right spelling."""
    with pytest.raises(ConfigurationError, match=f'nearest known one is "{right}"'):
        Settings.load(None, [f"{wrong}=1"])


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_is_refused_with_its_new_name(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, the environment and flags alike; the new name is one that exists."""
    section, _, name = old.partition(".")
    file = tmp_path / "old.toml"
    file.write_text(f"[{section}]\n{name} = 1\n")
    with pytest.raises(ConfigurationError, match=f"{old} is called {new} now"):
        Settings.load(file)
    with pytest.raises(ConfigurationError, match=f"{old} is called {new} now"):
        Settings.load(None, [f"{old}=1"])
    monkeypatch.setenv(f"CRAFT_{section}__{name}".upper(), "1")
    with pytest.raises(ConfigurationError, match=f"{old} is called {new} now"):
        Settings.load()
    assert new in known_names()
    assert old not in known_names()


def test_unknown_section_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt section in the environment is not ignored; other programs' names are."""
    monkeypatch.setenv("CRAFT_HOME", "/nowhere")
    assert Settings.load() == Settings()
    monkeypatch.setenv("CRAFT_KAFK__GROUP_ID", "x")
    with pytest.raises(ConfigurationError, match="CRAFT_KAFK__GROUP_ID"):
        Settings.load()


@pytest.mark.parametrize(
    "override",
    ["budget.rate=2", "budget.rate=x", "learner.clusters=0", "learner.clusters=x", "observe.port=70000",
     "kafka.guarantee=maybe", "errors.policies.decode=ignore", "selection.rate=0.1", "selection.seen_pairs=1"],
)  # fmt: skip
def test_value_out_of_range_names_the_setting(override: str) -> None:
    """A value that is not allowed is an error that names its setting."""
    with pytest.raises(ConfigurationError, match=override.partition("=")[0]):
        Settings.load(None, [override])


@pytest.mark.parametrize("override", ["rate=1", "budget.rate", "budget=1", ".rate=1", "budget.=1"])
def test_malformed_flag(override: str) -> None:
    """A flag that is not section.key=value is refused."""
    with pytest.raises(ConfigurationError, match=r"section\.key=value"):
        Settings.load(None, [override])


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that is missing or no TOML is one clear error."""
    with pytest.raises(ConfigurationError, match="cannot read"):
        Settings.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("budget = [")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        Settings.load(tmp_path / "bad.toml")


def test_secrets_are_masked_and_passed_on() -> None:
    """A password shows in no output, and reaches the client in the clear."""
    settings = Settings.load(
        None, ["kafka.security.sasl_plain_password=hush", "kafka.security.ssl_password=hush"]
    )
    outputs = (repr(settings), str(settings), settings.model_dump_json(), toml(settings))
    assert all("hush" not in text for text in outputs)
    assert settings.kafka.security.client_options().get("sasl_plain_password") == "hush"


def test_an_error_does_not_repeat_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in the wrong place does not stand in the error."""
    for override in (
        "kafka.security.sasl_password=hush",
        "kafka.max_poll_records=hush",
        "kafka.security=hush",
    ):
        with pytest.raises(ConfigurationError) as error:
            Settings.load(None, [override])
        assert "hush" not in str(error.value)
    monkeypatch.setenv("CRAFT_KAFKA", '{"security": hush')
    with pytest.raises(ConfigurationError) as error:
        Settings.load()
    assert "hush" not in str(error.value)


def test_settings_are_frozen() -> None:
    """No setting changes after it was read."""
    settings = Settings.load()
    for section, name in (("budget", "rate"), ("learner", "clusters"), ("kafka", "group_id")):
        with pytest.raises((ValidationError, AttributeError)):
            setattr(getattr(settings, section), name, 1)


def test_parameters_are_all_there() -> None:
    """Every parameter of the engine is a setting of the same default, the budget's rate in its own section."""
    assert Settings.load().parameters() == Parameters()
    names = set(known_names())
    assert {f"learner.{field.name}" for field in fields(LearningParameters)} <= names
    selection = {f"selection.{field.name}" for field in fields(SelectionParameters)}
    assert selection - names == {"selection.rate"}
    assert Settings.load(None, ["budget.rate=0.01"]).parameters().selection.rate == 0.01


def test_shown_settings_can_be_read_back(tmp_path: Path) -> None:
    """What `config show` prints is a file that gives the same settings."""
    settings = Settings.load(
        None,
        [
            "budget.rate=0.01",
            'kafka.group_id=a "b"',
            "encoder.options.dimensions=64",
            "learner.correction_ridge=inf",
        ],
    )
    (tmp_path / "shown.toml").write_text(toml(settings))
    assert Settings.load(tmp_path / "shown.toml") == settings


def test_derived_time_outs() -> None:
    """Time-outs follow from the settings that they depend on."""
    kafka = Settings.load(None, ["kafka.session_timeout_ms=20000", "kafka.commit_interval_ms=30000"]).kafka
    assert kafka.heartbeat_interval_ms == 2_000
    assert kafka.revoke_budget_ms == 60_000
    assert kafka.transaction_timeout_ms == 300_000
