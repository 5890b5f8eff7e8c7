"""What a report says beside what was gathered: how the selection was made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Target:
    """The target, as a Model knows it.

    Attributes:
        pairs: that were learned from; left_out: others, by what was found of them.
        shares: float64 [K], of each cluster.
        centroids: float32 [D, K].
    """

    pairs: int
    left_out: dict[str, int]
    shares: NDArray[np.float64]
    centroids: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class About:
    """How a selection was made.

    Attributes:
        title: of the page.
        command: as it was typed.
        facts: names and values, such as digests.
        settings: all in force, as TOML.
        rate: budget, a share of the pairs.
        quality_floor: least log P(clean).
        target: None where no Model is known.
        made: when, for people.
    """

    title: str
    command: str
    facts: dict[str, str] = field(default_factory=dict)
    settings: str = ""
    rate: float = 0.05
    quality_floor: float = -np.inf
    target: Target | None = None
    made: str = ""
