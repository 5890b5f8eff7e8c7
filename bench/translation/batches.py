"""Batches of a fixed number of tokens: pairs of like length together, so that few shapes occur and little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.translation.prepared import BEGIN, END, LONGEST, PAD, Side

# Widths of the buckets: pieces of the longer side, the end mark counted.
WIDTHS = (8, 12, 16, 24, 32, 48, 64, LONGEST + 1)

# Source [K, B, W], target with the begin mark in front [K, B, W + 1].
Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


def buckets(source: Side, target: Side, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each width, in the order of `WIDTHS`; a pair with an empty side is in none."""
    lengths = source.lengths[rows], target.lengths[rows]
    place = np.searchsorted(WIDTHS, np.maximum(*lengths) + 1)
    whole = np.minimum(*lengths) > 0
    return [rows[whole & (place == number)] for number in range(len(WIDTHS))]


def batches(
    source: Side, target: Side, rows: NDArray[np.int64], tokens: int, seeds: Sequence[int]
) -> Iterator[Batch]:
    """Batches without end, one stack of models' worth at a time.

    A bucket comes as often as its share of the tokens says, the same for all models of the stack; which pairs come is
    drawn for each model alone, every pair of a bucket once before any comes again.

    Args:
        source, target: the stream.
        rows: the pairs to train on; a pair that is named twice comes twice as often.
        tokens: padded source tokens of a batch, for each model.
        seeds: one for each model; the first also draws the buckets.

    Raises:
        ValueError: there is nothing to train on.
    """
    filled = [
        (width, own) for width, own in zip(WIDTHS, buckets(source, target, rows), strict=True) if len(own)
    ]
    if not filled:
        raise ValueError("no pairs to train on")
    shares = np.array([width * len(own) for width, own in filled], np.float64)
    schedule = np.random.default_rng([seeds[0], 0])
    turns = [
        [_Turns(own, np.random.default_rng([seed, 1, width])) for seed in seeds] for width, own in filled
    ]
    while True:
        bucket = int(schedule.choice(len(filled), p=shares / shares.sum()))
        width, size = filled[bucket][0], max(1, tokens // filled[bucket][0])
        drawn = np.stack([turn.take(size) for turn in turns[bucket]])
        yield gathered(source, drawn, width), gathered(target, drawn, width, begin=True)


def gathered(side: Side, rows: NDArray[np.int64], width: int, begin: bool = False) -> NDArray[np.int64]:
    """int64 [..., width], or one wider with the begin mark: pieces of texts `rows`, the end mark, padding."""
    starts, lengths = side.offsets[rows][..., None], side.lengths[rows][..., None]
    place = np.arange(width)
    found = side.pieces[np.minimum(starts + place, len(side.pieces) - 1)].astype(np.int64)
    out = np.where(place < lengths, found, np.where(place == lengths, END, PAD))
    if begin:
        out = np.concatenate([np.full((*out.shape[:-1], 1), BEGIN), out], -1)
    return out


class _Turns:
    """Rows in turn: all of them, in a new order each time."""

    def __init__(self, rows: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._rows, self._rng = rows, rng
        self._left = rng.permutation(rows)

    def take(self, size: int) -> NDArray[np.int64]:
        while len(self._left) < size:
            self._left = np.concatenate([self._left, self._rng.permutation(self._rows)])
        taken, self._left = self._left[:size], self._left[size:]
        return taken
