"""Settings: flags > environment > TOML > defaults, frozen, and strict about names.

`Settings.load("craft.toml", ["budget.rate=0.01"])` reads them. In the environment a setting is `CRAFT_`, its
section, two underscores and its name: `CRAFT_KAFKA__BOOTSTRAP_SERVERS`. A name that does not exist is an
error that gives the nearest one that does.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from dataclasses import replace as _replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from craft_stream.errors import ConfigurationError
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters

ENVIRONMENT_PREFIX = "CRAFT_"
NESTING = "__"

Policy = Literal["fail", "skip", "dead-letter"]
Option = str | int | float | bool


class Section(BaseModel):
    """One table of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SecuritySettings(Section):
    """How to reach a broker that asks for TLS or a login; the names and meanings are kafka-python's."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"""
    sasl_mechanism: str | None = None
    """`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `GSSAPI` or `OAUTHBEARER`"""
    sasl_plain_username: str | None = None
    """user of PLAIN and SCRAM"""
    sasl_plain_password: SecretStr | None = None
    """password of PLAIN and SCRAM"""
    sasl_kerberos_name: str | None = None
    """principal, where it is not the default one"""
    sasl_kerberos_service_name: str | None = None
    """service name of the brokers"""
    sasl_kerberos_domain_name: str | None = None
    """domain of the brokers"""
    ssl_cafile: str | None = None
    """PEM file with the authority's certificate"""
    ssl_certfile: str | None = None
    """PEM file with the client's certificate"""
    ssl_keyfile: str | None = None
    """PEM file with the client's key"""
    ssl_password: SecretStr | None = None
    """password of the key"""
    ssl_crlfile: str | None = None
    """PEM file with revoked certificates"""
    ssl_ciphers: str | None = None
    """ciphers allowed, in OpenSSL's notation"""
    ssl_check_hostname: bool = True
    """whether the broker's certificate must name its host"""

    def client_options(self) -> dict[str, Any]:
        """What is set, as keyword arguments of kafka-python's clients; secrets in the clear."""
        options = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in options.items()
            if value is not None
        }


class KafkaSettings(Section):
    """Brokers, topics and the consumer group."""

    bootstrap_servers: str = "localhost:9092"
    """brokers to ask first, `host:port`, separated by commas"""
    group_id: str = "craft"
    """consumer group; also the prefix of the transactional ids"""
    instance_id: str | None = None
    """a name that survives restarts (static membership); unset: a member is new each time"""
    input_topic: str = "crawl.pairs"
    """crawled pairs"""
    target_topic: str = "craft.target"
    """pairs that describe the domain; compacted"""
    accepted_topic: str = "craft.accepted"
    """accepted records, their bytes unchanged"""
    decisions_topic: str = "craft.decisions"
    """decisions with their reasons"""
    dead_letter_topic: str = "craft.dead-letters"
    """records that could not be decided, with the error"""
    model_topic: str = "craft.model"
    """versions of the Model"""
    ledger_topic: str = "craft.ledger"
    """what each partition has done; compacted"""
    guarantee: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """`exactly_once` or `at_least_once`"""
    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 1_000
    """longest time between transactions"""
    max_poll_records: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """most records of a transaction"""
    max_poll_interval_ms: Annotated[int, Field(ge=10_000)] = 300_000
    """longest time between polls before the group takes the partitions away"""
    session_timeout_ms: Annotated[int, Field(ge=6_000)] = 10_000
    """silence after which the group counts a member as dead; the brokers' minimum is usually 6,000"""
    unavailable_seconds: Annotated[float, Field(gt=0)] = 120.0
    """without any broker for so long, the worker exits and its supervisor restarts it"""
    security: SecuritySettings = SecuritySettings()
    """TLS and login"""

    @property
    def heartbeat_interval_ms(self) -> int:
        """A tenth of the session; a rebalance is noticed within one (measured: 0.2-3 s)."""
        return max(500, self.session_timeout_ms // 10)

    @property
    def revoke_budget_ms(self) -> int:
        """Time to finish and commit when partitions are taken away: a fifth of the poll interval."""
        return self.max_poll_interval_ms // 5

    @property
    def transaction_timeout_ms(self) -> int:
        """Ten commit intervals, at least 20 s (a leader's election) and below the brokers' usual maximum of 15 min.

        What a dead member left open holds up its successor for so long; a transaction itself takes milliseconds.
        """
        return min(max(20_000, 10 * self.commit_interval_ms), 900_000)


class RecordSettings(Section):
    """Where the two sides and the id stand in a record."""

    source_field: Annotated[str, Field(min_length=1)] = "src"
    """name of the source side"""
    target_field: Annotated[str, Field(min_length=1)] = "tgt"
    """name of the target side"""
    id_field: str = "id"
    """name of the id; a record without one is known by topic, partition and offset"""
    max_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 26)] = 1 << 20
    """largest record; a larger one is dead-lettered"""


class BudgetSettings(Section):
    """How much to accept."""

    rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    """share of what comes in"""
    count: Annotated[int | None, Field(ge=1)] = None
    """pairs, of a file whose length is known; it sets the rate"""


class DecisionsSettings(Section):
    """Which decisions are written down."""

    rejected_sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """share of the rejected that is written to the decisions topic; the accepted always are"""


@dataclass(frozen=True, slots=True)
class LearnerSettings(LearningParameters):
    """The learner: `craft_stream.parameters.LearningParameters`, and where it runs.

    Attributes:
        mode: "embedded" (in the worker), "separate" (`craft-stream learn`) or "off" (a pinned version).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    mode: Literal["embedded", "separate", "off"] = "embedded"


@dataclass(frozen=True, slots=True)
class SelectionSettings(SelectionParameters):
    """The selector: `craft_stream.parameters.SelectionParameters`, its rate taken from `[budget]`."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def _typed(options: Any) -> Any:
    """Options that came as text (environment, flags) as the TOML values that they spell, else as they are."""
    if not isinstance(options, Mapping):
        return options
    return {name: _scalar(value) if isinstance(value, str) else value for name, value in options.items()}


def _scalar(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class EncoderSettings(Section):
    """What turns a text into a vector."""

    kind: str = "hashing"
    """`hashing`, `sentence-transformers`, or the name of an entry point"""
    options: Annotated[dict[str, Option], BeforeValidator(_typed)] = {}
    """passed to the encoder"""


class ObserveSettings(Section):
    """Metrics and health over HTTP."""

    host: str = "127.0.0.1"
    """address to listen on; loopback unless you say otherwise"""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """port; 0 takes a free one"""


class PolicySettings(Section):
    """What to do with a record that a stage cannot handle."""

    decode: Policy = "dead-letter"
    """not a pair: `fail`, `skip` or `dead-letter`"""
    embed: Policy = "fail"
    """the encoder failed"""
    decide: Policy = "fail"
    """the selector failed"""
    produce: Policy = "fail"
    """a record could not be written"""


class ErrorsSettings(Section):
    """Error policies and the circuit breaker."""

    policies: PolicySettings = PolicySettings()
    """one policy for each stage"""
    dead_letter_limit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """share of undecidable records above which the work stops"""
    dead_letter_window: Annotated[int, Field(ge=1)] = 10_000
    """records over which a consumer measures that share"""


class Settings(BaseSettings):
    """All settings of a process.

    `Settings(...)` takes only what it is given; `Settings.load` reads environment and file as well.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTING,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # an input may be a secret
    )

    kafka: KafkaSettings = KafkaSettings()
    record: RecordSettings = RecordSettings()
    budget: BudgetSettings = BudgetSettings()
    decisions: DecisionsSettings = DecisionsSettings()
    learner: LearnerSettings = LearnerSettings()
    selection: SelectionSettings = SelectionSettings()
    encoder: EncoderSettings = EncoderSettings()
    observe: ObserveSettings = ObserveSettings()
    errors: ErrorsSettings = ErrorsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: `load` merges the rest, so that one place holds the order of precedence."""
        return (init_settings,)

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Read settings: `overrides` ("section.key=value") over environment over TOML file over defaults.

        Raises:
            ConfigurationError: the file cannot be read, a name is unknown, or a value is not allowed.
        """
        merged: dict[str, Any] = {}
        for layer in (
            _read_toml(path) if path is not None else {},
            _read_environment(cls),
            _read_flags(overrides),
        ):
            _merge(merged, layer)
        if "rate" in (merged.get("selection") or {}):
            raise ConfigurationError("selection.rate: the share to accept is budget.rate")
        try:
            return cls(**merged)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from None

    def parameters(self) -> Parameters:
        """What the engine decides by; its digest goes into every Model and Ledger."""
        learning = {field.name: getattr(self.learner, field.name) for field in fields(LearningParameters)}
        selection = {field.name: getattr(self.selection, field.name) for field in fields(SelectionParameters)}
        return Parameters(
            LearningParameters(**learning), _replace(SelectionParameters(**selection), rate=self.budget.rate)
        )


@dataclass(frozen=True, slots=True)
class Description:
    """One setting.

    Attributes:
        name: `section.key`.
        default: None: not set.
        text: what it is.
    """

    name: str
    default: Any
    text: str


def describe() -> list[Description]:
    """Every setting, in order."""
    return [found for name in Settings.model_fields for found in _describe(name, getattr(Settings(), name))]


def known_names() -> list[str]:
    """The name of every setting."""
    return [setting.name for setting in describe()]


def _describe(prefix: str, section: Any) -> list[Description]:
    if isinstance(section, BaseModel):
        texts = {name: field.description or "" for name, field in type(section).model_fields.items()}
    else:
        texts = {field.name: _attribute_text(type(section), field.name) for field in fields(section)}
    found = []
    for key, text in texts.items():
        name, default = f"{prefix}.{key}", getattr(section, key)
        if isinstance(default, BaseModel):
            found.extend(_describe(name, default))
        elif name != "selection.rate":  # it is budget.rate
            found.append(Description(name, default, text))
    return found


def _attribute_text(owner: type, name: str) -> str:
    """What the docstring of a class, or of one that it inherits from, says of an attribute."""
    for kind in owner.__mro__:
        doc = inspect.cleandoc(kind.__doc__ or "")
        if match := re.search(rf"^    {name}: (.*(?:\n {{8}}.*)*)", doc, re.MULTILINE):
            return " ".join(match[1].split()).removesuffix(".")
    return ""


def _read_toml(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None


def _read_environment(cls: type[BaseSettings]) -> dict[str, Any]:
    for name in os.environ:
        section, nested, _ = name.removeprefix(ENVIRONMENT_PREFIX).partition(NESTING)
        if name.startswith(ENVIRONMENT_PREFIX) and nested and section.lower() not in cls.model_fields:
            wrong = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace(NESTING, ".")
            raise ConfigurationError(f"environment {name}: {_unknown(wrong)}")
    try:
        return EnvSettingsSource(cls)()
    except SettingsError as error:
        raise ConfigurationError(f"environment: {error}") from None


def _read_flags(overrides: Iterable[str]) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        path = key.strip().split(".")
        if not equals or len(path) < 2 or not all(path):
            raise ConfigurationError(f'"{key.strip()}" was not given as section.key=value')
        nested: Any = value.strip()
        for name in reversed(path):
            nested = {name: nested}
        _merge(flags, nested)
    return flags


def _merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            inner = dict(base[key]) if isinstance(base.get(key), Mapping) else {}
            _merge(inner, value)
            base[key] = inner
        else:
            base[key] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        lines.append(_unknown(name) if unknown else f"{name}: {problem['msg']}")
    return "; ".join(lines)


def _unknown(name: str) -> str:
    known = known_names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    if "." not in name:
        sections = list(Settings.model_fields)
        near = difflib.get_close_matches(name, sections, n=1, cutoff=0.0)
    return f'unknown setting "{name}"; the nearest known one is "{near[0]}"'
