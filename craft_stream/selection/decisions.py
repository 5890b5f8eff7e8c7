"""Decisions and their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Reason(IntEnum):
    """Why a pair was accepted or rejected; a closed list. The number is what the ledger stores.

    `UNFAMILIAR_TEXT`: its words or characters are not those of the target's languages (a part of P(clean)).
    `OTHER_LANGUAGE`: the identifier of languages says so.
    `IN_TARGET`: the target holds the pair already.
    """

    ACCEPTED = 0
    OFF_DOMAIN = 1
    MISALIGNED = 2
    COPY = 3
    UNFAMILIAR_TEXT = 4
    GARBLED = 5
    DUPLICATE = 6
    NEAR_DUPLICATE = 7
    OVER_BUDGET = 8
    LISTED = 9
    OTHER_LANGUAGE = 10
    IN_TARGET = 11

    @property
    def label(self) -> str:
        """The name as written in decisions and metric labels, such as `off_domain`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions on a batch, in its order.

    Attributes:
        positions: int64 [n], offsets in the partition's log.
        reason: uint8 [n], values of `Reason`.
        score: float32 [n], what was compared with the threshold.
        threshold: float32 [n], the threshold in force.
        cluster: int16 [n], nearest centroid of the target; -1 (`scoring.embedding.NO_CLUSTER`) where no embedding counted.
        domain: float32 [n], the standardised domain score, a part of `score`.
        quality: float32 [n], log P(clean), a part of `score`; NaN where the pair did not pass the gate.
        dual: float32 [n], of the pair's cluster, a part of `score`.
        context: float32 [n], what its page and host tell, a part of `score`.
        model_version: int64 [n], the Model that scored each pair.
        settings_version: int64 [n], of the parameters that each was decided under; 0 where they were never published.
        parameters: uint64 [n], their digest.
    """

    positions: NDArray[np.int64]
    reason: NDArray[np.uint8]
    score: NDArray[np.float32]
    threshold: NDArray[np.float32]
    cluster: NDArray[np.int16]
    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    dual: NDArray[np.float32]
    context: NDArray[np.float32]
    model_version: NDArray[np.int64]
    settings_version: NDArray[np.int64]
    parameters: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Bool [n]."""
        return np.equal(self.reason, Reason.ACCEPTED)

    @property
    def embedded(self) -> int:
        """Pairs whose embedding counted: all with a cheap encoder, what the cascade left with an expensive one."""
        return int((self.cluster >= 0).sum())

    def take(self, rows: NDArray[np.int64]) -> Decisions:
        """Those at `rows`, in that order."""
        return Decisions(**{name: getattr(self, name)[rows] for name in self.__slots__})

    @classmethod
    def of(cls, positions: NDArray[np.int64], **values: NDArray[Any] | float) -> Decisions:
        """Decisions on the pairs at `positions`: a number is that of every pair, and what is not named is 0."""
        columns: dict[str, Any] = dict.fromkeys(_KINDS, 0) | values
        for name, value in columns.items():
            if not isinstance(value, np.ndarray):
                columns[name] = np.full(len(positions), value, _KINDS[name])
        return cls(positions, **columns)

    @classmethod
    def none(cls) -> Decisions:
        """No decisions."""
        return cls.of(np.zeros(0, np.int64))

    @classmethod
    def concatenate(cls, parts: list[Decisions]) -> Decisions:
        """Decisions on consecutive batches as one."""
        fields = cls.__slots__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


_KINDS = {
    "reason": np.uint8, "score": np.float32, "threshold": np.float32, "cluster": np.int16, "domain": np.float32,
    "quality": np.float32, "dual": np.float32, "context": np.float32, "model_version": np.int64,
    "settings_version": np.int64, "parameters": np.uint64,
}  # fmt: skip
