"""What a target topic holds by now: pairs, or texts of one side; a mix of them describes nothing that could be learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from craft_stream.errors import ConfigurationError
from craft_stream.ports.transport import Reader
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch
from craft_stream.topics.target import TargetFollower

PAIRS = "pairs"
_NAMES = {PAIRS: ("pair", "pairs")} | {
    side: (f"text of the {side} side", f"texts of the {side} side") for side in ("source", "target")
}


def places(reader: Reader, topic: str) -> dict[str, list[tuple[bytes, int | None]]]:
    """Key and partition of every record with a key that is not withdrawn, by its id.

    A tombstone counts in its own partition alone, and that depends on the client that wrote the record and on how many
    partitions there were then: an id may even stand in two.
    """
    found: dict[str, list[tuple[bytes, int | None]]] = {}
    for partition, (first, end) in reader.bounds(topic, reader.partitions(topic)).items():
        held: dict[bytes, bool] = {}
        for messages in reader.read(topic, partition, first, end):
            held.update((message.key, message.value is not None) for message in messages if message.key)
        for key in (key for key, holds in held.items() if holds):
            found.setdefault(key.decode("utf-8", "replace"), []).append((key, partition))
    return found


class TargetContents:
    """Of each id what stands under it: "pairs", "source" or "target".

    Attributes:
        kinds: by id; what was withdrawn is not there.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    @classmethod
    def read(cls, reader: Reader, topic: str, fields: RecordSettings) -> TargetContents:
        """Those of a topic, now.

        Raises:
            ConfigurationError: there is no such topic.
        """
        contents = cls()
        TargetFollower(reader, topic, fields).refresh(contents)
        return contents

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None:
        """See `TargetObserver`."""
        sides = zip(batch.source.texts(), batch.target.texts(), strict=True)
        for identifier, (source, target) in zip(identifiers, sides, strict=True):
            self.kinds[identifier] = PAIRS if source and target else "source" if source else "target"

    def withdraw_target(self, identifiers: Sequence[str]) -> None:
        """See `TargetObserver`."""
        for identifier in identifiers:
            self.kinds.pop(identifier, None)

    @property
    def mixed(self) -> bool:
        """Whether nothing can be learned from it, as it is not all of one kind."""
        return len(set(self.kinds.values())) > 1

    def __str__(self) -> str:
        counts = Counter(self.kinds.values())
        return " and ".join(
            f"{counts[kind]:,} {names[counts[kind] != 1]}" for kind, names in _NAMES.items() if counts[kind]
        )

    def check_kind(self, topic: str, kind: str) -> None:
        """That records of a kind may be added.

        Raises:
            ConfigurationError: others are there, with what to type.
        """
        if set(self.kinds.values()) - {kind}:
            raise ConfigurationError(
                f"{topic} holds {self}, and {_NAMES[kind][1]} cannot stand beside others: `craft-stream target clear` "
                "withdraws all of them; what decides stays in force until there are enough of the new ones"
            )
