"""The threshold that a reader can move: what lies around it, by bin and cluster, and pairs beside it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.report import charts
from craft_stream.report.about import About
from craft_stream.report.charts import inner_range
from craft_stream.report.gathered import BINS, CLUSTERS, LOWEST, WIDTH, Gathered
from craft_stream.report.pairs import Example, pair
from craft_stream.selection.decisions import Reason

_MARGIN_BINS = 120
_ZERO = round(-LOWEST / WIDTH)  # the bin whose lower edge is the threshold


def _bars(gathered: Gathered) -> NDArray[np.int64]:
    """By cluster, by how many bins its own bar is above the threshold, int64 [clusters + 1].

    A selection that is divided as the target is takes of each cluster down to a score of its own: the bar stands behind
    the best pair that was left out though worse ones of other clusters were taken.
    """
    over, taken = gathered.margins
    bars = np.zeros(len(taken), np.int64)
    for cluster in np.flatnonzero(taken.any(axis=1)).tolist():
        lowest = int(np.flatnonzero(taken[cluster])[0])
        left = np.flatnonzero(over[cluster, :lowest])
        bars[cluster] = max((int(left[-1]) + 1 if len(left) else _ZERO) - _ZERO, 0)
    bars[~taken.any(axis=1)] = int(np.median(bars[taken.any(axis=1)])) if taken.any() else 0
    return bars


def threshold(gathered: Gathered, about: About, share: float) -> dict[str, Any] | None:
    """What the page needs to move the threshold: counts by bin and cluster, and examples by bin."""
    if not gathered.margins.any():
        return None
    decided = gathered.accepted > 0
    bars = _bars(gathered) if decided else np.zeros(CLUSTERS + 1, np.int64)
    margins = np.zeros_like(gathered.margins)
    for cluster in np.flatnonzero(gathered.margins.any(axis=(0, 2))).tolist():
        bar = int(bars[cluster])
        margins[:, cluster, : BINS - bar] = gathered.margins[:, cluster, bar:]
        margins[:, cluster, 0] += gathered.margins[:, cluster, :bar].sum(axis=1)
    low, high = inner_range(margins.sum(axis=(0, 1)))
    if decided:
        low, high = min(low, _ZERO - 4), max(high, _ZERO + 4)
    factor = -(-(high - low) // _MARGIN_BINS)
    low -= (low - _ZERO) % factor  # the threshold is the edge of a bin
    low += factor if low < 0 else 0
    bins = -(-(high - low) // factor)
    edges = [0, *(low + factor * np.arange(1, bins)).tolist(), BINS]
    counts = np.stack(
        [margins[:, :, start:stop].sum(axis=2) for start, stop in pairwise(edges)]
    )  # [bins, 2, clusters + 1]
    start = (_ZERO - low) // factor if decided else _edge_of(counts[:, 0].sum(axis=1), about.rate, gathered)
    rows = [
        [
            int(k),
            int(cluster) if cluster < CLUSTERS else -1,
            int(counts[k, 1, cluster]),
            int(counts[k, 0, cluster]),
        ]
        for k, cluster in zip(*np.nonzero(counts.sum(axis=1)), strict=True)
    ]
    first, step = LOWEST + low * WIDTH, factor * WIDTH
    examples, nearest = _moved(gathered, bars, (first, step, bins), start, share)
    every = counts.sum(axis=(1, 2)).astype(float)
    return {
        "decided": decided,
        "data": {
            "low": first,
            "step": step,
            "bins": bins,
            "start": int(start),
            "decided": decided,
            "rows": rows,
            "shares": [round(value, 6) for value in about.target.shares.tolist()] if about.target else [],
            "pairs": int(gathered.reasons.sum()),
        },
        "start": int(start),
        "bins": bins,
        "low": f"{first:.2f}",
        "high": f"{first + bins * step:.2f}",
        "at": 100 * start / bins,
        "able": charts.steps(np.sqrt(every)),
        "taken": charts.steps(np.sqrt(counts[:, 1].sum(axis=1).astype(float)), math.sqrt(float(every.max()))),
        "just_below": int(margins[0, :, _ZERO - 2 : _ZERO].sum()) if decided else 0,
        "examples": [pair(example, at) for at, example in examples],
        "above": [pair(example, at) for at, example in nearest[1]],
        "below": [pair(example, at) for at, example in nearest[0]],
    }


def _moved(
    gathered: Gathered, bars: NDArray[np.int64], axis: tuple[float, float, int], start: int, share: float
) -> tuple[list[tuple[float, Example]], list[list[tuple[float, Example]]]]:
    """Examples by how far they are above their cluster's bar, ascending; and those next to it, below and above."""
    first, step, bins = axis
    placed = sorted(
        (
            (
                example.margin
                - WIDTH * int(bars[example.cluster if 0 <= example.cluster < CLUSTERS else CLUSTERS]),
                example,
            )
            for example in gathered.by_margin()
        ),
        key=lambda item: (item[0], item[1].id),
    )
    kept: dict[int, list[tuple[float, Example]]] = {}
    for item in placed:
        place = min(max(int((item[0] - first) / step), 0), bins)
        most = 8 if abs(place - start) <= 3 else 4
        if len(own := kept.setdefault(place, [])) < max(1, round(most * share)):
            own.append(item)
    edge = first + start * step - 1e-6
    below = [item for item in placed if item[0] < edge and item[1].reason is not Reason.ACCEPTED]
    above = [
        item
        for item in placed
        if item[0] >= edge and (not gathered.accepted or item[1].reason is Reason.ACCEPTED)
    ]
    return [item for place in sorted(kept) for item in kept[place]], [below[:-7:-1], above[:6]]


def _edge_of(counts: NDArray[np.int64], rate: float, gathered: Gathered) -> int:
    """The bin from which on as many pairs stand as the budget asks for."""
    above = np.cumsum(counts[::-1])[::-1]
    return int(np.searchsorted(-above, -rate * float(gathered.reasons.sum())))
