"""craft_stream itself: the session that `craft-stream select` runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.corpus import Corpus
from bench.scenarios import Scenario
from bench.selection import Selection
from bench.targets import target_pairs
from craft_stream.encoders import load_encoder
from craft_stream.parameters import Parameters
from craft_stream.selection.ledger import EPOCH
from craft_stream.session import PairChunk, SelectionSession
from craft_stream.text.tokenized import TokenizedPairs


def select(corpus: Corpus, scenario: Scenario, overrides: Mapping[str, Any]) -> Selection:
    """Select from a scenario's stream; where the target is swapped, a version of the new one takes force at that epoch."""
    parameters = Parameters.of(**{**overrides, "rate": scenario.rate})
    session: SelectionSession[PairChunk] = SelectionSession.threaded(parameters, load_encoder())
    pairs = replace(corpus.pairs.take(scenario.order), positions=np.arange(len(scenario.order)))
    result = Selection()
    with result.stage("target"):
        _observe_target(session, corpus, scenario.domain, scenario.target)
    chosen = []
    with result.stage("stream"):
        for start in range(0, len(pairs), EPOCH):
            if scenario.swap and start <= scenario.swap[0] < start + EPOCH:
                session.withdraw_target(_identifiers(corpus, scenario.domain))
                _observe_target(session, corpus, scenario.swap[1])
                session.publish()
            chunk = PairChunk(TokenizedPairs.of(pairs.slice(start, min(start + EPOCH, len(pairs)))))
            chosen += [decisions.positions[decisions.accepted] for _, decisions in session.push(chunk)]
        chosen += [decisions.positions[decisions.accepted] for _, decisions in session.finish()]
    result.chosen = np.concatenate(chosen)
    summary = session.ledger.summary()
    assert session.model is not None  # noqa: S101  # published at the end of the stream at the latest
    result.notes = {
        "versions": session.versions,
        "target": {"pairs": session.model.target_pairs, **session.model.target_left_out},
        "model_bytes": len(session.model.encode()),
        "summary": summary,
        "own": summary["kl"],
    }
    return result


def _identifiers(corpus: Corpus, domain: str) -> list[str]:
    return [f"{domain}-{index}" for index in range(len(corpus.target(domain).sources))]


def _observe_target(
    session: SelectionSession[PairChunk], corpus: Corpus, domain: str, how: str = "whole"
) -> None:
    pairs = target_pairs(corpus, domain, how)
    session.observe_target(_identifiers(corpus, domain)[: len(pairs)], pairs)
