"""What a target topic holds by now: pairs, or texts of one side; a mix of them describes nothing that could be learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from craft_stream.errors import ConfigurationError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader
from craft_stream.reading.records import Refusal, examine_described
from craft_stream.settings import RecordSettings

PAIRS = "pairs"
_NAMES = {PAIRS: ("pair", "pairs")} | {
    side: (f"text of the {side} side", f"texts of the {side} side") for side in ("source", "target")
}


class TargetContents:
    """Of each id what stands under it, and where.

    A tombstone counts in its own partition alone, as does a record that replaces another; and a partition depends on the client
    that wrote the record and on how many there were then, so that an id may even stand in two.
    """

    def __init__(self) -> None:
        # By id the kind ("pairs", "source" or "target") of what stands under each key, by partition.
        self._held: dict[str, dict[tuple[bytes, int], str]] = {}

    @classmethod
    def read(cls, reader: Reader, topic: str, fields: RecordSettings) -> TargetContents:
        """Those of a topic, now.

        Raises:
            ConfigurationError: there is no such topic.
        """
        contents = cls()
        partitions = reader.partitions(topic)
        if not partitions:
            raise ConfigurationError(f"there is no topic {topic}: type `craft-stream topics create`")
        for partition, (first, end) in reader.bounds(topic, partitions).items():
            for messages in reader.read(topic, partition, first, end):
                for message in messages:
                    contents._note(partition, message, fields)
        return contents

    def _note(self, partition: int, message: Message, fields: RecordSettings) -> None:
        key = message.key or b""
        identifier = key.decode("utf-8", "replace")
        if message.value is None:
            held = self._held.get(identifier, {})
            held.pop((key, partition), None)
            if not held:
                self._held.pop(identifier, None)
            return
        found = examine_described(message, fields)
        if isinstance(found, Refusal):
            return  # the learner passes it over, too
        kind = PAIRS if found.source and found.target else "source" if found.source else "target"
        self._held.setdefault(identifier or found.id, {})[key, partition] = kind

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        """The ids."""
        return iter(self._held)

    def places(self, identifier: str) -> list[tuple[bytes, int | None]]:
        """Keys and partitions to which a record goes that replaces or withdraws what stands under an id.

        Wherever it stands; where it does not, in the partition of its key (None).
        """
        found: list[tuple[bytes, int | None]] = [
            place for place in self._held.get(identifier, {}) if place[0]
        ]
        return found or [(identifier.encode(), None)]

    @property
    def _counts(self) -> Counter[str]:
        """Ids of each kind."""
        return Counter(kind for held in self._held.values() for kind in set(held.values()))

    @property
    def mixed(self) -> bool:
        """Whether nothing can be learned from it, as it is not all of one kind."""
        return len(self._counts) > 1

    def __str__(self) -> str:
        counts = self._counts
        return " and ".join(
            f"{counts[kind]:,} {names[counts[kind] != 1]}" for kind, names in _NAMES.items() if counts[kind]
        )

    def check_kind(self, topic: str, kind: str) -> None:
        """That records of a kind may be added.

        Raises:
            ConfigurationError: others are there, with what to type.
        """
        if self._counts.keys() - {kind}:
            raise ConfigurationError(
                f"{topic} holds {self}, and {_NAMES[kind][1]} cannot stand beside others: `craft-stream target clear` "
                "withdraws all of them; what decides stays in force until there are enough of the new ones"
            )
