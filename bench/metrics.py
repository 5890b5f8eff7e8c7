"""What a selection is worth, given the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import near_duplicates
from bench.corpus import NOISE, Labels
from craft_stream.text.batch import PairBatch


def kl(target: NDArray[np.float64], selected: NDArray[np.float64], smoothing: float = 1e-6) -> float:
    """KL(target || selected) in nats over clusters; a cluster with nothing selected counts as `smoothing`."""
    held = target > 0
    spread = (selected + smoothing) / (selected + smoothing).sum()
    return float((target[held] * np.log(target[held] / spread[held])).sum())


# Records of a stretch, and pairs of the domain below which it is away.
_STRETCH, _FEW = 1024, 5


def quality(
    selected: NDArray[np.int64],
    labels: Labels,
    domain: str,
    budget: int,
    clusters: tuple[NDArray[np.uint8], NDArray[np.float64]],
) -> dict[str, Any]:
    """Figures of a selection, as shares of it.

    Args:
        selected: positions in the stream, in the order of selection.
        labels: of that stream.
        domain: the domain asked for.
        budget: the number of pairs asked for.
        clusters: of every record of the stream, and the target's shares (`Corpus.clusters`).

    Returns:
        selected; good: in-domain, clean, the first copy; noise and its kinds; dup: exact copies; recall: good
        pairs of all that the stream holds; kl: KL(target || selected) over the clusters; realised: selected /
        budget; of_budget: good pairs / budget; away: share selected from stretches of 1,024 records that hold fewer than
        five clean pairs of the domain.
    """
    n = max(len(selected), 1)
    sound, inside = labels.sound[selected], labels.of(domain)
    first = np.zeros(len(selected), bool)
    first[np.unique(labels.keys[selected], return_index=True)[1]] = True
    good = int((inside[selected] & sound & first).sum())
    held = len(np.unique(labels.keys[inside & labels.sound]))
    kinds = np.bincount(labels.noise[selected], minlength=len(NOISE)) / n
    assigned, shares = clusters
    spread = np.bincount(assigned[selected], minlength=len(shares)) / n
    return {
        "selected": len(selected),
        "good": good / n,
        "noise": float((~sound).sum()) / n,
        **{kind: float(kinds[NOISE.index(kind)]) for kind in NOISE[1:5]},
        "dup": float((~first).sum()) / n,
        "recall": good / max(held, 1),
        "kl": kl(shares, spread),
        "realised": len(selected) / max(budget, 1),
        "of_budget": good / max(budget, 1),
        "away": float(_away(selected, inside & labels.sound)),
    }


def _away(selected: NDArray[np.int64], wanted: NDArray[np.bool_]) -> np.float64:
    held = np.bincount(np.arange(len(wanted)) // _STRETCH, wanted)
    return (held[selected // _STRETCH] < _FEW).mean() if len(selected) else np.float64(0)


def twins(selected: NDArray[np.int64], pairs: PairBatch) -> dict[str, float]:
    """Share of near duplicates among the selected, exact (Jaccard over .6) and by min-hash."""
    chosen = pairs.take(selected)
    sets = near_duplicates.bigrams(chosen.source.texts(), chosen.target.texts())
    return {"near": near_duplicates.exact_share(sets), "near_minhash": near_duplicates.minhash_share(sets)}
