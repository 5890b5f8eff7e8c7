"""Decided pairs as a report takes them in, whatever they were read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions


@dataclass(frozen=True, slots=True)
class Rows:
    """A run of a stream.

    Attributes:
        records: how many it has, those that hold no pair among them.
        refused: why each of these does not.
        positions: int64 [n], of the pairs in the stream.
        reason: uint8 [n], values of `Reason`.
        score, threshold: float32 [n]; a threshold is NaN where there was none.
        domain, quality: float32 [n]; NaN where they are not known.
        cluster: int16 [n]; -1 where it is not known.
        record: what is written in a row's record.
        place: where a row's record stood.
    """

    records: int
    refused: Sequence[str]
    positions: NDArray[np.int64]
    reason: NDArray[np.uint8]
    score: NDArray[np.float32]
    threshold: NDArray[np.float32]
    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    cluster: NDArray[np.int16]
    record: Callable[[int], dict[str, Any]]
    place: Callable[[int], str]

    @classmethod
    def of(cls, chunk: Chunk, decisions: Decisions) -> Rows:
        """A chunk that was decided."""
        return cls(
            records=len(chunk.messages),
            refused=[str(refusal.reason) for _, refusal in chunk.refused],
            positions=decisions.positions,
            reason=decisions.reason,
            score=decisions.score,
            threshold=decisions.threshold,
            domain=decisions.domain,
            quality=decisions.quality,
            cluster=decisions.cluster,
            record=lambda row: dict(orjson.loads(chunk.message(row).value or b"{}")),
            place=lambda row: chunk.message(row).location,
        )
