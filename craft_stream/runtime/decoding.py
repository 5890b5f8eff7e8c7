"""From messages of one partition to a batch of pairs and what is no pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import DataError, RecordError
from craft_stream.records import Pair, decode
from craft_stream.runtime.observer import Stage
from craft_stream.runtime.policy import DeadLetter
from craft_stream.runtime.ports import Message
from craft_stream.selection.listed import Listed
from craft_stream.settings import Policy, RecordSettings
from craft_stream.text.batch import PairBatch


@dataclass(frozen=True, slots=True)
class Decoded:
    """Messages of one partition, decoded.

    Attributes:
        messages: those that hold pairs, in log order.
        pairs: what they hold.
        dead: those that hold none.
        last_offset: of the last message of either kind.
    """

    messages: list[Message]
    pairs: list[Pair]
    dead: list[DeadLetter]
    last_offset: int

    @property
    def batch(self) -> PairBatch:
        """The pairs for the engine."""
        return PairBatch.pack(
            [pair.source for pair in self.pairs],
            [pair.target for pair in self.pairs],
            [message.offset for message in self.messages],
        )


def mask(listed: Listed, pairs: Sequence[Pair], batch: PairBatch) -> NDArray[np.bool_]:
    """Which pairs are listed, bool [pairs]; `batch` holds their texts."""
    return listed.mask(batch, [pair.id for pair in pairs], [pair.urls for pair in pairs])


def decode_messages(messages: Sequence[Message], record: RecordSettings, policy: Policy) -> Decoded:
    """Decode consecutive messages of one partition.

    Raises:
        DataError: one is no pair and the policy is "fail".
    """
    kept: list[Message] = []
    pairs: list[Pair] = []
    dead: list[DeadLetter] = []
    for message in messages:
        default = f"{message.topic}/{message.partition}/{message.offset}"
        try:
            pairs.append(decode(message.value, record, default, message.problem))
            kept.append(message)
        except RecordError as error:
            if policy == "fail":
                raise DataError(f"{default}: {error}; errors.policies.decode says to stop") from error
            dead.append(DeadLetter(message, Stage.DECODE, error.reason, str(error)))
    return Decoded(kept, pairs, dead, messages[-1].offset if messages else -1)
