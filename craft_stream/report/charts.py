"""Numbers as shapes: paths of SVG in a box of 1,000 by 100, which pages stretch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDE, HIGH = 1000, 100


def steps(values: NDArray[np.float64], most: float | None = None) -> str:
    """Values as an outline of bars side by side, closed at the bottom, the greatest as high as the box."""
    top = float(values.max(initial=0)) if most is None else most
    if not len(values) or top <= 0:
        return ""
    wide = WIDE / len(values)
    path = [f"M0 {HIGH}"]
    for place, value in enumerate(values.tolist()):
        path.append(f"V{HIGH * (1 - min(value / top, 1)):.1f}H{(place + 1) * wide:.1f}")
    return "".join([*path, f"V{HIGH}Z"])


def line(values: NDArray[np.float64], low: float, high: float) -> str:
    """Values as a line through the middles of equal stretches; gaps where they are not known."""
    wide, path, pen = WIDE / max(len(values), 1), [], "M"
    for place, value in enumerate(values.tolist()):
        if not math.isfinite(value):
            pen = "M"
            continue
        y = HIGH * (1 - (value - low) / max(high - low, 1e-9))
        path.append(f"{pen}{(place + 0.5) * wide:.1f} {min(max(y, 0), HIGH):.1f}")
        pen = "L"
    return "".join(path)


@dataclass(frozen=True, slots=True)
class Bubble:
    """A circle of the map of clusters: its middle, and radii whose areas are shares."""

    x: float
    y: float
    target: float
    stream: float
    accepted: float


MAP_WIDE, MAP_HIGH = 720, 440
_ROUNDS = 200


def bubbles(
    centroids: NDArray[np.float32] | None,
    target: NDArray[np.float64],
    stream: NDArray[np.float64],
    accepted: NDArray[np.float64],
) -> list[Bubble]:
    """Clusters as circles: near one another where their centroids are, as far as a plane can tell, and apart.

    Args:
        centroids: float32 [D, K]; None: they are not known.
        target, stream, accepted: shares, float64 [K].
    """
    k = len(target)
    largest = np.maximum(np.maximum(target, accepted), stream)
    room = 0.42 * MAP_WIDE * MAP_HIGH / math.pi
    scale = math.sqrt(room / max(float(largest.sum()), 1e-9))
    radii = {name: scale * np.sqrt(share) for name, share in (("t", target), ("s", stream), ("a", accepted))}
    reach = np.maximum(scale * np.sqrt(largest), 5.0) + 2.0
    places = _spread(_plane(centroids, k), reach)
    return [
        Bubble(float(x), float(y), *(float(radii[name][c]) for name in "tsa"))
        for c, (x, y) in enumerate(places.tolist())
    ]


def _plane(centroids: NDArray[np.float32] | None, k: int) -> NDArray[np.float64]:
    """Two coordinates of each cluster, by rank along the first two principal components, [K, 2] in [-1, 1]."""
    if centroids is None or k < 3:
        angle, radius = np.arange(k) * 2.399963, np.sqrt((np.arange(k) + 0.5) / max(k, 1))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    x = centroids.T.astype(np.float64)
    _, _, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    flat = (x - x.mean(axis=0)) @ axes[:2].T
    rank: NDArray[np.float64] = np.argsort(np.argsort(flat, axis=0), axis=0) / max(k - 1, 1) * 2 - 1
    return rank


def _spread(places: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middles of circles, pushed apart until they hardly overlap, inside the map."""
    half = np.array([MAP_WIDE, MAP_HIGH]) / 2
    at = half + places * (half - 40)
    for _ in range(_ROUNDS if len(at) <= 128 else 40):
        apart = at[:, None] - at[None]
        distance = np.sqrt((apart**2).sum(axis=2)) + 1e-6
        overlap = np.maximum(reach[:, None] + reach[None] - distance, 0)
        np.fill_diagonal(overlap, 0)
        if overlap.max(initial=0) < 0.5:
            break
        at += 0.5 * (apart / distance[..., None] * overlap[..., None]).sum(axis=1)
        at = np.clip(at, reach[:, None], 2 * half - reach[:, None])
    return at


def inner_range(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Bins that hold all but the outermost thousandths."""
    so_far = np.cumsum(counts)
    low, high = np.searchsorted(so_far, [0.001 * so_far[-1], 0.999 * so_far[-1]])
    return max(int(low) - 2, 0), min(int(high) + 3, len(counts))
