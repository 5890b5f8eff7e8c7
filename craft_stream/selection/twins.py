"""Whether a pair has been accepted before."""

from __future__ import annotations

from craft_stream.parameters import SelectionParameters
from craft_stream.scorer import Reading
from craft_stream.selection.decisions import Reason
from craft_stream.selection.seen import SeenPairs


def twin(seen: SeenPairs, reading: Reading, row: int, selection: SelectionParameters) -> Reason | None:
    """`DUPLICATE` or `NEAR_DUPLICATE` if this pair, or one very like it, is remembered as accepted; None otherwise."""
    if selection.method == "craft":
        return None
    source, target, near = reading.source, reading.target, selection.near_duplicate
    if selection.duplicates and seen.holds(seen.key(source, target, row)):
        return Reason.DUPLICATE
    if seen.similarity(seen.sketch(source, target, row), near) >= near:
        return Reason.NEAR_DUPLICATE
    return None


def remember(seen: SeenPairs, reading: Reading, row: int) -> None:
    """This pair has been accepted."""
    source, target = reading.source, reading.target
    seen.add(seen.key(source, target, row), seen.sketch(source, target, row))
