"""The tables of the TOML file, each a frozen model whose docstrings are the documentation of its keys."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from craft_stream.errors import ConfigurationError
from craft_stream.parameters import LearningParameters, SelectionRules

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"]
Policy = Literal["fail", "skip", "dead-letter"]
# The one in force, the next, one for a worker that lags, one for a rollback.
LEAST_VERSIONS = 4
_LEAST_KEY = 16
Option = str | int | float | bool


def _split(value: Any) -> Any:
    """Names in one text (environment, flags), separated by commas or as a TOML list, as a list of them."""
    if not isinstance(value, str):
        return value
    return _scalar(value) if value.startswith("[") else tuple(filter(None, map(str.strip, value.split(","))))


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
ScoreField = Literal["score", "domain", "quality", "cluster", "reason"]


class Section(BaseModel):
    """One table of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SecuritySettings(Section):
    """How to reach a broker that asks for TLS or a login; but for tokens, the names and meanings are kafka-python's."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"""
    sasl_mechanism: Mechanism | None = None
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
    sasl_oauth_token_command: str | None = None
    """command that prints a token for OAUTHBEARER; asked again before the token ends"""
    sasl_oauth_token_url: str | None = None
    """token endpoint of an OIDC provider, asked with client credentials"""
    sasl_oauth_client_id: str | None = None
    """client at that provider"""
    sasl_oauth_client_secret: SecretStr | None = None
    """its secret"""
    sasl_oauth_scope: str | None = None
    """scope of the token"""
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        mechanism = self.sasl_mechanism
        if self.uses_sasl and mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} needs a sasl_mechanism")
        if mechanism is not None and not self.uses_sasl:
            raise ValueError(
                f"sasl_mechanism has no effect with security_protocol {self.security_protocol}: "
                "set SASL_SSL or SASL_PLAINTEXT"
            )
        if mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512") and not (
            self.sasl_plain_username and self.sasl_plain_password
        ):
            raise ValueError(f"{mechanism} needs sasl_plain_username and sasl_plain_password")
        if mechanism == "OAUTHBEARER" and not (
            self.sasl_oauth_token_command or (self.sasl_oauth_token_url and self.sasl_oauth_client_id)
        ):
            raise ValueError(
                "OAUTHBEARER needs sasl_oauth_token_command, or sasl_oauth_token_url and sasl_oauth_client_id"
            )
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether the brokers ask for a login."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def client_options(self) -> dict[str, Any]:
        """What is set, as keyword arguments of kafka-python's clients, tokens apart; secrets in the clear."""
        options = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if not name.startswith("sasl_oauth_")
        }
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
    max_poll_records: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
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
    url_fields: Names = ("url", "src_url", "tgt_url")
    """names of fields with URLs, whose hosts `selection.takedown` may list"""
    signals: Names = ()
    """names of fields with numbers that others have judged the pair by, such as `bicleaner`: what they are worth is learned"""
    computed_signals: Names = ()
    """the same computed: entry points of the group `craft_stream.signals`, options behind a question mark"""
    score_fields: Annotated[tuple[ScoreField, ...], BeforeValidator(_split)] = get_args(ScoreField)
    """what `select --scores` and `score` add to records; fields of the same names are kept as `NAME_`"""
    max_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 26)] = 1 << 20
    """largest record; a larger one is dead-lettered"""


class BudgetSettings(Section):
    """How much to accept."""

    rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    """share of the stream's pairs to accept; records that hold none do not count"""
    count: Annotated[int | None, Field(ge=1)] = None
    """number of pairs to accept from files, in place of the rate"""


class LedgerSettings(Section):
    """What is kept so that decisions can be audited after the log's start is gone."""

    retained_snapshots: Annotated[int, Field(ge=0, le=1_000)] = 16
    """snapshots of each partition's ledger from which an audit can begin; 0: none, audits begin where the group began"""
    retained_snapshot_hours: Annotated[float, Field(gt=0)] = 12.0
    """least time between them; times their number this should be more than the input topic's retention"""


class ModelsSettings(Section):
    """Who may say by which versions is decided."""

    key: SecretStr | None = None
    """a secret of at least 16 characters: versions and pins are signed with it, and others are passed over"""
    key_file: str | None = None
    """a file that holds it"""

    def signing_key(self) -> bytes | None:
        """The key, wherever it is.

        Raises:
            ConfigurationError: the file cannot be read, there are two, or it is too short to keep anything secret.
        """
        if self.key is not None and self.key_file is not None:
            raise ConfigurationError("models.key and models.key_file are both set: leave one")
        if self.key_file is not None:
            try:
                key = Path(self.key_file).read_bytes().strip()
            except OSError as error:
                raise ConfigurationError(
                    f"cannot read models.key_file {self.key_file}: {error.strerror}"
                ) from None
        elif self.key is not None:
            key = self.key.get_secret_value().encode()
        else:
            return None
        if len(key) < _LEAST_KEY:
            raise ConfigurationError(
                f"models.key has {len(key)} characters: at least {_LEAST_KEY} are needed"
            )
        return key


class DecisionsSettings(Section):
    """Which decisions are written down."""

    rejected_sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """share of the rejected that is written to the decisions topic; the accepted always are"""


@dataclass(frozen=True, slots=True)
class LearnerSettings(LearningParameters):
    """The learner: `craft_stream.parameters.LearningParameters`, and where it runs.

    Attributes:
        mode: "embedded" (in the worker), "separate" (`craft-stream learn`) or "off" (a pinned version).
        keep_versions: newest versions kept on the model topic; older ones go once no ledger, pin or audit can need
            them; 0 keeps all.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    mode: Literal["embedded", "separate", "off"] = "embedded"
    keep_versions: int = 50

    def __post_init__(self) -> None:
        LearningParameters.__post_init__(self)
        if self.keep_versions < 0 or 0 < self.keep_versions < LEAST_VERSIONS:
            raise ConfigurationError(f"learner.keep_versions must be 0 or at least {LEAST_VERSIONS}")


@dataclass(frozen=True, slots=True)
class SelectionSettings(SelectionRules):
    """The selector: `craft_stream.parameters.SelectionRules`, and the lists of what must not be accepted.

    Attributes:
        decontaminate: files of test sets; a pair is rejected if a side equals one of their lines or shares 13 words in a
            row with one.
        takedown: files of ids, hosts and texts that must not be accepted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    decontaminate: Names = ()
    takedown: Names = ()


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
    """`hashing`, `universal-sentence-encoder`, `sentence-transformers`, or the name of an entry point"""
    options: Annotated[dict[str, Option], BeforeValidator(_typed)] = {}
    """passed to the encoder"""


class ObserveSettings(Section):
    """Metrics and health over HTTP; logs."""

    host: str = "127.0.0.1"
    """address to listen on; loopback unless you say otherwise"""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """port; 0 takes a free one"""
    page: Literal["loopback", "everyone"] = "loopback"
    """who may see the page at `/`, which shows pairs: this machine and tunnels to it, or whoever reaches the port"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """least level of a log line: `debug` (with what the Kafka client says), `info`, `warning` or `error`"""
    log_format: Literal["text", "json"] = "text"
    """`text`, or `json`: an object a line"""


class PolicySettings(Section):
    """What to do with a record that a stage cannot handle."""

    decode: Policy = "dead-letter"
    """not a pair: `fail`, `skip` or `dead-letter`"""
    embed: Policy = "fail"
    """the encoder failed on it"""
    decide: Policy = "fail"
    """the selector failed on it"""

    def of(self, stage: str) -> Policy:
        """The policy of a stage, by its name."""
        policy: Policy = getattr(self, stage)
        return policy


class ErrorsSettings(Section):
    """Error policies and the circuit breaker."""

    policies: PolicySettings = PolicySettings()
    """one policy for each stage"""
    dead_letter_limit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """share of undecidable records above which the work stops"""
    dead_letter_window: Annotated[int, Field(ge=1)] = 10_000
    """records over which a consumer measures that share"""
