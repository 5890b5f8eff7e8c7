"""Topics: what they must be like, what there is, and making them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as client_errors
from kafka.admin import ConfigResource, ConfigResourceType

from connectors.kafka.clients import SafeClient, common, explain, first_contact, unreached
from craft_stream.errors import AccessError, ConfigurationError
from craft_stream.settings import KafkaSettings, RecordSettings

DAY_MS = 86_400_000
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}


def progress_topic(topic: str) -> str:
    """Name of the compacted topic with the marks of what was published to a topic."""
    return f"{topic}.progress"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a topic must be like.

    Attributes:
        role: what it is for, as the setting is called.
        name: of the topic.
        partitions: how many it needs at least.
        configs: its settings when it is made.
        required: those without which records would be lost or the topic would grow for ever.
    """

    role: str
    name: str
    partitions: int
    configs: Mapping[str, str]
    required: Mapping[str, str]


def plans(kafka: KafkaSettings, fields: RecordSettings, partitions: int) -> list[TopicPlan]:
    """All topics of a configuration, for an input topic with so many partitions."""
    compact = {"cleanup.policy": "compact"}
    largest = {"max.message.bytes": str(fields.max_bytes + (64 << 10))}  # headers included
    ledger = {**COMPACTED, "segment.bytes": str(16 << 20), "max.compaction.lag.ms": str(DAY_MS // 24)}
    return [
        TopicPlan("input_topic", kafka.input_topic, partitions, {}, {}),
        TopicPlan("target_topic", kafka.target_topic, 1, COMPACTED, compact),
        TopicPlan("accepted_topic", kafka.accepted_topic, partitions, {"retention.ms": "-1", **largest}, {}),
        TopicPlan(
            "decisions_topic", kafka.decisions_topic, partitions, {"retention.ms": str(30 * DAY_MS)}, {}
        ),
        TopicPlan(
            "dead_letter_topic", kafka.dead_letter_topic, partitions, {"retention.ms": str(30 * DAY_MS)}, {}
        ),
        TopicPlan(
            "model_topic", kafka.model_topic, 2, {**COMPACTED, "segment.bytes": str(128 << 20)}, compact
        ),
        TopicPlan("ledger_topic", kafka.ledger_topic, partitions, ledger, compact),
    ]


class Admin:
    """Asks and changes brokers."""

    def __init__(self, settings: KafkaSettings, client: Any) -> None:
        self._settings = settings
        self._client = client

    def cluster(self) -> dict[str, Any]:
        """Identity and brokers of the cluster."""
        return dict(self._client.describe_cluster())

    def partitions(self) -> dict[str, int]:
        """Every topic that may be seen, and how many partitions it has."""
        return {
            topic["name"]: len(topic["partitions"])
            for topic in self._client.describe_topics()
            if not topic["error_code"]
        }

    def allowed(self, names: list[str]) -> dict[str, frozenset[str] | None]:
        """By topic what this user may do, None where the broker does not tell; missing topics are left out."""
        found: dict[str, frozenset[str] | None] = {}
        for topic in self._client.describe_topics(names):
            if topic["error_code"] == client_errors.TopicAuthorizationFailedError.errno:
                found[topic["name"]] = frozenset()
            elif not topic["error_code"]:
                operations = topic.get("authorized_operations")
                found[topic["name"]] = frozenset(operations) if operations else None
        return found

    def allowed_group(self, group: str) -> frozenset[str] | None:
        """Operations that this user is allowed on a group; None where the broker does not tell."""
        try:
            described = self._client.describe_groups([group])[group]
            if "Authorization" in str(described["error"]):
                return frozenset()
            operations = described.get("authorized_operations")
        except client_errors.AuthorizationError:
            return frozenset()
        except client_errors.KafkaError:
            return None
        return frozenset(operations) if operations else None

    def configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Settings in force of topics."""
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = self._client.describe_configs(resources, config_filter="all")
        topics = found.get("topic", {})
        return {
            name: {key: str(value.get("value")) for key, value in configs.items()}
            for name, configs in topics.items()
        }

    def create(self, plans_: list[TopicPlan], replication: int) -> None:
        """Make topics.

        Raises:
            ConfigurationError, AccessError: one could not be made.
        """
        wanted = {
            plan.name: {
                "num_partitions": plan.partitions,
                "replication_factor": replication,
                "configs": dict(plan.configs),
            }
            for plan in plans_
        }
        answer = self._client.create_topics(wanted, raise_errors=False)
        for topic in answer["topics"]:
            error = client_errors.for_code(topic["error_code"])
            if issubclass(error, client_errors.AuthorizationError):
                raise AccessError(f"this user lacks Create on topic {topic['name']} (or on the cluster)")
            if error not in (client_errors.NoError, client_errors.TopicAlreadyExistsError):
                reason = topic.get("error_message") or error.__name__
                raise ConfigurationError(f"topic {topic['name']} could not be made: {reason}")
        self._client.wait_for_topics(list(wanted), timeout_ms=30_000)

    def widen(self, sizes: Mapping[str, int]) -> None:
        """Add partitions to topics, by name the number that each is to have.

        Raises:
            ConfigurationError: the brokers do not allow it.
        """
        answer = self._client.create_partitions(dict(sizes), raise_errors=False)
        for topic in answer.results:
            error = client_errors.for_code(topic.error_code)
            # Another worker may have been faster.
            if error not in (client_errors.NoError, client_errors.InvalidPartitionsError):
                raise ConfigurationError(
                    f"partitions could not be added to {topic.name}: {topic.error_message or error.__name__}"
                )


@contextmanager
def connect(settings: KafkaSettings) -> Iterator[Admin]:
    """An Admin, closed afterwards; the client's errors become ours."""
    first_contact(settings)
    try:
        client = KafkaAdminClient(**common(settings), kafka_client=SafeClient, request_timeout_ms=15_000)
    except client_errors.KafkaError as error:
        raise unreached(error, settings) from error
    try:
        yield Admin(settings, client)
    except client_errors.KafkaError as error:
        raise explain(error, settings) from error
    finally:
        client.close()


def check(
    admin: Admin, kafka: KafkaSettings, fields: RecordSettings, roles: Collection[str] | None = None
) -> None:
    """That topics are there and fit to run on.

    Args:
        roles: which, as the settings are called; None: all.

    Raises:
        ConfigurationError: with the command to type.
    """
    present = admin.partitions()
    partitions = present.get(kafka.input_topic, 1)
    wanted = [plan for plan in plans(kafka, fields, partitions) if roles is None or plan.role in roles]
    missing = [plan.name for plan in wanted if plan.name not in present]
    if missing:
        raise ConfigurationError(
            f"topics are missing: {', '.join(missing)}; `craft-stream topics create` with the same --config makes them"
        )
    needed = {"ledger_topic", "model_topic"}
    small = [plan for plan in wanted if plan.role in needed and present[plan.name] < plan.partitions]
    if small:
        raise ConfigurationError(
            "; ".join(
                f"{plan.name} has {present[plan.name]} partitions and needs {plan.partitions}"
                for plan in small
            )
            + ": `craft-stream topics create` with the same --config adds partitions; what they hold stays"
        )
    configs = admin.configs([plan.name for plan in wanted if plan.required])
    wrong = [
        f"{plan.name} has {key} = {configs[plan.name].get(key)}, not {value}"
        for plan in wanted
        for key, value in plan.required.items()
        if plan.name in configs and value not in configs[plan.name].get(key, "").split(",")
    ]
    if wrong:
        raise ConfigurationError(
            f"{'; '.join(wrong)}: alter the topics, what they hold would be deleted by age"
        )
