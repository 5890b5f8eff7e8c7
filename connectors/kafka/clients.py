"""kafka-python's clients, made safe: one place for every option that its defaults get wrong for us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as client_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.compat import KafkaNetClient

from connectors.kafka.diagnosis import check_mechanism, reach, servers
from connectors.kafka.fetched import deliver_messages
from connectors.kafka.oauth import token_provider
from connectors.kafka.tls import tls_context
from connectors.kafka.wire import refused
from craft_stream.errors import AccessError, ConfigurationError, CraftError, UnavailableError
from craft_stream.settings import KafkaSettings, SecuritySettings

RECONNECT_MS = (
    2_000  # 30 s, the default, would be a third of the time in which a broker's return must be noticed
)
METADATA_MS = 10_000  # topics that grow, or were made anew, are noticed within this; 5 minutes by default
FETCH_BYTES = 8 << 20  # of one partition in one answer; 50 MB over all partitions is the client's own bound
# A reader knows where it ends, so nothing is gained by waiting for more. Where it has read nothing but marks of transactions
# the client asks once more and waits that out: half a second (its default) for each of 60 new ledgers.
READER_WAIT_MS = 20
REQUEST_BYTES = 65 << 20  # above the largest `record.max_bytes`, so that any record fits with its headers


class SafeClient(KafkaNetClient):  # type: ignore[misc]
    """A client whose producer cannot hang.

    kafka-python 3.0.12 drops a transactional request that it has dequeued when `await_ready` raises, and
    whoever asked waits for ever: seen whenever the coordinator's broker dies. False takes the path that tries
    again.
    """

    def await_ready(self, node_id: int, timeout_ms: float = 30_000) -> bool:
        """As the parent does, but False where it raises."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except client_errors.KafkaError:
            return False

    def topic_id(self, topic: str) -> str:
        """What tells a topic from one of its name that was made anew, as the newest metadata have it; empty: not known."""
        found = self.cluster.topic_id(topic)
        return str(found) if found is not None and found.int else ""

    def reachable(self) -> bool:
        """Whether a connection to any broker is open."""
        return any(self.connected(broker.node_id) for broker in self.cluster.brokers())


def common(settings: KafkaSettings) -> dict[str, Any]:
    """What every client gets: addresses and security."""
    return {
        "bootstrap_servers": servers(settings),
        "client_id": f"craft-stream-{settings.instance_id or settings.group_id}",
        "reconnect_backoff_max_ms": RECONNECT_MS,
        "bootstrap_timeout_ms": 10_000,
        "metadata_max_age_ms": METADATA_MS,
        **_security(settings),
    }


def _security(settings: KafkaSettings) -> dict[str, Any]:
    """TLS and login: the client's own context would ask the terminal for a key's password, and knows no ciphers."""
    security = settings.security
    options = {name: v for name, v in security.client_options().items() if not name.startswith("ssl_")}
    if security.uses_tls:
        options["ssl_context"] = tls_context(security)
    if (provider := token_provider(security)) is not None:
        options["sasl_oauth_token_provider"] = provider
    check_mechanism(settings)
    return options


def first_contact(settings: KafkaSettings) -> None:
    """That brokers let us in, asked once in a process, before a client tries for ten seconds and tells no cause.

    Raises:
        ConfigurationError, AccessError, UnavailableError: they do not, and why.
    """
    met = (settings.bootstrap_servers, settings.security)
    if met not in _MET:
        reach(settings)
        _MET.append(met)


_MET: list[tuple[str, SecuritySettings]] = []


def explain(error: client_errors.KafkaError, settings: KafkaSettings) -> CraftError:
    """The client's error as one of ours, with what to do next."""
    name = type(error).__name__
    if isinstance(error, client_errors.SaslAuthenticationFailedError):
        return refused(settings.bootstrap_servers, settings, str(error))
    if isinstance(error, client_errors.AuthorizationError):
        return denied(error, settings)
    if isinstance(error, client_errors.FencedInstanceIdError):
        return ConfigurationError(
            f"another worker runs with kafka.instance_id = {settings.instance_id!r}: give each worker its own"
        )
    if isinstance(error, client_errors.KafkaConfigurationError):
        return ConfigurationError(f"kafka: {error}")
    return UnavailableError(
        f"no broker of {settings.bootstrap_servers} answers as it should ({name}: {error})"
    )


def denied(error: BaseException, settings: KafkaSettings) -> AccessError:
    """A right that is missing."""
    if isinstance(error, client_errors.TransactionalIdAuthorizationFailedError):
        what = "Write and Describe on its transactional ids, which begin with craft-"
    elif isinstance(error, client_errors.GroupAuthorizationFailedError):
        what = f"a right on group {settings.group_id} (Read where it consumes, else Describe)"
    else:
        what = f"a right ({error}): `craft-stream doctor` says which"
    return AccessError(f"the broker denies it: this user lacks {what}")


def unreached(error: client_errors.KafkaError, settings: KafkaSettings) -> CraftError:
    """Why a client could not be made: what the brokers say when asked step by step, else what the client says."""
    found = explain(error, settings)
    if isinstance(found, UnavailableError):
        try:
            reach(settings)
        except CraftError as cause:
            return cause
    return found


def consumer(settings: KafkaSettings, **options: Any) -> Any:
    """A consumer that reads what is committed, commits nothing by itself and guesses no offset.

    Raises:
        UnavailableError, AccessError, ConfigurationError: no broker can be reached, or none wants us.
    """
    first_contact(settings)
    try:
        return KafkaConsumer(
            **{
                **common(settings),
                "group_id": settings.group_id,
                "isolation_level": "read_committed",
                "enable_auto_commit": False,
                "auto_offset_reset": "none",
                "allow_auto_create_topics": False,
                "max_partition_fetch_bytes": FETCH_BYTES,
                "metrics_enabled": False,
                "kafka_client": SafeClient,
                **options,
            }
        )
    except client_errors.KafkaError as error:
        raise unreached(error, settings) from error


def reader(settings: KafkaSettings, client: Callable[..., SafeClient]) -> Any:
    """A consumer without a group, for which no right on one is needed, that delivers Messages."""
    name = f"craft-stream-reader-{settings.group_id}"
    made = consumer(
        settings, client_id=name, group_id=None, fetch_max_wait_ms=READER_WAIT_MS, kafka_client=client
    )
    return deliver_messages(made)


def member(settings: KafkaSettings, client: Callable[..., SafeClient]) -> Any:
    """A consumer that is a member of the group and delivers Messages."""
    made = consumer(
        settings,
        group_instance_id=settings.instance_id,
        partition_assignment_strategy=[CooperativeStickyAssignor],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        fetch_max_wait_ms=200,
        kafka_client=client,
    )
    return deliver_messages(made)


def producer(settings: KafkaSettings, **options: Any) -> Any:
    """An idempotent producer; transactional with `transactional_id`.

    Raises:
        UnavailableError, AccessError, ConfigurationError: no broker can be reached, or none wants us.
    """
    first_contact(settings)
    try:
        return KafkaProducer(
            **{
                **common(settings),
                "linger_ms": 20,
                "batch_size": 256 << 10,  # 16 kB, the default, halves the throughput
                "compression_type": "lz4",
                "max_request_size": REQUEST_BYTES,
                "delivery_timeout_ms": 60_000,
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
                "kafka_client": SafeClient,
                **options,
            }
        )
    except client_errors.KafkaError as error:
        raise unreached(error, settings) from error
