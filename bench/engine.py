"""craft_stream itself, its learner and selector in turn, as `craft-stream select` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from bench.corpus import Corpus
from bench.scenarios import Scenario
from bench.selection import Selection
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.tokenized import TokenizedPairs

EPOCH = 1024


def parameters(overrides: Mapping[str, Any], rate: float) -> Parameters:
    """Parameters with `overrides` (by field name, of either half) and the budget's rate."""
    defaults = Parameters()
    halves: dict[str, dict[str, Any]] = {"learning": {}, "selection": {"rate": rate}}
    names = {
        half: {field.name for field in fields(kind)}
        for half, kind in (("learning", LearningParameters), ("selection", SelectionParameters))
    }
    for key, value in overrides.items():
        owners = [half for half in halves if key in names[half]]
        if not owners:
            raise ValueError(
                f"no parameter {key!r}; known: {', '.join(sorted(names['learning'] | names['selection']))}"
            )
        for half in owners:
            halves[half][key] = value
    return Parameters(
        learning=replace(defaults.learning, **halves["learning"]),
        selection=replace(defaults.selection, **halves["selection"]),
    )


def select(corpus: Corpus, scenario: Scenario, overrides: Mapping[str, Any]) -> Selection:
    """Prime on the head, decide from the start by epochs; what was read for priming is not learned twice."""
    settings, encoder = parameters(overrides, scenario.rate), load_encoder("hashing")
    pairs = corpus.pairs if scenario.name == "plain" else corpus.pairs.take(scenario.order)
    pairs = replace(pairs, positions=np.arange(len(pairs)))
    learner, selector, ledger = Learner(settings, encoder), Selector(settings, encoder), Ledger(settings)
    result = Selection()
    with result.stage("target"):
        _observe_target(learner, corpus, scenario.domain)
    primed = 0
    with result.stage("prime"):
        while primed < min(settings.learning.prime_pairs, len(pairs)):
            learner.observe(pairs.slice(primed, min(primed + EPOCH, len(pairs))))
            primed += EPOCH
        model = learner.publish()
    parts, versions = [], 1
    for start in range(0, len(pairs), EPOCH):
        batch = pairs.slice(start, min(start + EPOCH, len(pairs)))
        if scenario.swap and start <= scenario.swap[0] < start + EPOCH:
            with result.stage("target"):
                learner.withdraw_target(_identifiers(corpus, scenario.domain))
                _observe_target(learner, corpus, scenario.swap[1])
                model, versions = learner.publish(), versions + 1
        with result.stage("decide"):
            decisions = selector.decide(TokenizedPairs.of(batch), ledger, model)
        with result.stage("learn"):
            learner.observe_accepted(batch.take(np.flatnonzero(decisions.accepted)))
            if start >= primed:
                learner.observe(batch)
            if learner.due:
                model, versions = learner.publish(), versions + 1
        parts.append(decisions.positions[decisions.accepted])
    result.chosen = np.concatenate(parts)
    summary = ledger.summary()
    result.notes = {
        "versions": versions,
        "model_bytes": len(model.encode()),
        "summary": summary,
        "own": summary["kl"],
    }
    return result


def _identifiers(corpus: Corpus, domain: str) -> list[str]:
    return [f"{domain}-{index}" for index in range(len(corpus.target(domain).sources))]


def _observe_target(learner: Learner, corpus: Corpus, domain: str) -> None:
    learner.observe_target(_identifiers(corpus, domain), corpus.target(domain).pairs())
