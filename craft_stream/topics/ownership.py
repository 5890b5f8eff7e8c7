"""Whose topics these are: ledger, decisions and versions of a group stand on topics of its own.

A second group on them would decide everything anew, write its decisions among those of the first, which no audit could tell
apart, and publish versions that the first decides by. So whoever joins or publishes looks first: keys of the ledger topic name
the group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from craft_stream.errors import AccessError, ConfigurationError, LogTruncatedError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader
from craft_stream.settings import KafkaSettings
from craft_stream.topics.models import ModelStore

_SHOWN = 3
_AGAIN = (
    "which decides all that the crawl topic retains once more, onto the same topics, unless offsets were copied to the group "
    "before (docs/how-to/operations.md, Target swap)"
)


def ledger_groups(reader: Reader, topic: str, wanted: str | None = None) -> set[str]:
    """Groups that a ledger topic holds ledgers of; no more is read once `wanted` is among them.

    Raises:
        AccessError: this user may not read it.
    """
    found: set[str] = set()
    for messages in _all(reader, topic):
        for message in messages:
            if message.value is not None and (group := _group(message.key)) is not None:
                found.add(group)
        if wanted in found:
            break
    return found


def check_owner(reader: Reader, kafka: KafkaSettings, store: ModelStore | None = None) -> None:
    """That topics are this group's, or nobody's yet, as far as this user may read them.

    Args:
        store: of the model topic, refreshed, where this process is going to publish versions; None: it is not.

    Raises:
        ConfigurationError: they are another's, with what to do.
    """
    own, groups = kafka.group_id, set[str]()
    with suppress(AccessError):
        groups = ledger_groups(reader, kafka.ledger_topic, own)
    if own not in groups:
        _check_free(reader, kafka, groups)
    # Without any version nobody decides by one: others have settings there only.
    others = store.groups - {own} if store is not None and store.last_number else None
    if store is not None and others and own not in store.groups:
        raise ConfigurationError(
            f"versions on {kafka.model_topic} are those of group {_named(others)}, which would decide by what {own} learns: "
            'set kafka.model_topic to a topic of its own, or learner.mode = "off" to decide by theirs'
        )


def _check_free(reader: Reader, kafka: KafkaSettings, groups: set[str]) -> None:
    """That a group without a ledger would decide among nobody's decisions; `groups` have ledgers.

    One that has committed offsets and lost its ledger is told so by its restore.
    """
    own = kafka.group_id
    if groups and not _has_committed(reader, kafka):
        raise ConfigurationError(
            f"{kafka.ledger_topic} holds the ledger of group {_named(groups)}, and none of {own}: set kafka.group_id to that, "
            f"or give {own} topics of its own (kafka.ledger_topic, .decisions_topic, .accepted_topic, .dead_letter_topic, "
            ".model_topic, .target_topic); where the other is given up for good, `craft-stream run --rebuild` (and `learn "
            f"--rebuild` where it is separate) takes them over, {_AGAIN}"
        )
    decided = kafka.guarantee == "exactly_once" and _holds_any(reader, kafka.decisions_topic)
    if decided and not _has_committed(reader, kafka):
        raise ConfigurationError(
            f"{kafka.decisions_topic} holds decisions, and {kafka.ledger_topic} no ledger of group {own} that they could be "
            "of: set kafka.decisions_topic to a topic of its own, or begin behind them with `craft-stream run --rebuild`, "
            f"{_AGAIN}"
        )


def check_group(reader: Reader, kafka: KafkaSettings) -> None:
    """That the group has decided something here.

    Raises:
        ConfigurationError: it has not; names those that have.
        AccessError: this user may not know.
    """
    groups = ledger_groups(reader, kafka.ledger_topic, kafka.group_id)
    if kafka.group_id not in groups and not _committed(reader, kafka):
        others = f"the ledger of group {_named(groups)}" if groups else "no ledger yet"
        raise ConfigurationError(
            f"there is no group {kafka.group_id} that has decided anything of {kafka.input_topic}: {kafka.ledger_topic} holds "
            f"{others} (kafka.group_id)"
        )


def _has_committed(reader: Reader, kafka: KafkaSettings) -> bool:
    try:
        return _committed(reader, kafka)
    except AccessError:  # no member of the group: a learner, or who publishes
        return False


def _committed(reader: Reader, kafka: KafkaSettings) -> bool:
    return any(reader.committed(partition) for partition in reader.partitions(kafka.input_topic))


def _holds_any(reader: Reader, topic: str) -> bool:
    try:
        return any(_all(reader, topic))
    except AccessError:  # it may be written only
        return False


def _all(reader: Reader, topic: str) -> Iterator[list[Message]]:
    for partition, (first, end) in reader.bounds(topic, reader.partitions(topic)).items():
        try:
            yield from (list(messages) for messages in reader.read(topic, partition, first, end))
        except LogTruncatedError:
            continue  # deleted meanwhile


def _group(key: bytes | None) -> str | None:
    """Of a key group/topic/partition/kind/number: a group's name may hold strokes, a topic's cannot."""
    parts = (key or b"").decode("utf-8", "replace").rsplit("/", 4)
    return parts[0] if len(parts) == 5 else None


def _named(groups: set[str]) -> str:
    names = sorted(groups)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
