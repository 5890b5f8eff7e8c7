"""How alike the URLs of a pair's two pages are: pages that translate one another are often named alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray


class UrlSignal:
    """What craft_stream asks of a signal: `names` and `compute`.

    Args:
        source, target: names of the fields with the URLs.
    """

    names = ("ratio",)

    def __init__(self, source: str = "src_url", target: str = "tgt_url") -> None:
        self._source, self._target = source, target

    def compute(
        self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Mapping[str, Any]]
    ) -> NDArray[np.float32]:
        """Share of characters in common, 0 to 1; NaN without two URLs. float32 [pairs, 1]."""
        return np.array([[self._ratio(record)] for record in records], np.float32).reshape(-1, 1)

    def _ratio(self, record: Mapping[str, Any]) -> float:
        one, other = record.get(self._source), record.get(self._target)
        if not isinstance(one, str) or not isinstance(other, str):
            return float("nan")
        return SequenceMatcher(None, one[:500], other[:500], autojunk=False).ratio()
