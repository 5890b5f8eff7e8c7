"""What a partition's ledger began with: on which topics, and behind which decisions.

An offset means something on one topic alone. A topic that was deleted and made anew has the name of the old one and another id
(KIP-516), and a ledger that went on there would pass over what comes before its offset. So the ledger knows the ids of its
topics, and is refused on others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from craft_stream.errors import IntegrityError, TopicReplacedError
from craft_stream.schema import Number, has_type, is_number, read_json


@dataclass(frozen=True, slots=True)
class Origin:
    """Written with the first transaction and beside every snapshot.

    Attributes:
        input_id, ledger_id: of the topics, empty where brokers have none (before Kafka 2.8).
        decisions_from: by partition of the decisions topic the offset from which on decisions may be this ledger's; those
            before it are of one that was given up.
    """

    input_id: str = ""
    ledger_id: str = ""
    decisions_from: Mapping[int, int] = field(default_factory=dict)

    def check(self, topics: Mapping[str, str], input_topic: str, ledger_topic: str) -> None:
        """That topics have these ids.

        Args:
            topics: ids by name, empty ones where they are not known.
            input_topic, ledger_topic: their names.

        Raises:
            TopicReplacedError: one was made anew, with what to type.
        """
        for topic, known in ((input_topic, self.input_id), (ledger_topic, self.ledger_id)):
            if known and topics[topic] and known != topics[topic]:
                raise TopicReplacedError(
                    f"the topic {topic} was deleted and made anew: it has the id {topics[topic]}, the ledger is of {known}, "
                    "whose offsets mean nothing here. `craft-stream run --rebuild` begins a new ledger at the log's first "
                    "record"
                )

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {"input": self.input_id, "ledger": self.ledger_id, "decisions_from": dict(self.decisions_from)}
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> Origin:
        """From `encode`.

        Raises:
            IntegrityError: it is something else.
        """
        values = read_json("the origin", data)
        offsets, number = values.get("decisions_from"), Number()
        if (
            not has_type(values.get("input"), str)
            or not has_type(values.get("ledger"), str)
            or not isinstance(offsets, dict)
            or not all(is_number(name) and number.problem(offset) is None for name, offset in offsets.items())
        ):
            raise IntegrityError("the origin cannot be read: it names no topics")
        return cls(values["input"], values["ledger"], {int(name): at for name, at in offsets.items()})
