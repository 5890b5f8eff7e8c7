"""Whether a pair has been accepted before."""

from __future__ import annotations

from craft_stream.parameters import SelectionParameters
from craft_stream.scorer import Reading
from craft_stream.selection.decisions import Reason
from craft_stream.selection.seen import SeenPairs


def twin(seen: SeenPairs, reading: Reading, row: int, selection: SelectionParameters) -> Reason | None:
    """`DUPLICATE` or `NEAR_DUPLICATE` if this pair, or one very like it, is remembered as accepted; None otherwise."""
    if selection.duplicates and seen.holds(seen.key(reading.source, reading.target, row)):
        return Reason.DUPLICATE
    if seen.similarity(seen.signature(reading.ngrams, row)) >= selection.near_duplicate:
        return Reason.NEAR_DUPLICATE
    return None


def remember(seen: SeenPairs, reading: Reading, row: int) -> None:
    """This pair has been accepted."""
    seen.add(seen.key(reading.source, reading.target, row), seen.signature(reading.ngrams, row))
