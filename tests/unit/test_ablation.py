"""Each part of `craft-plus` can be turned off alone, and `craft` is the paper only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy import Stream, Toy, stream, target

from bench.methods import PARTS
from craft_stream.cli.summary import Summary
from craft_stream.encoders import load_encoder
from craft_stream.learning.density import NGramCounts
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch
from craft_stream.text.ngrams import word_ngrams
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize

SIZE = 3072
END = {
    "kl": 0.1, "like_target": 5, "domain_share": None, "unspendable": 0, "rate": 0.05, "model_version": 1,
    "model_digest": "x", "parameters": "y", "seconds": 1.0, "pairs_per_second": 1, "target": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def crawl(toy: Toy) -> Stream:
    """A stream in which every pair comes twice."""
    once = stream(toy, SIZE // 2, seed=7)
    sources, targets = once.batch.source.texts(), once.batch.target.texts()
    twice = np.concatenate([once.in_domain] * 2), np.concatenate([once.clean] * 2)
    return Stream(PairBatch.pack(sources * 2, targets * 2), *twice)


def learned(toy: Toy, crawl: Stream, **learning: Any) -> Model:
    learner = Learner(Parameters(LearningParameters(**learning)), load_encoder())
    learner.observe_target(*target(toy))
    learner.observe(crawl.batch)
    return learner.publish()


@pytest.fixture(scope="module")
def model(toy: Toy, crawl: Stream) -> Model:
    return learned(toy, crawl)


def decide(crawl: Stream, model: Model, **selection: Any) -> tuple[Decisions, Ledger]:
    parameters = Parameters(selection=SelectionParameters(**{"rate": 0.1, **selection}))
    ledger = Ledger(parameters)
    return Selector(parameters, load_encoder()).decide(TokenizedPairs.of(crawl.batch), ledger, model), ledger


def test_without_the_domain_score_translations_are_selected(crawl: Stream, model: Model) -> None:
    """Weight 0: the budget is spent on clean pairs whatever their domain, and there is no gate."""
    decisions, ledger = decide(crawl, model, domain_weight=0.0)
    accepted = decisions.accepted
    assert ledger.gate == -np.inf
    assert accepted.sum() > 0.8 * 0.1 * SIZE
    assert crawl.clean[accepted].mean() > 0.95
    assert crawl.in_domain[accepted].mean() < 0.6
    assert not np.isnan(decisions.quality).any()


def test_without_the_judge_the_domain_is_selected(crawl: Stream, model: Model) -> None:
    """Weight 0 and no floor: noise of the domain is accepted like its clean pairs."""
    off, _ = decide(crawl, model, quality_weight=0.0, quality_floor=-np.inf, near_duplicate=1.1)
    on, _ = decide(crawl, model, near_duplicate=1.1)
    assert (~crawl.clean[off.accepted]).mean() > 5 * (~crawl.clean[on.accepted]).mean() + 0.05
    assert off.reason[~off.accepted].max() != Reason.MISALIGNED
    assert (off.reason == Reason.MISALIGNED).sum() == 0


def test_the_clusters_help_can_be_turned_off(crawl: Stream, model: Model) -> None:
    """At relaxation 1 no cluster has a dual."""
    assert (decide(crawl, model, relaxation=1.0)[0].dual == 0).all()
    assert (decide(crawl, model)[0].dual > 0).any()


def test_duplicates_can_be_accepted(crawl: Stream, model: Model) -> None:
    """Without either rule copies are accepted; with the near one alone nothing is rejected as an exact one."""
    off, _ = decide(crawl, model, duplicates=False, near_duplicate=1.1)
    assert not np.isin(off.reason, (Reason.DUPLICATE, Reason.NEAR_DUPLICATE)).any()
    near, _ = decide(crawl, model, duplicates=False)
    assert (near.reason == Reason.NEAR_DUPLICATE).any()
    assert not (near.reason == Reason.DUPLICATE).any()
    exact, _ = decide(crawl, model, near_duplicate=1.1)
    assert (exact.reason == Reason.DUPLICATE).any()


def test_the_correction_within_clusters_can_be_turned_off(toy: Toy, crawl: Stream, model: Model) -> None:
    """At an infinite ridge the correction is zero, and so is its trace in the features; else it is not."""
    without = learned(toy, crawl, correction_ridge=float("inf"))
    assert not without.translation.correction.weights.any()
    assert model.translation.correction.weights.any()
    assert np.isfinite(without.classifier.weights).all()
    assert np.array_equal(without.translation.conditional.weights, model.translation.conditional.weights)


def test_the_balance_can_be_turned_off() -> None:
    """At 0 both domain weights are the ratio, whatever was accepted."""
    counts = NGramCounts()
    words = PairBatch.pack(["ba ko", "ri tu"], ["me sa", "lo ni"])
    ngrams = word_ngrams(tokenize(words.source), tokenize(words.target))
    counts.set_target(ngrams)
    first = words.slice(0, 1)
    counts.add_selected(word_ngrams(tokenize(first.source), tokenize(first.target)))
    off, on = counts.weights(0.0), counts.weights(1.6)
    assert np.array_equal(off[:, 0], off[:, 1])
    assert not np.array_equal(on[:, 0], on[:, 1])


def test_the_balance_fades_where_far_more_is_accepted_than_the_target_holds() -> None:
    """Ten times beyond four times the target it has a tenth of the strength that it has there, or nearly."""
    words = PairBatch.pack(["ba ko", "ri tu"], ["me sa", "lo ni"])
    ngrams = word_ngrams(tokenize(words.source), tokenize(words.target))
    corrections = []
    for times in (4, 40):
        counts = NGramCounts()
        counts.set_target(ngrams)
        for _ in range(2 * times):  # a half of the target alone
            counts.add_selected(ngrams.slice(0, 1))
        weights = counts.weights(1.6).astype(np.float64)
        corrections.append((weights[:, 0] - weights[:, 1]).max() * (times + 1) / times)
    assert corrections[1] == pytest.approx(corrections[0] / 10, rel=1e-3)


@pytest.fixture(scope="module")
def paper(crawl: Stream, model: Model) -> tuple[Decisions, Ledger]:
    return decide(crawl, model, method="craft")


@pytest.mark.parametrize(
    "changed",
    [
        {"duplicates": False},
        {"near_duplicate": 1.1},
        {"quality_weight": 0.0},
        {"quality_floor": -np.inf},
        {"domain_weight": 0.0},
        {"abstain": False},
        {"relaxation": 1.0},
        {"gate": 100.0},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_paper_knows_none_of_the_parts(
    crawl: Stream, model: Model, paper: tuple[Decisions, Ledger], changed: dict[str, Any]
) -> None:
    """`craft` decides the same whatever the switches of `craft-plus` are."""
    plain, ledger = paper
    other, _ = decide(crawl, model, method="craft", **changed)
    assert np.array_equal(plain.reason, other.reason)
    assert set(np.unique(plain.reason)) <= {Reason.ACCEPTED, Reason.OVER_BUDGET}
    assert ledger.spending == 1


def test_a_switch_is_a_part_of_the_digest() -> None:
    """A ledger of other switches is refused: each is in the parameters' digest."""
    base = Parameters()
    digests = {base.digest}
    for changed in ({"domain_weight": 0.0}, {"duplicates": False}, {"abstain": not base.selection.abstain}):
        digests.add(replace(base, selection=replace(base.selection, **changed)).digest)
    for changed in ({"balance": 0.0}, {"correction_ridge": float("inf")}):
        digests.add(replace(base, learning=replace(base.learning, **changed)).digest)
    assert len(digests) == 6


def test_without_priming_the_budget_is_spent(toy: Toy) -> None:
    """A model that has seen nothing of the stream does not hold the budget back: after the first epochs it is spent."""
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(*target(toy))
    unseen = stream(toy, 6144, seed=9)
    parameters = Parameters(selection=SelectionParameters(rate=0.05))
    selector = Selector(parameters, load_encoder())
    ledger, accepted = Ledger(selector.parameters), 0
    version = learner.publish()
    for start in range(0, 6144, 1024):
        part = unseen.batch.slice(start, start + 1024)
        accepted += int(selector.decide(TokenizedPairs.of(part), ledger, version).accepted.sum())
        learner.observe(part)
        if learner.due:
            version = learner.publish()
    assert ledger.unspendable < 0.1 * 0.05 * 6144
    assert accepted > 0.7 * 0.05 * 6144


def test_every_part_of_the_benchmark_is_a_known_switch() -> None:
    """What `--ablate` turns off are parameters of the engine, each of them away from its default."""
    for name, off in PARTS.items():
        assert off, name
        assert Parameters.of(**off) != Parameters()


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_the_ledger_knows_how_much_of_the_stream_is_like_the_target(toy: Toy, share: float) -> None:
    """Its estimate is near the domain's share of the stream, and near nothing where there is none."""
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(*target(toy))
    part = stream(toy, 4096, share=share, noise=0.0, seed=14).batch
    learner.observe(part)
    parameters = Parameters(selection=SelectionParameters(rate=0.05))
    selector = Selector(parameters, load_encoder())
    ledger = Ledger(selector.parameters)
    assert ledger.domain_share is None
    selector.decide(TokenizedPairs.of(part), ledger, learner.publish())
    assert ledger.domain_share == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(("far", "said"), [(0, False), (1, False), (41, True)])
def test_the_summary_says_when_what_was_accepted_is_far(
    capsys: pytest.CaptureFixture[str], far: int, said: bool
) -> None:
    """Accepted pairs whose domain score is below an average pair's are counted, and named where they are more than a few."""
    summary = Summary()
    domain = np.where(np.arange(200) < far, -0.5, 0.5).astype(np.float32)
    reason = np.where(np.arange(200) < 100, Reason.ACCEPTED, Reason.OVER_BUDGET).astype(np.uint8)
    messages = [Message(b'{"src": "a", "tgt": "b"}', number, "t") for number in range(200)]
    summary.add(
        Chunk.read(messages, RecordSettings()), Decisions.of(np.arange(200), reason=reason, domain=domain)
    )
    summary._end = END
    assert summary.values()["far_from_domain"] == far
    summary.print(as_json=False, to_stderr=False)
    assert ("41 accepted pairs (41%) are farther" in " ".join(capsys.readouterr().out.split())) == said


@pytest.mark.parametrize(("share", "said"), [(0.005, True), (0.06, False), (None, False)])
def test_the_summary_says_when_the_stream_lacks_the_domain(
    capsys: pytest.CaptureFixture[str], share: float | None, said: bool
) -> None:
    """A budget above what looks like the target is named with both shares; one below it is not."""
    summary = Summary()
    summary.read = 1
    summary._end = {**END, "domain_share": share}
    summary.print(as_json=False, to_stderr=False)
    out = " ".join(capsys.readouterr().out.split())
    assert ("0.50% of the stream looks like the target, but the budget asks for 5.00%" in out) == said
    assert ("many of the accepted pairs are likely from outside" in out) == said
