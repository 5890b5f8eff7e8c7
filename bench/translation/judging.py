"""BLEU and chrF++ of every model, and whether two methods differ.

A difference is judged by a paired bootstrap over sentences (Koehn 2004): in each resample the score of a method is the mean of
its seeds' scores, so that seeds are no further sentences. p is two-sided: how often the difference, moved to 0, is as large as
the one found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from bench.translation.prepared import Prepared
from bench.translation.results import Key, Row

RESAMPLES = 1000
OURS = "craft-plus"


@dataclass(frozen=True)
class Statistics:
    """What a metric needs of each sentence.

    Attributes:
        metric: of sacreBLEU.
        counts: float64 [seeds, sentences, counts].
    """

    metric: Any
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, metric: Any, hypotheses: Sequence[Sequence[str]], references: Sequence[str]) -> Statistics:
        """Count; `hypotheses` by seed and sentence."""
        # sacreBLEU's own bootstrap begins with the same call
        counts = [metric._extract_corpus_statistics(list(own), [list(references)]) for own in hypotheses]
        return cls(metric, np.array(counts, np.float64))

    def scores(self) -> list[float]:
        """The corpus score of each seed."""
        return [self._score(own.sum(0)) for own in self.counts]

    def resampled(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [resamples], the mean score of the seeds; draws [resamples, sentences] says how often each is drawn."""
        totals = np.einsum("rn,snc->rsc", draws, self.counts)
        return np.array([np.mean([self._score(own) for own in seeds]) for seeds in totals])

    def _score(self, totals: NDArray[np.float64]) -> float:
        return float(self.metric._compute_score_from_stats([float(one) for one in totals]).score)


@dataclass(frozen=True)
class Comparison:
    """One method against another: the difference of their means, and its p."""

    difference: float
    p: float


def compare(one: Statistics, other: Statistics, seed: int = 12345) -> Comparison:
    """The paired bootstrap of two methods on the same sentences."""
    sentences = one.counts.shape[1]
    draws = (
        np.random.default_rng(seed)
        .multinomial(sentences, np.full(sentences, 1 / sentences), RESAMPLES)
        .astype(np.float64)
    )
    return _compared(
        float(np.mean(one.scores()) - np.mean(other.scores())), one.resampled(draws) - other.resampled(draws)
    )


def _compared(difference: float, resampled: NDArray[np.float64]) -> Comparison:
    moved = np.abs(resampled - resampled.mean())
    p = (int((moved >= abs(difference)).sum()) + 1) / (len(resampled) + 1)
    return Comparison(difference, p)


def judge(prepared: Prepared, rows: Mapping[Key, Row], chrf: bool = True) -> list[Row]:
    """One row for each domain and model that is judged by it.

    Args:
        prepared: references, and what was selected.
        rows: of training, by their keys.
        chrf: also chrF++, which takes most of the time.

    Returns:
        rows that `bench.report` reads: `bleu` (beam), `greedy`, `chrf`, `bits`, a general test's greedy BLEU under its
        name, `seeds` (BLEU of each), `ours`: how craft-plus differs from it on the domain's test, and in general.
    """
    notes = {(one.domain, one.method, one.budget): one.notes for one in prepared.selections}
    general = list(prepared.notes["general"])
    out: list[Row] = []
    counted: dict[tuple[Key, str, str], Statistics] = {}

    def statistics(key: Key, test: str, kind: str) -> Statistics:
        if (key, test, kind) not in counted:
            hypotheses = rows[key]["hypotheses"][test][kind]
            counted[key, test, kind] = Statistics.of(
                BLEU(), hypotheses, prepared.tests[test][1][: len(hypotheses[0])]
            )
        return counted[key, test, kind]

    for domain in prepared.domains:
        for key, row in rows.items():
            mode, own, method, budget = key
            if own not in ("", domain) or domain not in row["hypotheses"]:
                continue
            beam = statistics(key, domain, "beam").scores()
            judged: Row = {
                "domain": domain,
                "scenario": "translation",
                "method": method,
                "set": {"mode": mode, "budget": budget},
                "device": row["device"],
                "parameters": row["parameters"],
                "steps": row["steps"],
                "seeds": [round(one, 2) for one in beam],
                "bleu": float(np.mean(beam)),
                "greedy": float(np.mean(statistics(key, domain, "greedy").scores())),
                "bits": float(np.mean(row["bits"][domain])),
                "train_seconds": row["train_seconds"],
                "translate_seconds": row["translate_seconds"],
                **{
                    f"selection_{name}": value for name, value in notes.get((own, method, budget), {}).items()
                },
            }
            for test in general:
                judged[test] = float(np.mean(statistics(key, test, "greedy").scores()))
            if chrf:
                hypotheses = row["hypotheses"][domain]["beam"]
                references = [prepared.tests[domain][1][: len(hypotheses[0])]]
                metric = CHRF(word_order=2)
                judged["chrf"] = float(
                    np.mean([metric.corpus_score(own, references).score for own in hypotheses])
                )
            ours = (mode, domain, OURS, budget)
            if ours in rows and key != ours:
                compared = {domain: "beam"} | dict.fromkeys(general, "greedy")
                judged["ours"] = {}
                for test, kind in compared.items():
                    found = compare(statistics(ours, test, kind), statistics(key, test, kind))
                    judged["ours"][test] = [round(found.difference, 2), round(found.p, 4)]
            out.append(judged)
    return out
