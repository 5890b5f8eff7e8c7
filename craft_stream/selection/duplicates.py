"""Whether a pair has been accepted before."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import SelectionParameters
from craft_stream.selection.decisions import Reason
from craft_stream.selection.seen import SeenPairs
from craft_stream.text.tokenized import TokenizedPairs


class Fingerprint:
    """What is remembered of the pair at a row, made once when it is first asked for."""

    def __init__(self, seen: SeenPairs, texts: TokenizedPairs, row: int) -> None:
        self._seen, self._texts, self._row = seen, texts, row

    @cached_property
    def _key(self) -> np.uint64:
        return self._seen.key(self._texts.source, self._texts.target, self._row, self._sketch)

    @cached_property
    def _sketch(self) -> NDArray[np.uint16]:
        return self._seen.sketch(self._texts.source, self._texts.target, self._row)

    def twin(self, selection: SelectionParameters) -> Reason | None:
        """`DUPLICATE` or `NEAR_DUPLICATE` if this pair, or one very like it, is remembered as accepted; None otherwise."""
        if selection.method == "craft":
            return None
        if selection.duplicates and self._seen.holds(self._key):
            return Reason.DUPLICATE
        near = selection.near_duplicate
        return Reason.NEAR_DUPLICATE if self._seen.similarity(self._sketch, near) >= near else None

    def remember(self) -> None:
        """This pair has been accepted."""
        self._seen.add(self._key, self._sketch)
