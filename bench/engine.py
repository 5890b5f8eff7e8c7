"""craft_stream itself: the session that `craft-stream select` runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus
from bench.orders import contexts
from bench.scenarios import Scenario
from bench.selection import Selection
from bench.targets import target_pairs
from craft_stream.encoders import load_encoder
from craft_stream.learning.even_sample import EvenSample
from craft_stream.parameters import Parameters
from craft_stream.ranking.ranking import Options, Ranking
from craft_stream.selection.ledger import EPOCH
from craft_stream.session import PairChunk, SelectionSession
from craft_stream.text.batch import PairBatch
from craft_stream.text.contexts import Contexts
from craft_stream.text.tokenized import TokenizedPairs


def select(corpus: Corpus, scenario: Scenario, overrides: Mapping[str, Any]) -> Selection:
    """Select from a scenario's stream; where the target is swapped, a version of the new one takes force at that epoch."""
    return _decide(corpus, scenario, Parameters.of(**{**overrides, "rate": scenario.rate}), None)


def select_once(corpus: Corpus, scenario: Scenario, context: str, overrides: Mapping[str, Any]) -> Selection:
    """The same as `select --one-pass` does of a file: an even sample primes it, contexts are of `bench.orders.context`."""
    parameters = Parameters.of(**{**_without(context), **overrides, "rate": scenario.rate})
    return _decide(corpus, scenario, parameters, context)


def _decide(corpus: Corpus, scenario: Scenario, parameters: Parameters, context: str | None) -> Selection:
    session: SelectionSession[PairChunk] = SelectionSession.threaded(parameters, load_encoder())
    pairs = _stream(corpus, scenario, context or "neighbours")
    result = Selection()
    with result.stage("target"):
        _observe_target(session, corpus, scenario.domain, scenario.target)
    chosen = []
    with result.stage("stream"):
        if context is not None:
            sample = EvenSample(parameters.learning.prime_pairs)
            sample.read(_Run(pairs))
            session.prime(sample.batch(), len(pairs))
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
    session: SelectionSession[PairChunk] | Ranking[PairChunk],
    corpus: Corpus,
    domain: str,
    how: str = "whole",
) -> None:
    pairs = target_pairs(corpus, domain, how)
    session.observe_target([f"{domain}-{index}" for index in range(len(pairs))], pairs)


@dataclass(frozen=True)
class _Run:
    """Consecutive pairs of a corpus."""

    pairs: PairBatch

    @property
    def start(self) -> int:
        return int(self.pairs.positions[0])

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self) -> PairChunk:
        return PairChunk(TokenizedPairs.of(self.pairs))

    def known(self, rows: NDArray[np.int64]) -> PairChunk:
        return self.read()

    def batch_at(self, positions: NDArray[np.int64]) -> PairBatch:
        return self.pairs.take(positions - self.start)


def select_twice(corpus: Corpus, scenario: Scenario, context: str, overrides: Mapping[str, Any]) -> Selection:
    """Select from a scenario's stream in two passes, with contexts of `bench.orders.context`."""
    parameters = Parameters.of(**{**_without(context), **overrides, "rate": scenario.rate})
    options: Options[PairChunk] = Options(budget=lambda _: scenario.budget, jobs=len(os.sched_getaffinity(0)))
    ranking = Ranking(parameters, load_encoder(), options=options)
    n = len(scenario.order)
    pairs = _stream(corpus, scenario, context)

    def runs() -> Iterator[_Run]:
        for start in range(0, n, EPOCH):
            yield _Run(pairs.slice(start, min(start + EPOCH, n)))

    result = Selection()
    with result.stage("target"):
        _observe_target(ranking, corpus, scenario.domain, scenario.target)
    with result.stage("stream"):
        chosen = [decisions.positions[decisions.accepted] for _, decisions in ranking.decide(runs)]
    result.chosen = np.concatenate(chosen)
    result.notes = {"summary": ranking.ledger.summary(), "own": ranking.ledger.summary()["kl"]}
    return result


def _stream(corpus: Corpus, scenario: Scenario, context: str) -> PairBatch:
    where = Contexts(*contexts(corpus, context)).take(scenario.order)
    return replace(corpus.pairs.take(scenario.order), positions=np.arange(len(scenario.order)), where=where)


def _without(context: str) -> dict[str, float]:
    if context == "neighbours":
        return {}
    return {f"{name}_weight": 0.0 for name in ("page", "host") if name not in context.split("+")}
