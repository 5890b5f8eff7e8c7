"""A filter of OpusFilter that judges pairs by a model of craft_stream: `module: craft_opusfilter` in its YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import opusfilter

import craft_stream

CHUNK = 10_000  # pairs that are scored at a time


class CraftFilter(opusfilter.FilterABC):  # type: ignore[misc]
    """Scores each pair by itself: nearness to the domain and quality, weighed; no budget, no duplicates.

    Args:
        model: a file of `craft-stream select --save-model`.
        threshold: the least score that is accepted.
        kwargs: as OpusFilter gives them.
    """

    score_direction = opusfilter.CLEAN_HIGH
    accept_threshold = -float("inf")
    reject_threshold = float("inf")

    def __init__(self, model: str, threshold: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.threshold = craft_stream.load_model(model), threshold

    def score(self, pairs: Iterable[tuple[str, str]]) -> Iterator[float]:
        """The score of each pair; minus infinity where something speaks against it whatever its score."""
        pairs = iter(pairs)
        while chunk := list(islice(pairs, CHUNK)):
            table = self.model.score(chunk)
            for score, reason in zip(table["score"].to_pylist(), table["reason"].to_pylist(), strict=True):
                yield score if reason is None else -float("inf")

    def accept(self, score: float) -> bool:
        """Whether a score reaches the threshold."""
        return score >= self.threshold

    def filter(self, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """The accepted pairs; in chunks, where OpusFilter's own scores one at a time."""
        pairs = iter(pairs)
        while chunk := list(islice(pairs, CHUNK)):
            yield from (
                pair for pair, score in zip(chunk, self.score(chunk), strict=True) if self.accept(score)
            )
