"""What stands on the page: figures, shapes and sentences made of what was gathered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream import meanings
from craft_stream.report import charts
from craft_stream.report.about import About
from craft_stream.report.gathered import (
    CLUSTERS,
    LOWEST,
    WIDTH,
    Gathered,
)
from craft_stream.report.origins import FAULTS, Origins
from craft_stream.report.pairs import pair
from craft_stream.report.shown import visible
from craft_stream.report.threshold import threshold
from craft_stream.selection.decisions import Reason
from craft_stream.selection.divergence import divergence

# In the order in which the rule asks.
_ASKED = (
    Reason.LISTED, Reason.OFF_DOMAIN, Reason.OTHER_LANGUAGE, Reason.IN_TARGET, Reason.COPY, Reason.UNFAMILIAR_TEXT,
    Reason.GARBLED, Reason.MISALIGNED, Reason.DUPLICATE, Reason.NEAR_DUPLICATE, Reason.OVER_BUDGET, Reason.ACCEPTED,
)  # fmt: skip
# What is found before anybody asks whether it is a good translation; none of `FAULTS`, which are answers to that.
_UNCHECKED = (Reason.LISTED, Reason.OFF_DOMAIN, Reason.IN_TARGET)
_UNDECIDED = "Nothing speaks against it, and nothing was taken yet."
_ORIGINS = 12
_ENOUGH = 30  # pairs of a stretch that were checked, for a share of them to be drawn
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
    moved = threshold(gathered, about, share)
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
        "findings": _findings(gathered, moved["just_below"] if moved else 0),
        "funnel": _funnel(gathered),
        "stream": _stream(gathered),
        "histograms": _histograms(gathered, about),
        "threshold": moved,
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
    if faults := sum(int(gathered.reasons[reason]) for reason in FAULTS):
        checked = pairs - int(gathered.reasons[[*_UNCHECKED]].sum())
        found.append(
            f"{faults / checked:.0%} of the {checked:,} pairs that were near enough to the domain to be checked are no good "
            f"translations ({faults:,})."
        )
    copies = int(gathered.reasons[Reason.DUPLICATE] + gathered.reasons[Reason.NEAR_DUPLICATE])
    if accepted and copies > 0.02 * accepted:
        found.append(
            f"{copies:,} pairs repeat accepted ones and were rejected, beside the {accepted:,} that were accepted."
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
        {"label": label, "text": meanings.REFUSALS[label], "count": count, "kind": "refused"}
        for label, count in sorted(gathered.refused.items())
    ]
    rows += [
        {
            "label": reason.label,
            "text": _UNDECIDED
            if reason is Reason.OVER_BUDGET and not gathered.accepted
            else meanings.REASONS[reason.label],
            "count": int(gathered.reasons[reason]),
            "kind": "accepted" if reason is Reason.ACCEPTED else "rejected",
        }
        for reason in _ASKED
        if gathered.reasons[reason] or reason is Reason.ACCEPTED
    ]
    left = gathered.records
    for row in rows:
        row["share"] = row["count"] / whole
        row["x"] = 1000 * (0 if row["kind"] == "accepted" else (left - row["count"]) / whole)
        row["width"] = max(1000 * row["count"] / whole, 1.5 if row["count"] else 0)
        left -= row["count"]
    return rows


def _stream(gathered: Gathered) -> dict[str, Any] | None:
    stretches, used = gathered.stretches, gathered.stretches.used
    if used < 4:
        return None
    reasons = stretches.reasons[:used].astype(float)
    taken, pairs = reasons[:, Reason.ACCEPTED], reasons.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = stretches.domain[:used] / stretches.known[:used]
        share = taken / pairs
    checked = pairs - reasons[:, _UNCHECKED].sum(axis=1)
    # a share of a few pairs says nothing
    faulty = np.where(
        checked < _ENOUGH, np.nan, reasons[:, sorted(FAULTS)].sum(axis=1) / np.maximum(checked, 1)
    )
    most_faulty = float(np.nanmax(faulty, initial=0.0))
    low, high = (float(f(mean)) for f in (np.nanmin, np.nanmax)) if np.isfinite(mean).any() else (0.0, 1.0)
    spent = np.cumsum(taken) / max(taken.sum(), 1)
    most = float(np.nanmax(share)) if np.isfinite(share).any() else 0.0
    return {
        "width": stretches.width,
        "accepted": charts.steps(np.nan_to_num(share)),
        "most": most,
        "all": gathered.accepted / max(gathered.reasons.sum(), 1),
        "rate": 100 * (1 - min(float(taken.sum() / pairs.sum()) / most, 1)) if most > 0 else None,
        "spent": charts.line(spent, 0, 1),
        "mean": charts.line(mean, low, high),
        "low": low,
        "high": high,
        "faulty": charts.line(faulty, 0, max(most_faulty, 1e-9)),
        "most_faulty": most_faulty,
    }


def _histograms(gathered: Gathered, about: About) -> list[dict[str, Any]]:
    found = []
    if gathered.domain.any():
        low, high = charts.inner_range(gathered.domain.sum(axis=0))
        found.append(
            {
                "title": "Domain score",
                "text": "how near a pair is to the domain, in standard deviations of the stream",
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
                "text": "how probable it is that the sides are a clean translation, of pairs near enough to be checked",
                "low": "0",
                "high": "1",
                **_pair_of_steps(gathered.quality, 50),
                "bar": None if floor is None else 1000 * floor,
                "bar_text": None if floor is None else f"the least that is accepted, {floor:.2f}",
            }
        )
    return found


def _pair_of_steps(counts: NDArray[np.int64] | NDArray[np.float64], bins: int) -> dict[str, Any]:
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
                "taken": [pair(example) for example in kept[0][: max(1, round(7 * share))]],
                "left": [pair(example) for example in kept[1][: max(1, round(7 * share))]],
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
            "text": meanings.REASONS[reason.label],
            "count": int(gathered.reasons[reason]),
            "pairs": [pair(e) for e in gathered.of_reason.of(int(reason))[: max(1, round(24 * share))]],
        }
        for reason in reversed(_ASKED)
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
                "text": "words of a side, of a sample of a long stream; the last bar is 60 and more",
                "low": "0",
                "high": "60+",
                **_pair_of_steps(counts, counts.shape[1]),
                "rejected_count": int(gathered.reasons.sum()) - gathered.accepted,
                "accepted_count": gathered.accepted,
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
