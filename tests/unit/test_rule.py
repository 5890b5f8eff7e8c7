"""One rule: what is said of a pair is what then becomes of it, on ledgers of every kind."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoders import Counting
from test_ranking import parts

from craft_stream.encoders import load_encoder
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.ranking.ranking import Options, Ranking
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.generation import Query
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.rule import judge, measure
from craft_stream.selection.selector import Selector
from craft_stream.session import PairChunk
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

HOME = [("the house", "la maison"), ("a garden", "un jardin"), ("our street", "notre rue"),
        ("every window", "chaque fenêtre"), ("this table", "cette table"), ("the old door", "la vieille porte")]  # fmt: skip
WORK = [("the ship", "le navire"), ("a harbour", "un port"), ("our captain", "notre capitaine"),
        ("every sail", "chaque voile"), ("this storm", "cette tempête"), ("the old anchor", "la vieille ancre")]  # fmt: skip
GERMAN = ["das Haus", "ein Garten", "unsere Straße", "jedes Fenster", "dieser Tisch", "die alte Tür"]
# Of every kind that the rule knows, and how often.
KINDS = ("domain", "other", "german", "copy", "garbled", "misaligned", "empty")
SHARES = (0.45, 0.25, 0.1, 0.05, 0.05, 0.05, 0.05)


def made(rng: np.random.Generator, kind: str) -> tuple[str, str]:
    words = WORK if kind == "other" else HOME
    chosen = rng.integers(0, 6, rng.integers(2, 6))
    source = f"We have seen {' and '.join(words[i][0] for i in chosen)}."
    target = f"Nous avons vu {' et '.join(words[i][1] for i in chosen)}."
    if kind == "german":
        target = f"Wir haben {' und '.join(GERMAN[i] for i in chosen)} gesehen, und sie sind sehr schön."
    if kind == "copy":
        target = source
    if kind == "garbled":
        target = target.encode().decode("latin-1") + " Ã©tÃ©"
    if kind == "misaligned":
        target = f"Vous prenez {' et '.join(words[i][1] for i in rng.integers(0, 6, 9))}."
    return ("", target) if kind == "empty" else (source, target)


@cache
def pool(size: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [made(rng, kind) for kind in rng.choice(KINDS, size, p=SHARES)]


def packed(pairs: list[tuple[str, str]], first: int = 0) -> TokenizedPairs:
    sources, targets = [a for a, _ in pairs], [b for _, b in pairs]
    return TokenizedPairs.of(PairBatch.pack(sources, targets, range(first, first + len(pairs))))


@cache
def engine(expensive: bool) -> tuple[Embedder, tuple[Model, ...]]:
    """An encoder, and two versions learned with it that tell languages."""
    pytest.importorskip("eldc")  # has no wheels for Python 3.14
    encoder = DenseEncoder(Counting(), "counting") if expensive else load_encoder()
    learning = LearningParameters(identifier="eldc", languages="en-fr", embedded_rate=0.5)
    learner = Learner(Parameters(learning, encoder=encoder.digest), encoder)
    rng = np.random.default_rng(0)
    target = [made(rng, "domain") for _ in range(200)]
    learner.observe_target([str(i) for i in range(200)], packed(target).batch)
    versions = []
    for seed in (1, 2):
        learner.observe(packed(pool(2500, seed), learner.pairs_seen).batch)
        versions.append(learner.publish())
    return encoder, tuple(versions)


rules = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["craft-plus", "craft-plus", "craft"]),
        "rate": st.sampled_from([0.0, 0.01, 0.2, 1.0]),
        "ahead": st.sampled_from([0.0, 0.5]),
        "relaxation": st.sampled_from([0.0, 0.5, 1.0]),
        "domain_weight": st.sampled_from([0.0, 1.0, 1.0]),
        "gate": st.sampled_from([1.0, 3.0, 100.0]),
        "quality_weight": st.sampled_from([0.0, 2.5]),
        "quality_floor": st.sampled_from([-np.inf, -0.5, -0.1]),
        "duplicates": st.booleans(),
        "near_duplicate": st.sampled_from([0.3, 0.55, 1.1]),
        "abstain": st.booleans(),
    }
)


@given(
    expensive=st.booleans(),
    rule=rules,
    decided=st.sampled_from([0, 1, 700, EPOCH - 20, EPOCH, 2 * EPOCH - 10]),
    offered=st.sampled_from([0, 1]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_what_is_said_of_a_pair_becomes_of_it(
    expensive: bool, rule: dict[str, object], decided: int, offered: int, seed: int
) -> None:
    """On any ledger `decide` gives the reason that `explain` gave, and accepts exactly where the margin was 0 or more.

    Across epochs, and where another version is offered; saying it changes nothing.
    """
    encoder, models = engine(expensive)
    parameters = Parameters(selection=SelectionParameters(**rule), encoder=encoder.digest)  # type: ignore[arg-type]
    selector, ledger = Selector(parameters, encoder), Ledger(parameters)
    rng = np.random.default_rng(seed)
    before = pool(2 * EPOCH, 3)[:decided]
    selector.decide(packed(before), ledger, models[0])
    probes = [pool(2000, 4)[i] for i in rng.integers(0, 2000, 12)] + (before[-5:] if before else [])
    for source, target in [*probes, probes[0]]:
        blocked = bool(rng.random() < 0.1)
        state = ledger.digest()
        said = selector.explain(source, target, ledger, models[offered], blocked=blocked)
        margin = selector.margin(source, target, ledger, models[offered], blocked=blocked)
        assert ledger.digest() == state
        single = packed([(source, target)], ledger.next_offset)
        done = selector.decide(single, ledger, models[offered], np.array([blocked]))
        assert said["reason"] == Reason(int(done.reason[0])).label
        assert (margin >= 0) == bool(done.accepted[0])
        assert said["margin"] == margin
        assert said["gate"] == ledger.gate
        assert said["threshold"] == ledger.threshold
        assert said["model_version"] == done.model_version[0]
        if not np.isnan(done.quality[0]):
            assert np.float32(said["quality"]) == done.quality[0]
            assert np.float32(said["score"]) == done.score[0]
            assert np.float32(said["dual"]) == done.dual[0]
            assert said["cluster"] == done.cluster[0]


def begun() -> tuple[Scorer, Ledger]:
    """What judges, and a ledger at its first epoch."""
    encoder, models = engine(False)
    ledger = Ledger(Parameters(encoder=encoder.digest))
    ledger.begin_epoch(0, models[0])
    return Scorer(models[0], encoder), ledger


def test_what_is_at_a_bar_passes_it() -> None:
    """Where 0 is left a pair passes; what misses has the reason of the bar, or its own; a margin is the least of all."""
    run = measure(packed(pool(6, 4)), *begun())
    left = np.array([0.0, -1e-30, 2.0, -np.inf], np.float32)
    assert run.hold(np.array([1, 2, 3, 5]), left, Reason.OFF_DOMAIN).tolist() == [True, False, True, False]
    own = np.array([Reason.COPY, Reason.DUPLICATE], np.uint8)
    assert run.hold(np.array([1, 3]), np.array([1.0, -3.0], np.float32), own).tolist() == [True, False]
    accepted, far, again = Reason.ACCEPTED, Reason.OFF_DOMAIN, Reason.DUPLICATE
    assert run.reason.tolist() == [accepted, accepted, far, again, accepted, far]
    assert run.margin.tolist() == [np.inf, 0.0, left[1], -3.0, np.inf, -np.inf]
    assert np.isnan(run.quality).all()


def nobody(_: TokenizedPairs, __: Query) -> np.ndarray:
    raise AssertionError("asked for room")


@pytest.mark.parametrize("count", [0, 3])
def test_no_step_sees_none(count: int) -> None:
    """Of a run without pairs, and of one that a list ends, nothing more is asked."""
    run = judge(packed(pool(3, 4)[:count]), np.ones(count, np.bool_), *begun(), nobody)
    assert run.reason.tolist() == [Reason.LISTED] * count
    assert run.margin.tolist() == [-np.inf] * count


def test_the_cascade_names_the_bar_that_is_missed_by_little() -> None:
    """A pair just under the floor has the reason of its words, one just under the threshold a margin that says how far."""
    encoder, models = engine(True)
    selection = SelectionParameters(rate=0.2, quality_floor=-0.1)
    parameters = Parameters(selection=selection, encoder=encoder.digest)
    ledger, scorer = Ledger(parameters), Scorer(models[0], encoder)
    Selector(parameters, encoder).decide(packed(pool(2 * EPOCH, 3)[: EPOCH + 1]), ledger, models[0])
    probes = packed(pool(2000, 4)[:900], ledger.next_offset)
    none = np.zeros(len(probes), np.bool_)
    run = judge(probes, none, scorer, ledger, ledger.seen_pairs.ask)
    unfit = (run.quality < -0.1) & (run.quality > -1.1)
    assert unfit.any()
    assert not np.isin(run.reason[unfit], (Reason.OVER_BUDGET, Reason.ACCEPTED)).any()
    ledger.threshold = float(np.median(run.scores[run.reason == Reason.ACCEPTED]))
    run = judge(probes, none, scorer, ledger, ledger.seen_pairs.ask)
    over = (run.reason == Reason.OVER_BUDGET) & (run.scores < ledger.threshold)
    assert (run.margin[over] > -1).any()
    assert np.isfinite(run.margin[over]).all()


@pytest.mark.parametrize("expensive", [False, True])
def test_every_reason_is_given(expensive: bool) -> None:
    """The pairs that the property above is held on meet every bar there is."""
    encoder, models = engine(expensive)
    pairs = packed(pool(2 * EPOCH, 3))
    blocked = np.arange(len(pairs)) % 50 == 0
    reasons: set[int] = set()
    for gate in (3.0, 100.0):
        parameters = Parameters(selection=SelectionParameters(rate=0.2, gate=gate), encoder=encoder.digest)
        selector, ledger = Selector(parameters, encoder), Ledger(parameters)
        reasons |= set(selector.decide(pairs, ledger, models[0], blocked).reason.tolist())
    # Copies and unfamiliar text are of another language first, where languages are told.
    assert reasons >= set(Reason) - {Reason.UNFAMILIAR_TEXT, Reason.COPY}


@pytest.mark.parametrize("expensive", [False, True])
@pytest.mark.parametrize("method", ["craft-plus", "craft"])
def test_a_run_is_judged_as_its_pairs_one_by_one(method: str, expensive: bool) -> None:
    """Reasons, margins and scores of a run are those that each pair is given alone, when the ones before are noted."""
    encoder, models = engine(expensive)
    selection = SelectionParameters(method=method, rate=0.2)  # type: ignore[arg-type]
    parameters = Parameters(selection=selection, encoder=encoder.digest)
    selector, ledger = Selector(parameters, encoder), Ledger(parameters)
    ledger.begin_epoch(0, models[0])
    other = ledger.copy()
    pairs = packed(pool(200, 5))
    blocked = np.arange(200) % 17 == 0
    scorer = selector._scorer(models[0])
    run = judge(pairs, blocked, scorer, ledger, ledger.seen_pairs.admit)
    for row in range(200):
        one, here = pairs.slice(row, row + 1), blocked[row : row + 1]
        said = judge(one, here, scorer, other, other.seen_pairs.ask)
        done = selector.decide(one, other, models[0], here)
        assert said.reason[0] == run.reason[row] == done.reason[0]
        assert said.margin[0] == run.margin[row]
        assert said.scores[0] == run.scores[row]
        assert said.gate_scores[0] == run.gate_scores[row]
        assert said.cluster[0] == run.cluster[row]
    assert (run.margin >= 0).tolist() == (run.reason == Reason.ACCEPTED).tolist()


@given(expensive=st.booleans(), rule=rules, budget=st.integers(0, 250), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_two_passes_hold_pairs_against_the_same_bars(
    expensive: bool, rule: dict[str, object], budget: int, seed: int
) -> None:
    """What `select` takes, or leaves for the budget or as repeated, passes the rule; what it rejects has the rule's reason.

    Of pairs that were too far from the domain to be asked nothing is said. What the target holds is held against the other bars
    when all else is taken.
    """
    encoder, models = engine(expensive)
    parameters = Parameters(selection=SelectionParameters(**rule), encoder=encoder.digest)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    pairs = packed([pool(2000, 4)[i] for i in rng.integers(0, 2000, 250)])
    blocked = rng.random(250) < 0.05
    options: Options[PairChunk] = Options(
        matches=lambda chunk: blocked[chunk.pairs.batch.positions], budget=lambda _: budget
    )
    ranking: Ranking[PairChunk] = Ranking(parameters, encoder, models[0], options)
    decided = [decisions for _, decisions in ranking.decide(lambda: parts(pairs.batch, 100))]
    decisions = Decisions.concatenate(decided)
    ledger = Ledger(parameters)
    ledger.begin_epoch(0, models[0])
    ledger.duals[:], ledger.gate, ledger.threshold = 0, -np.inf, -np.inf
    scorer = Selector(parameters, encoder)._scorer(models[0])
    of_rule = judge(pairs, blocked, scorer, ledger, admitted).reason
    ledger.selection = replace(ledger.selection, duplicates=False)
    without_target = judge(pairs, blocked, scorer, ledger, admitted).reason
    taken = np.isin(
        decisions.reason, (Reason.DUPLICATE, Reason.NEAR_DUPLICATE, Reason.OVER_BUDGET, Reason.ACCEPTED)
    )
    reason = np.where(taken, Reason.ACCEPTED, decisions.reason)
    held = (of_rule == Reason.IN_TARGET) & (reason == without_target)
    assert ((reason == of_rule) | held | (reason == Reason.OFF_DOMAIN)).all()
    assert decisions.accepted.sum() <= budget
    assert not (decisions.reason == Reason.OFF_DOMAIN)[blocked].any()


def admitted(pairs: TokenizedPairs, query: Query) -> np.ndarray:
    """Room for every pair, and none seen before."""
    return np.full(len(query.rows), Reason.ACCEPTED, np.uint8)


def test_a_ledgers_own_parameters_rule() -> None:
    """Whatever the selector was made with, until others are given; lists are the selector's in the digest of a decision."""
    encoder, models = engine(False)
    own = Parameters(selection=SelectionParameters(rate=0.06))
    ledger, selector = Ledger(own), Selector(replace(Parameters(), listed="x"), encoder)
    found = selector.decide(packed([("a", "b")]), ledger, models[0])
    assert ledger.parameters is own
    assert f"{found.parameters[0]:016x}" == replace(own, listed="x").digest
    assert selector.margin("a", "b", ledger, models[0]) == Selector(own, encoder).margin(
        "a", "b", ledger, models[0]
    )
