"""Every way to select, under one signature, so that a table is a loop over names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.corpus import Corpus
from bench.orders import CONTEXTS
from bench.scenarios import Scenario
from bench.selection import Selection

Overrides = Mapping[str, Any]


Method = Callable[[Corpus, Scenario, Overrides], Selection]

# Parts of `craft-plus`, and the parameters that turn each of them off.
PARTS: dict[str, Overrides] = {
    "domain score": {"domain_weight": 0.0},
    "discriminant": {"discriminant": 0.0},
    "balance": {"balance": 0.0},
    "P(clean)": {"quality_weight": 0.0, "quality_floor": -np.inf},
    "floor of P(clean)": {"quality_floor": -np.inf},
    "correction within clusters": {"correction_ridge": np.inf},
    "help for clusters": {"relaxation": 1.0},
    "exact duplicates": {"duplicates": False},
    "near duplicates": {"near_duplicate": 1.1},
    "duplicates": {"duplicates": False, "near_duplicate": 1.1},
    "running ahead": {"ahead": 0.0},
    "gate": {"gate": 1e9},
    "priming": {"prime_pairs": 0},
}


def _random(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
    rng = np.random.default_rng(overrides.get("seed", 0))
    return Selection(np.sort(rng.choice(len(scenario.order), scenario.budget, replace=False)))


def _ceiling(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
    """A random half of the domain's clean pairs, by the labels: what no selector can pass; no selector."""
    labels = corpus.labels.take(scenario.order)
    clean = np.flatnonzero(labels.of(scenario.domain) & labels.sound)
    clean = clean[np.unique(labels.keys[clean], return_index=True)[1]]
    size = min(scenario.budget, len(clean))
    return Selection(np.sort(np.random.default_rng(0).choice(clean, size, replace=False)))


def methods() -> dict[str, Method]:
    """Name to method; what a method needs is imported when it is called."""

    def dsir(both: bool) -> Method:
        def run(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
            from bench import dsir as peer

            return peer.select(corpus, scenario, both_sides=both, **overrides)

        return run

    def batch(regression: bool) -> Method:
        def run(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
            from bench import craft_batch as peer

            return peer.select(corpus, scenario, regression=regression, **overrides)

        return run

    def engine(name: str) -> Method:
        def run(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
            from bench import engine as ours

            return ours.select(corpus, scenario, {"method": name, **overrides})

        return run

    def once(context: str) -> Method:
        def run(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
            from bench import engine as ours

            return ours.select_once(corpus, scenario, context, overrides)

        return run

    def twice(context: str) -> Method:
        def run(corpus: Corpus, scenario: Scenario, overrides: Overrides) -> Selection:
            from bench import engine as ours

            return ours.select_twice(corpus, scenario, context, overrides)

        return run

    return {
        "random": _random,
        "dsir-source": dsir(both=False),
        "dsir-both": dsir(both=True),
        "craft-batch": batch(regression=False),
        "craft-batch-regression": batch(regression=True),
        "craft": engine("craft"),
        "craft-plus": engine("craft-plus"),
        **{f"one-pass@{context}": once(context) for context in CONTEXTS},
        **{f"two-passes@{context}": twice(context) for context in CONTEXTS},
        "ceiling": _ceiling,
    }
