"""Which versions of the Model nothing can need any more.

Needed are: the newest so many, the pinned one, and for each partition that decided with versions of this topic those
that were in force at any offset that its log still holds, the one in force now included. Whatever group a partition
belongs to: a shadow group that decides with another group's versions keeps them, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from craft_stream.ports.transport import Reader
from craft_stream.topics.models import ModelStore


def unused(store: ModelStore, reader: Reader, keep: int, retained: bool = True) -> list[int]:
    """Versions that may go, the oldest first.

    Args:
        store: refreshed.
        reader: of the logs.
        keep: the newest so many stay.
        retained: whether audits of what the logs still hold must remain possible.
    """
    old = sorted(store.manifests)[:-keep]
    if not old:
        return []
    needed = {store.pinned}
    for prefix, uses in store.uses.items():
        needed |= in_force(uses, _first_offset(reader, prefix) if retained else max(uses.values(), default=0))
    return [version for version in old if version not in needed]


def in_force(uses: Mapping[int, int], first: int) -> set[int]:
    """Versions in force at `first` or later, from the offset from which each was in force for the last time."""
    at_first = max((offset for offset in uses.values() if offset <= first), default=0)
    return {version for version, offset in uses.items() if offset >= at_first}


def _first_offset(reader: Reader, prefix: str) -> int:
    """Where the log of `group/topic/partition` begins; 0, so that all is needed, when it cannot be told."""
    _, topic, partition = prefix.rsplit("/", 2)
    if int(partition) not in reader.partitions(topic):
        return 0
    return reader.bounds(topic, [int(partition)])[int(partition)][0]
