"""What stands on the page: figures, shapes and sentences made of what was gathered."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.report import charts
from craft_stream.report.about import About
from craft_stream.report.gathered import (
    BINS,
    CLUSTERS,
    LOWEST,
    WIDTH,
    Example,
    Gathered,
)
from craft_stream.report.origins import FAULTS, Origins
from craft_stream.report.shown import parts, visible
from craft_stream.selection.decisions import Reason
from craft_stream.selection.divergence import divergence

# In the order in which the rule asks.
REASONS = {
    Reason.LISTED: "on a list of what must not be accepted",
    Reason.OFF_DOMAIN: "too far from the target's domain",
    Reason.OTHER_LANGUAGE: "not in the languages of the target",
    Reason.IN_TARGET: "the target holds it already",
    Reason.COPY: "one side repeats the other",
    Reason.UNFAMILIAR_TEXT: "words or letters that are not the languages'",
    Reason.GARBLED: "text that was encoded twice",
    Reason.MISALIGNED: "the sides are no translation of one another",
    Reason.DUPLICATE: "accepted before",
    Reason.NEAR_DUPLICATE: "nearly the same was accepted before",
    Reason.OVER_BUDGET: "good enough, but the budget went to better ones",
    Reason.ACCEPTED: "training data for the domain",
}
_UNDECIDED = "nothing speaks against it, and nothing was taken yet"
_MARGIN_BINS = 120
_ZERO = round(-LOWEST / WIDTH)  # the bin whose lower edge is the threshold
_ORIGINS = 12
_BURST = 3.0  # times the mean of a stretch
_APART = 0.06  # of the stream between two bursts, at least


def view(gathered: Gathered, about: About, share: float = 1.0) -> dict[str, Any]:
    """All values that the page's template names.

    Args:
        gathered: of the stream.
        about: how it was selected.
        share: of the examples, those that are shown.
    """
    target = about.target
    counts = _accepted_by_cluster(gathered, target is not None)
    threshold = _threshold(gathered, about, share)
    return {
        "about": about,
        "title": visible(about.title),
        "command": visible(about.command, 2_000),
        "facts": [(name, visible(value)) for name, value in about.facts.items()],
        "records": gathered.records,
        "pairs": int(gathered.reasons.sum()),
        "accepted": gathered.accepted,
        "kl": divergence(target.shares, counts[: len(target.shares)])
        if target and counts.any() and gathered.accepted
        else None,
        "findings": _findings(gathered, threshold["just_below"] if threshold else 0),
        "funnel": _funnel(gathered),
        "stream": _stream(gathered, about),
        "histograms": _histograms(gathered, about),
        "threshold": threshold,
        "clusters": _clusters(gathered, about, share),
        "examples": _examples(gathered, share),
        "origins": [
            _origins("Hosts", gathered.hosts),
            _origins("Pages", gathered.pages),
        ],
        "lengths": _lengths(gathered),
        "languages": _languages(gathered),
    }


def _accepted_by_cluster(gathered: Gathered, known: bool) -> NDArray[np.float64]:
    return gathered.clusters[1, :CLUSTERS].astype(np.float64) if known else np.zeros(CLUSTERS)


def _findings(gathered: Gathered, just_below: int) -> list[str]:
    """What a reader should see first."""
    found = []
    pairs, accepted = int(gathered.reasons.sum()), gathered.accepted
    if accepted >= 100 and gathered.stretches.used >= 20:
        most, runs = _concentration(gathered)
        if most < 0.25:
            bursts = f", in {runs} bursts" if runs > 1 else ", in one burst" if runs else ""
            found.append(f"Half of what was accepted stands in {most:.0%} of the stream{bursts}.")
        else:
            found.append(
                f"The domain comes evenly: half of what was accepted takes {most:.0%} of the stream."
            )
    if pairs and (faults := sum(int(gathered.reasons[reason]) for reason in FAULTS)):
        found.append(f"{faults / pairs:.1%} of the pairs were rejected as no good translations.")
    copies = int(gathered.reasons[Reason.DUPLICATE] + gathered.reasons[Reason.NEAR_DUPLICATE])
    if accepted and copies > 0.02 * accepted:
        found.append(
            f"{copies:,} pairs repeat accepted ones, {copies / accepted:.0%} of as many as were accepted."
        )
    if just_below:
        found.append(
            f"{just_below:,} pairs are less than {2 * WIDTH:g} below the threshold: see whether you would have taken them."
        )
    if gathered.refused:
        lost = gathered.refused.total()
        found.append(f"{lost:,} records hold no pair ({lost / max(gathered.records, 1):.1%}).")
    return found


def _concentration(gathered: Gathered) -> tuple[float, int]:
    """Share of the stream that holds half of what was accepted, and in how many bursts most of it came."""
    taken = gathered.stretches.reasons[: gathered.stretches.used, Reason.ACCEPTED].astype(float)
    ordered = np.sort(taken)[::-1]
    needed = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)) + 1
    high = np.flatnonzero(taken > _BURST * taken.mean())
    if not len(high):
        return needed / len(taken), 0
    cuts = np.flatnonzero(np.diff(high) > _APART * len(taken)) + 1
    runs = [taken[run[0] : run[-1] + 1].sum() for run in np.split(high, cuts)]
    return needed / len(taken), sum(run > 0.08 * taken.sum() for run in runs)


def _funnel(gathered: Gathered) -> list[dict[str, Any]]:
    whole = max(gathered.records, 1)
    rows: list[dict[str, Any]] = [
        {"label": label, "text": "the record holds no pair", "count": count, "kind": "refused"}
        for label, count in sorted(gathered.refused.items())
    ]
    rows += [
        {
            "label": reason.label,
            "text": _UNDECIDED if reason is Reason.OVER_BUDGET and not gathered.accepted else text,
            "count": int(gathered.reasons[reason]),
            "kind": "accepted" if reason is Reason.ACCEPTED else "rejected",
        }
        for reason, text in REASONS.items()
        if gathered.reasons[reason] or reason is Reason.ACCEPTED
    ]
    left = gathered.records
    for row in rows:
        row["share"] = row["count"] / whole
        row["x"] = 1000 * (0 if row["kind"] == "accepted" else (left - row["count"]) / whole)
        row["width"] = max(1000 * row["count"] / whole, 1.5 if row["count"] else 0)
        left -= row["count"]
    return rows


def _stream(gathered: Gathered, about: About) -> dict[str, Any] | None:
    stretches, used = gathered.stretches, gathered.stretches.used
    if used < 4:
        return None
    reasons = stretches.reasons[:used].astype(float)
    taken, pairs = reasons[:, Reason.ACCEPTED], reasons.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = stretches.domain[:used] / stretches.known[:used]
        share = taken / pairs
        faulty = reasons[:, sorted(FAULTS)].sum(axis=1) / pairs
    low, high = (float(f(mean)) for f in (np.nanmin, np.nanmax)) if np.isfinite(mean).any() else (0.0, 1.0)
    spent = np.cumsum(taken) / max(taken.sum(), 1)
    most = float(np.nanmax(share)) if np.isfinite(share).any() else 0.0
    return {
        "width": stretches.width,
        "accepted": charts.steps(np.nan_to_num(share)),
        "most": most,
        "rate": 100 * (1 - min(about.rate / most, 1)) if most > 0 else None,
        "spent": charts.line(spent, 0, 1),
        "mean": charts.line(mean, low, high),
        "low": low,
        "high": high,
        "faulty": charts.line(faulty, 0, max(float(np.nanmax(faulty)), 1e-9)),
        "most_faulty": float(np.nanmax(faulty)),
    }


def _histograms(gathered: Gathered, about: About) -> list[dict[str, Any]]:
    found = []
    if gathered.domain.any():
        low, high = _range(gathered.domain.sum(axis=0))
        found.append(
            {
                "title": "Domain score",
                "text": "how near a pair is to the target, in deviations of the stream",
                "low": f"{LOWEST + low * WIDTH:.1f}",
                "high": f"{LOWEST + high * WIDTH:.1f}",
                **_pair_of_steps(gathered.domain[:, low:high], 100),
                "bar": None,
            }
        )
    if gathered.quality.any():
        floor = math.exp(about.quality_floor) if math.isfinite(about.quality_floor) else None
        found.append(
            {
                "title": "P(clean)",
                "text": "how probable it is that the sides are clean translations, where that was asked",
                "low": "0",
                "high": "1",
                **_pair_of_steps(gathered.quality, 50),
                "bar": None if floor is None else 1000 * floor,
                "bar_text": None if floor is None else f"floor {floor:.2f}",
            }
        )
    return found


def _pair_of_steps(counts: NDArray[np.int64], bins: int) -> dict[str, Any]:
    """Shapes of the rejected and the accepted, each as high as the box, in at most so many bins."""
    factor = -(-counts.shape[1] // bins)
    padded = np.pad(counts, ((0, 0), (0, -counts.shape[1] % factor)))
    rejected, accepted = padded.reshape(2, -1, factor).sum(axis=2).astype(float)
    return {
        "rejected": charts.steps(rejected),
        "accepted": charts.steps(accepted),
        "rejected_count": int(rejected.sum()),
        "accepted_count": int(accepted.sum()),
    }


def _range(counts: NDArray[Any]) -> tuple[int, int]:
    """Bins that hold all but the outermost thousandths."""
    so_far = np.cumsum(counts)
    low, high = np.searchsorted(so_far, [0.001 * so_far[-1], 0.999 * so_far[-1]])
    return max(int(low) - 2, 0), min(int(high) + 3, len(counts))


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


def _threshold(gathered: Gathered, about: About, share: float) -> dict[str, Any] | None:
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
    low, high = _range(margins.sum(axis=(0, 1)))
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
        "examples": [_pair(example, at) for at, example in examples],
        "above": [_pair(example, at) for at, example in nearest[1]],
        "below": [_pair(example, at) for at, example in nearest[0]],
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


def _clusters(gathered: Gathered, about: About, share: float) -> dict[str, Any] | None:
    counts = gathered.clusters[:, :CLUSTERS]
    k = (
        len(about.target.shares)
        if about.target
        else int(np.flatnonzero(counts.sum(axis=0)).max(initial=-1)) + 1
    )
    if not k or not counts.any():
        return None
    stream, accepted = counts[:, :k].sum(axis=0).astype(float), counts[1, :k].astype(float)
    shares = [values / max(values.sum(), 1) for values in (stream, accepted)]
    target = about.target.shares if about.target else np.zeros(k)
    centroids = about.target.centroids if about.target else None
    words = gathered.vocabulary.telling(7)
    items: list[dict[str, Any]] = []
    for number, bubble in enumerate(charts.bubbles(centroids, target, *shares)):
        kept = gathered.of_cluster.of(2 * number), gathered.of_cluster.of(2 * number + 1)
        items.append(
            {
                "number": number,
                "bubble": bubble,
                "label": _label(words.get(number, []), max(bubble.target, bubble.accepted)),
                "words": words.get(number, []),
                "target": float(target[number]),
                "stream": float(shares[0][number]),
                "accepted": float(shares[1][number]),
                "count": int(accepted[number]),
                "read": int(stream[number]),
                "taken": [_pair(example) for example in kept[0][: max(1, round(7 * share))]],
                "left": [_pair(example) for example in kept[1][: max(1, round(7 * share))]],
            }
        )
    listed = sorted(items, key=lambda item: (-item["target"], -item["count"], -item["read"]))
    return {
        "items": listed,
        "wide": charts.MAP_WIDE,
        "high": charts.MAP_HIGH,
        "target": about.target is not None,
    }


def _label(words: list[str], radius: float) -> str:
    """The first word that fits into a circle."""
    return next((word for word in words if 6.7 * len(word) < 2 * radius), "")


def _examples(gathered: Gathered, share: float) -> list[dict[str, Any]]:
    return [
        {
            "label": reason.label,
            "text": text,
            "count": int(gathered.reasons[reason]),
            "pairs": [_pair(e) for e in gathered.of_reason.of(int(reason))[: max(1, round(24 * share))]],
        }
        for reason, text in reversed(REASONS.items())
        if gathered.reasons[reason]
    ]


def _origins(title: str, origins: Origins) -> dict[str, Any] | None:
    if not len(origins):
        return None
    tables = [
        ("gave most", origins.best(_ORIGINS)),
        ("with most pairs that are no good translations", origins.worst(_ORIGINS)),
    ]
    return {
        "title": title,
        "known": len(origins),
        "tables": [
            {
                "caption": f"{title} {caption}",
                "rows": [
                    {
                        "name": visible(name, 120),
                        "read": round(found.read),
                        "accepted": round(found.accepted),
                        "share": found.accepted / max(found.read, 1),
                        "faulty": found.faulty / max(found.read, 1),
                    }
                    for name, found in rows
                ],
            }
            for caption, rows in tables
            if rows
        ],
    }


def _lengths(gathered: Gathered) -> list[dict[str, Any]]:
    found = []
    for side, title in enumerate(("Source", "Target")):
        counts = gathered.lengths[:, side]
        if not counts.any():
            continue
        medians = [
            int(np.searchsorted(np.cumsum(row), row.sum() / 2)) if row.any() else None for row in counts
        ]
        found.append(
            {
                "title": f"{title} side, words",
                "text": "words of a side; the last bar is 60 and more",
                "low": "0",
                "high": "60+",
                **_pair_of_steps(counts, counts.shape[1]),
                "bar": None,
                "medians": medians,
            }
        )
    return found


def _languages(gathered: Gathered) -> list[dict[str, Any]]:
    names = {name for name, _ in gathered.languages}
    rows: list[dict[str, Any]] = [
        {
            "name": visible(name, 60),
            "accepted": gathered.languages[name, True],
            "rejected": gathered.languages[name, False],
        }
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row["accepted"] - row["rejected"], row["name"]))[:_ORIGINS]


def _pair(example: Example, at: float = 0.0) -> dict[str, Any]:
    """A pair as the template shows it."""
    return {
        "id": visible(example.id, 80),
        "host": visible(example.host, 60),
        "source": parts(example.source, example.target, example.reason),
        "target": parts(example.target, example.source, example.reason),
        "longer": [
            length
            for length in (example.source_length, example.target_length)
            if length > len(example.source) + 240
        ],
        "reason": example.reason.label,
        "accepted": example.reason is Reason.ACCEPTED,
        "score": _known(example.score),
        "at": at,
        "domain": _known(example.domain),
        "clean": math.exp(min(example.quality, 0.0)) if math.isfinite(example.quality) else None,
        "cluster": example.cluster if example.cluster >= 0 else None,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
