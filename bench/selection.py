"""What a method chose, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Selection:
    """What a method chose.

    Attributes:
        chosen: int64 [m], positions in the scenario's stream, in the order of choice.
        seconds: CPU seconds by stage.
        notes: anything else worth a row, such as the ledger's summary.
    """

    chosen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the CPU time of the block under `name`."""
        begun = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begun
