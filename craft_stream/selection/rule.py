"""The rule: what becomes of a pair. Decisions, explanations, margins and audits all come from here.

A pair passes one bar after the other, and the one that it misses is the reason; it is accepted if it misses none. What is left
of it at a bar is a number below 0 where it misses, minus infinity where no score could help. The least of these is its margin,
so a margin is at or above 0 exactly where a pair is accepted.

`craft`: the pair is not on a list; its distance reaches the threshold; there is room in the budget.

`craft-plus`: it is not on a list; its domain score passes the gate; both sides are of the languages; the target
does not hold it; P(clean) reaches the floor; the score reaches the threshold; there is room; it has not been accepted before.

`craft-plus` with an expensive encoder asks in the order of what an answer costs, so that only what all else has not decided
is embedded. P(clean) is a sum over features, of which those of prediction are bounded: a pair that no embedding could lift over
the floor is rejected by its words. Then come pairs that have been accepted before, and at last what is embedded.

A duplicate thus goes before what an embedding could say, so its outcome is the same whether it was recognised before embedding
(its like stood in an earlier batch) or after (it stands in this one), and its decision shows no embedding either way:
decisions, and the histograms that later thresholds come from, depend on the log alone. For the same reason nothing is left out
because its best score would not reach the threshold: the scores of all that could be accepted make the next epoch's threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.embedding import NO_CLUSTER
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Reason
from craft_stream.selection.faults import faults, fitness
from craft_stream.selection.generation import Query
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.methods import Cascade, Craft, CraftPlus
from craft_stream.text.tokenized import TokenizedPairs

Rows = NDArray[np.int64]
Left = NDArray[np.float32]
_NEVER = np.float32(-np.inf)


# `SeenPairs.admit`, which remembers what it accepts, or `SeenPairs.ask`, which does not.
Admit = Callable[[TokenizedPairs, Query], NDArray[np.uint8]]


class Judgement:
    """Pairs of one run inside an epoch, on their way through the rule.

    Args:
        pairs: the run, in log order, from the ledger's next offset on.
        blocked: bool [n], those on a list.
        scorer: of the Model in force.
        ledger: of the partition, in the run's epoch; read only.
        admit: asks for room and for pairs accepted before.

    Attributes:
        domain: `DomainScores`.
        context: float32 [n], what page and host tell.
        cluster: int16 [n]; `NO_CLUSTER` where no embedding counts.
        gate_scores, scores: float32 [n], see `Method`; where quality was not asked for both are the same.
        quality: float32 [n], log P(clean); NaN where it was not asked for.
        reason: uint8 [n], values of `Reason`.
        margin: float32 [n], the least that was left.
    """

    def __init__(
        self, pairs: TokenizedPairs, blocked: NDArray[np.bool_], scorer: Scorer, ledger: Ledger, admit: Admit
    ) -> None:
        self.pairs, self.blocked, self.scorer, self.ledger, self.admit = pairs, blocked, scorer, ledger, admit
        self.domain = scorer.score_domain(pairs)
        self.context = ledger.contexts.added(pairs.batch.contexts, self.domain.domain)
        self.cluster = self.domain.cluster.copy()
        self.gate_scores = self.scores = self.domain.domain
        self.quality = np.full(len(pairs), np.nan, np.float32)
        self.reason = np.full(len(pairs), int(Reason.ACCEPTED), np.uint8)
        self.margin = np.full(len(pairs), np.inf, np.float32)

    def hold(self, rows: Rows, left: Left, reason: Reason | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Hold the pairs at `rows` against a bar; which of them pass, bool [rows].

        Args:
            rows: which pairs.
            left: float32 [rows], of each.
            reason: of all that miss, or uint8 [rows], of each if it misses.
        """
        self.margin[rows] = np.minimum(self.margin[rows], left)
        passed = left >= 0
        self.reason[rows[~passed]] = reason if isinstance(reason, Reason) else reason[~passed]
        return passed

    def set_gate_scores(self, distance: Left) -> None:
        """Score all pairs as the gate sees them, by domain or by `distance`, float32 [n]."""
        dual = self.ledger.dual(self.cluster)
        own = self.ledger.method.gate_scores(self.domain.domain, distance, self.cluster, dual)
        self.gate_scores = own + self.context
        self.scores = self.gate_scores.copy()

    def set_quality(self, rows: Rows, text: Left | None = None) -> Left:
        """Embed the pairs at `rows`, set their quality and scores; every feature of theirs, float32 [rows, F]."""
        embeddings = self.scorer.embed(self.pairs, rows, self.cluster)
        features = self.scorer.features(self.pairs, rows, embeddings, text)
        quality, dual = self.scorer.quality(features), self.ledger.dual(embeddings.cluster)
        self.cluster[rows], self.quality[rows] = embeddings.cluster, quality
        self.scores[rows] = self.ledger.method.scores(self.gate_scores[rows], quality, dual)
        return features


def judge(
    pairs: TokenizedPairs, blocked: NDArray[np.bool_], scorer: Scorer, ledger: Ledger, admit: Admit
) -> Judgement:
    """Judge a run; for arguments and result see `Judgement`."""
    run, rows = Judgement(pairs, blocked, scorer, ledger, admit), np.arange(len(pairs))
    for step in _STEPS[type(ledger.method)]:
        if len(rows):
            rows = step(run, rows)
    return run


def measure(pairs: TokenizedPairs, scorer: Scorer, ledger: Ledger) -> Judgement:
    """What the gate looks at, of a run that is held against no bar yet."""
    run = Judgement(pairs, np.zeros(len(pairs), np.bool_), scorer, ledger, ledger.seen_pairs.ask)
    _STEPS[type(ledger.method)][0](run, np.arange(len(pairs)))
    return run


# Steps: each holds the pairs that are left against a bar, and leaves those that pass.


def _measure_domain(run: Judgement, rows: Rows) -> Rows:
    run.set_gate_scores(np.zeros(len(rows), np.float32))
    return rows


def _measure_distance(run: Judgement, rows: Rows) -> Rows:
    embeddings = run.scorer.embed(run.pairs, rows, run.cluster)
    run.cluster = embeddings.cluster
    run.set_gate_scores(run.scorer.distance(embeddings))
    return rows


def _lists(run: Judgement, rows: Rows) -> Rows:
    return rows[run.hold(rows, _unless(run.blocked), Reason.LISTED)]


def _gate(run: Judgement, rows: Rows) -> Rows:
    left = run.gate_scores[rows] - np.float32(run.ledger.gate)
    return rows[run.hold(rows, left, Reason.OFF_DOMAIN)]


def _language(run: Judgement, rows: Rows) -> Rows:
    return rows[run.hold(rows, _unless(run.scorer.foreign(run.pairs, rows)), Reason.OTHER_LANGUAGE)]


def _in_target(run: Judgement, rows: Rows) -> Rows:
    if not run.ledger.selection.duplicates:
        return rows
    return rows[run.hold(rows, _unless(run.scorer.in_target(run.pairs, rows)), Reason.IN_TARGET)]


def _quality(run: Judgement, rows: Rows) -> Rows:
    features = run.set_quality(rows)
    left = fitness(features, run.quality[rows], run.ledger.selection.quality_floor)
    return rows[run.hold(rows, left, faults(features))]


def _threshold(run: Judgement, rows: Rows) -> Rows:
    return rows[run.hold(rows, _above_threshold(run, rows), Reason.OVER_BUDGET)]


def _room(run: Judgement, rows: Rows) -> Rows:
    found = run.admit(run.pairs, run.ledger.query(rows, np.ones(len(rows), np.bool_), False))
    return rows[run.hold(rows, _unless(found != Reason.ACCEPTED), found)]


def _cascade(run: Judgement, rows: Rows) -> Rows:
    """Words, duplicates, then floor, threshold and room with nothing embedded that one of the first two decides."""
    ledger, floor = run.ledger, run.ledger.selection.quality_floor
    text = run.scorer.text_features(run.pairs, rows)
    most = run.scorer.without_embedding(text)[:, 1]
    able = run.hold(rows, fitness(text, most, floor), faults(text))
    rows, text = rows[able], text[able]
    new = ~ledger.seen_pairs.hold(run.pairs, ledger.query(rows, np.zeros(len(rows), np.bool_), True))
    run.set_quality(rows[new], text[new])
    fit = fitness(text, run.quality[rows], floor)
    left = np.minimum(fit, _above_threshold(run, rows))
    reason = run.admit(run.pairs, ledger.query(rows, left >= 0, True))
    duplicate = (reason == Reason.DUPLICATE) | (reason == Reason.NEAR_DUPLICATE)
    _forget_embeddings(run, rows[duplicate])
    left[duplicate | ((left >= 0) & (reason == Reason.OVER_BUDGET))] = _NEVER
    unfit = ~duplicate & (fit < 0)
    reason[unfit] = faults(text[unfit])
    return rows[run.hold(rows, left, reason)]


def _forget_embeddings(run: Judgement, rows: Rows) -> None:
    run.scores[rows], run.quality[rows], run.cluster[rows] = run.gate_scores[rows], np.nan, NO_CLUSTER


def _above_threshold(run: Judgement, rows: Rows) -> Left:
    return run.scores[rows] - np.float32(run.ledger.threshold)


def _unless(missed: NDArray[np.bool_]) -> Left:
    return np.where(missed, _NEVER, -_NEVER)


_STEPS: dict[type, tuple[Callable[[Judgement, Rows], Rows], ...]] = {
    Craft: (_measure_distance, _lists, _threshold, _room),
    CraftPlus: (_measure_domain, _lists, _gate, _language, _in_target, _quality, _threshold, _room),
    Cascade: (_measure_domain, _lists, _gate, _language, _in_target, _cascade),
}
