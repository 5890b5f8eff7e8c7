"""Selecting from a stream that can be read again: even samples, contexts, portions, and the whole of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import SMALL, Toy, stream, target

from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.learning.even_sample import EvenSample
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.ports.messages import Message
from craft_stream.ranking.candidates import Candidates
from craft_stream.ranking.contexts import PLACES, ContextMeans, places_of
from craft_stream.ranking.portions import Portions
from craft_stream.ranking.ranking import Options, Ranking
from craft_stream.ranking.spool import Spool
from craft_stream.ranking.taking import Scores, Taking
from craft_stream.reading.chunk import Chunk, Run
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.session import PairChunk
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch
from craft_stream.text.contexts import Contexts
from craft_stream.text.tokenized import TokenizedPairs

TOY = Toy()
SIZE = 1600
FIELDS = RecordSettings()


@dataclass(frozen=True)
class Part:
    """Consecutive pairs."""

    pairs: PairBatch

    @property
    def start(self) -> int:
        """Position of the first."""
        return int(self.pairs.positions[0])

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self) -> PairChunk:
        """All of them."""
        return PairChunk(TokenizedPairs.of(self.pairs))

    def known(self, rows: np.ndarray) -> PairChunk:
        """All of them."""
        assert len(rows) == len(self.pairs)
        return self.read()

    def batch_at(self, positions: np.ndarray) -> PairBatch:
        """Some of them."""
        return self.pairs.take(positions - self.start)


def parts(batch: PairBatch, cut: int) -> Iterator[Part]:
    batch = replace(batch, positions=np.arange(len(batch)))
    for start in range(0, len(batch), cut):
        yield Part(batch.slice(start, min(start + cut, len(batch))))


def rank(
    batch: PairBatch, cut: int = 1024, options: Options[PairChunk] | None = None, **values: object
) -> tuple[Decisions, Ranking[PairChunk]]:
    parameters = Parameters.of(SMALL.digest, **{"rate": 0.05, "prime_pairs": 1024, **values})
    ranking = Ranking(parameters, SMALL, options=options)
    ranking.observe_target(*target(TOY))
    decided = [decisions for _, decisions in ranking.decide(lambda: parts(batch, cut))]
    return Decisions.concatenate(decided), ranking


@pytest.fixture(scope="module")
def whole() -> tuple[Decisions, Ranking[PairChunk]]:
    return rank(stream(TOY, SIZE).batch)


def test_the_budget_is_met_to_the_pair_with_what_is_wanted(
    whole: tuple[Decisions, Ranking[PairChunk]],
) -> None:
    """Every pair is decided once; 5 % of them are accepted, clean ones of the domain, none under the floor."""
    decisions, ranking = whole
    labels = stream(TOY, SIZE)
    assert decisions.positions.tolist() == list(range(SIZE))
    assert decisions.accepted.sum() == SIZE // 20 == ranking.ledger.accepted
    assert (labels.in_domain & labels.clean)[decisions.accepted].mean() > 0.95
    assert (decisions.quality[decisions.accepted] >= -0.5).all()
    assert (decisions.score[decisions.accepted] >= decisions.threshold[decisions.accepted]).all()
    assert ranking.ledger.seen == SIZE
    assert ranking.ledger.reasons.tolist() == np.bincount(decisions.reason, minlength=len(Reason)).tolist()


def test_the_parts_of_a_score_add_up(whole: tuple[Decisions, Ranking[PairChunk]]) -> None:
    """Domain, page and site, help and weighted quality are the score; what is taken later has been helped less."""
    decisions, ranking = whole
    asked, selection = ~np.isnan(decisions.quality), ranking.ledger.selection
    parts = selection.domain_weight * decisions.domain + decisions.context + decisions.dual
    parts[asked] += (selection.quality_weight * decisions.quality)[asked]
    assert asked.sum() > SIZE // 20
    assert decisions.score == pytest.approx(parts, abs=1e-4)
    assert decisions.dual[decisions.accepted].min() < 0


def test_the_version_that_is_kept_scores_as_it_did(whole: tuple[Decisions, Ranking[PairChunk]]) -> None:
    """Decisions name it, and scored by it every pair has the parts that it was decided by."""
    decisions, ranking = whole
    assert ranking.model is not None
    assert set(decisions.model_version.tolist()) == {ranking.model.version}
    again = Ranking[PairChunk](Parameters.of(SMALL.digest, rate=0.05), SMALL, ranking.model)
    scored = Decisions.concatenate(
        [said for _, said in again.score(lambda: parts(stream(TOY, SIZE).batch, 1024))]
    )
    assert (scored.domain == decisions.domain).all()
    asked = ~np.isnan(decisions.quality)
    assert (scored.quality[asked] == decisions.quality[asked]).all()
    assert scored.score[asked] == pytest.approx((decisions.score - decisions.dual)[asked], abs=1e-4)


@pytest.mark.parametrize("variant", [{"cut": 700}, {"cut": 7000}, {"options": Options(jobs=3)}])
def test_neither_cuts_nor_threads_change_a_decision(
    whole: tuple[Decisions, Ranking[PairChunk]], variant: dict[str, object]
) -> None:
    """The same decisions, field by field, and the same version in the end."""
    decisions, ranking = rank(stream(TOY, SIZE).batch, **variant)  # type: ignore[arg-type]
    for name in Decisions.__slots__:
        assert np.array_equal(getattr(decisions, name), getattr(whole[0], name), equal_nan=True), name
    assert ranking.model is not None
    assert whole[1].model is not None
    assert ranking.model.digest == whole[1].model.digest
    assert ranking.ledger.summary() == whole[1].ledger.summary()


def test_the_order_has_no_influence(whole: tuple[Decisions, Ranking[PairChunk]]) -> None:
    """With the domain last, where one pass would have spent its budget before, nine of ten accepted pairs are the same."""
    labels = stream(TOY, SIZE)
    order = np.argsort(labels.in_domain, kind="stable")
    decisions, _ = rank(labels.batch.take(order))
    assert decisions.accepted.sum() == SIZE // 20
    same = np.intersect1d(order[decisions.accepted], np.flatnonzero(whole[0].accepted))
    assert len(same) > 0.8 * SIZE // 20
    assert (labels.in_domain & labels.clean)[order[decisions.accepted]].mean() > 0.95


@pytest.mark.parametrize(("budget", "accepted"), [(1, 1), (77, 77), (10**6, None)])
def test_a_count_is_met_exactly_where_the_stream_holds_so_many(budget: int, accepted: int | None) -> None:
    """One pair, 77, or more than there are: then all that no bar holds back."""
    decisions, ranking = rank(stream(TOY, 1100).batch, options=Options(budget=lambda _: budget))
    told = min(budget, 1100) - decisions.accepted.sum()
    assert ranking.ledger.summary()["unspendable"] == told
    assert ranking.ledger.threshold == decisions.score[decisions.accepted].min()
    if accepted is None:
        assert set(decisions.reason) & {Reason.OVER_BUDGET, Reason.OFF_DOMAIN} == set()
        assert 0.7 * 1100 < decisions.accepted.sum() < 1100
    else:
        assert decisions.accepted.sum() == accepted


def test_what_is_listed_is_never_accepted() -> None:
    """Pairs that the lists name have that reason, whatever their score."""
    labels = stream(TOY, 1100)

    def matches(chunk: PairChunk) -> np.ndarray:
        return labels.in_domain[chunk.pairs.batch.positions]

    decisions, _ = rank(labels.batch, options=Options(matches=matches))
    assert (decisions.reason[labels.in_domain] == Reason.LISTED).all()
    assert not decisions.accepted[labels.in_domain].any()
    assert (decisions.reason == Reason.LISTED).sum() == labels.in_domain.sum()


def test_what_the_target_holds_is_taken_last() -> None:
    """Not while anything else passes; where nothing else is left the budget is met with it."""
    labels = stream(TOY, 600, share=0.5, noise=0.0)
    _, own = target(TOY)
    batch = PairBatch.concatenate([labels.batch, own])
    mine = np.arange(len(batch)) >= 600
    few, all_ = (rank(batch, options=Options(budget=lambda _, n=n: n))[0] for n in (100, 660))
    assert few.accepted.sum() == 100
    assert not few.accepted[mine].any()
    assert (few.reason[mine] == Reason.IN_TARGET).sum() > 0.5 * mine.sum()
    assert all_.accepted[mine].sum() > 0.3 * mine.sum()


def test_copies_are_accepted_once() -> None:
    """Of a stream that holds everything three times, no pair is accepted twice."""
    batch = stream(TOY, 1500).batch
    decisions, _ = rank(PairBatch.concatenate([batch] * 3), rate=0.02)
    assert decisions.accepted.sum() == 90
    rows = np.flatnonzero(decisions.accepted) % 1500
    assert len(np.unique(rows)) == 90


def test_the_paper_s_own_criterion_ranks_too() -> None:
    """`method = "craft"`: proportional quotas, no context, budget exact."""
    decisions, ranking = rank(stream(TOY, 1100).batch, method="craft", host_weight=1.0)
    assert decisions.accepted.sum() == 55
    assert ranking.ledger.selection.host_weight == 0


@pytest.mark.parametrize(("change", "said"), [(100, "has more now"), (-100, "has 900 now")])
def test_a_stream_that_changes_between_readings_is_refused(change: int, said: str) -> None:
    """Longer or shorter than it was: in words that say what to do."""
    lengths = iter([1000, 1000, 1000 + change])

    def begin() -> Iterator[Part]:
        return parts(stream(TOY, 1100).batch.slice(0, next(lengths)), 256)

    with pytest.raises(DataError, match=rf"1,000 records .* {said}.*--one-pass"):
        list(_ranking().decide(begin))


def test_without_pairs_nothing_happens() -> None:
    """An empty stream: no decision, one version."""
    decided = list(
        _ranking().decide(lambda: iter(()))  # type: ignore[arg-type]
    )
    assert decided == []


def _ranking() -> Ranking[PairChunk]:
    ranking: Ranking[PairChunk] = Ranking(Parameters.of(SMALL.digest, rate=0.05), SMALL)
    ranking.observe_target(*target(TOY))
    return ranking


def test_a_pinned_version_ranks_without_learning() -> None:
    """All are scored by it, and it stays what it was."""
    model, _ = toy.versions()
    ranking: Ranking[PairChunk] = Ranking(Parameters.of(rate=0.05), load_encoder(), model)
    decided = [decisions for _, decisions in ranking.decide(lambda: parts(stream(TOY, 2000).batch, 512))]
    decisions = Decisions.concatenate(decided)
    assert decisions.accepted.sum() == 100
    assert ranking.model is model
    assert set(decisions.model_version) == {model.version}


def test_what_holds_no_pair_is_passed_over() -> None:
    """At the end of each run, and a run of nothing else: the budget is of the pairs, the ledger ends behind the last record."""
    model, _ = toy.versions()
    batch = stream(TOY, 300).batch
    texts = zip(batch.source.texts(), batch.target.texts(), strict=True)
    records = [orjson.dumps({"src": source, "tgt": target}) for source, target in texts]
    values = [*records[:200], b"?", b"?", *records[200:], *[b"?"] * 110]
    runs = [
        Run(
            [Message(value, start + at) for at, value in enumerate(values[start : start + 101])],
            start,
            FIELDS,
        )
        for start in range(0, len(values), 101)
    ]
    ranking: Ranking[Chunk] = Ranking(Parameters.of(rate=0.1), load_encoder(), model)
    decided = [decisions for _, decisions in ranking.decide(lambda: runs)]
    decisions = Decisions.concatenate(decided)
    assert decisions.positions.tolist() == [at for at, value in enumerate(values) if value != b"?"]
    assert (decisions.accepted.sum(), ranking.ledger.seen) == (30, 300)
    assert ranking.ledger.next_offset == len(values) == 412


# Contexts.


def _mixed_pages() -> tuple[PairBatch, np.ndarray, Contexts]:
    """Pages of 20 pairs, one in ten of the domain; a third of each page's pairs are in words that all share."""
    rng, pairs, inside = random.Random(5), [], []
    common = Toy()
    for page in range(150):
        own = page % 10 == 0
        for _ in range(20):
            vague = rng.random() < 0.3
            source, translation = TOY.pair(rng, own)
            if vague:
                words = rng.choices(common.common, k=8)
                source = " ".join(words) + "."
                translation = " ".join(TOY.translation[word] for word in words) + "."
            pairs.append((source, translation))
            inside.append(own)
    page = np.repeat(np.arange(150, dtype=np.uint64) + 1, 20)
    batch = PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs])
    return batch, np.array(inside), Contexts(page, np.zeros(len(page), np.uint64))


def test_a_page_tells_what_its_words_cannot() -> None:
    """Of 270 pairs of the domain, a third of which say nothing of it, most are found by their pages, shuffled or not."""
    batch, inside, where = _mixed_pages()
    order = np.random.default_rng(3).permutation(len(batch))
    batch, inside = batch.take(order), inside[order]
    batch = replace(batch, where=where.take(order))
    told, alone = (
        rank(batch, options=Options(budget=lambda _: 270), page_weight=weight)[0].accepted
        for weight in (1.0, 0.0)
    )
    assert inside[told].mean() > 0.95
    assert inside[told].mean() > inside[alone].mean() + 0.05


def test_neighbours_stand_for_a_page_that_is_not_named() -> None:
    """In the order of the pages the neighbours tell; shuffled they tell nothing and change nothing."""
    batch, inside, _ = _mixed_pages()
    options: Options[PairChunk] = Options(budget=lambda _: 270)
    near, alone = (rank(batch, options=options, page_weight=w, host_weight=w)[0].accepted for w in (1.0, 0.0))
    assert inside[near].mean() > inside[alone].mean() + 0.03
    order = np.random.default_rng(3).permutation(len(batch))
    with_, without = (
        rank(batch.take(order), options=options, page_weight=w, host_weight=w)[0] for w in (1.0, 0.0)
    )
    assert (with_.accepted == without.accepted).mean() > 0.99


@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(-3, 8, width=32)), min_size=2, max_size=40),
)
def test_means_are_of_the_others(pairs: list[tuple[int, float]]) -> None:
    """Against the definition, with the shrinkage that the analysis of variance gives."""
    places = np.array([place for place, _ in pairs], np.uint32)
    scores = np.array([score for _, score in pairs], np.float32)
    means = ContextMeans()
    means.add(places[:1], scores[:1])
    means.add(places[1:], scores[1:])
    means.seal()
    told = means.others(places, scores)
    x = np.clip(scores.astype(float), -1.5, 6)
    groups = [x[places == place] for place in np.unique(places)]
    n, g, mean = len(x), len(groups), x.mean()
    if g < 2 or n == g:
        assert not told.any()
        return
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (n - g)
    size = (n - sum(len(group) ** 2 for group in groups) / n) / (g - 1)
    spread = sum(len(group) * (group.mean() - mean) ** 2 for group in groups) / (g - 1)
    between = (spread - within) / size
    if between <= 1e-9:
        assert np.abs(told).max() < 1e-3
        return
    k = max(within / between, 4)
    for i in range(n):
        others = x[(places == places[i]) & (np.arange(n) != i)]
        assert told[i] == pytest.approx((others - mean).sum() / (len(others) + k), abs=1e-3)


def test_places_of_what_is_unknown_are_its_neighbours() -> None:
    """16 records are a page, 1,024 a host; a hash that is given counts wherever the pair stands."""
    positions = np.arange(2048)
    page, host = places_of(Contexts.unknown(2048), positions)
    assert len(np.unique(page)) == 128
    assert (page[:16] == page[0]).all()
    assert page[16] != page[15]
    assert len(np.unique(host)) == 2
    named = places_of(Contexts(np.full(2048, 9, np.uint64), np.full(2048, 7, np.uint64)), positions)
    assert [len(np.unique(places)) for places in named] == [1, 1]
    assert max(places.max() for places in (page, host, *named)) < PLACES


def test_contexts_are_the_first_url_of_a_record() -> None:
    """Page without its fragment, host without case, port and user; a name of a document is a page of no host."""
    records = [
        b'{"src": "a", "tgt": "b", "url": "https://user@WWW.Example.org:8080/x#part"}',
        b'{"src": "a", "tgt": "b", "src_url": "https://www.example.org/x", "url": ""}',
        b'{"src": "a", "tgt": "b"}',
        b"no record",
        b'{"src": "a", "tgt": "b", "url": "document-7"}',
        b'{"src": "a", "tgt": "b", "url": "https://user@WWW.Example.org:8080/x"}',
        b'{"src": "a", "tgt": "b", "url": 7}',
    ]
    chunk = Chunk.read([Message(value, at) for at, value in enumerate(records)], RecordSettings(), 0)
    page, host = chunk.pairs.batch.contexts
    assert chunk.rows.tolist() == [0, 1, 2, 4, 5, 6]
    assert page[0] == page[4]
    assert len({*page.tolist()}) == 4
    assert host[0] == host[1] == host[4] != 0
    assert page[2] == host[2] == page[5] == 0
    assert page[3] != 0 == host[3]


# Parts.


@settings(max_examples=30)
@given(st.integers(0, 400), st.integers(1, 64), st.integers(1, 50))
def test_an_even_sample_is_the_same_however_it_is_cut(records: int, size: int, cut: int) -> None:
    """The same records in the same order, `size` of them or all."""
    samples = []
    for step in (cut, 400):
        sample = EvenSample(size)
        for start in range(0, records, step):
            at = np.arange(start, min(start + step, records))
            sample.read(Part(PairBatch.pack([str(i) for i in at], ["x"] * len(at), at)))
        samples.append(sample.batch())
    assert samples[0].positions.tolist() == samples[1].positions.tolist()
    assert len({*samples[0].positions.tolist()}) == min(size, records)
    assert samples[0].source.texts() == [str(i) for i in samples[0].positions]


def test_an_even_sample_is_even() -> None:
    """Of 100,000 records each tenth gives about a tenth, in the whole sample and in its first half."""
    sample = EvenSample(5000)
    for start in range(0, 100_000, 1000):
        at = np.arange(start, start + 1000)
        sample.read(Part(PairBatch.pack(["a"] * len(at), ["b"] * len(at), at)))
    batch = sample.batch()
    assert len(batch) == 5000
    for part in (batch.positions, batch.positions[:2500]):
        shares = np.bincount(part // 10_000, minlength=10) / len(part)
        assert shares.min() > 0.08
        assert shares.max() < 0.12


def test_a_spool_gives_back_what_was_appended() -> None:
    """Empty, grown, and grown again after it was read."""
    spool = Spool(np.float32)
    assert len(spool) == 0 == len(spool.values())
    spool.append(np.arange(5))
    assert spool.values().tolist() == [0, 1, 2, 3, 4]
    spool.values()[0] = 9
    spool.append(np.array([7.5]))
    assert spool.values().tolist() == [9, 1, 2, 3, 4, 7.5]
    assert len(spool) == 6


def test_candidates_keep_words_and_ngrams() -> None:
    """Of chosen rows, in any order, as the batch had them, also after more were added, one at a time."""
    pairs = TokenizedPairs.of(stream(TOY, 50).batch)
    candidates = Candidates()
    for row in (3, 10, 49):
        one = np.ones(1, np.float32)
        candidates.add(pairs, np.array([row]), one, one, np.zeros(1, np.int16))
        candidates.seal()
        assert len(candidates.ngrams(np.arange(len(candidates)))) == len(candidates)
    assert candidates.positions.tolist() == [3, 10, 49]
    for order in ([2, 0], [1], []):
        chosen = np.array(order, np.int64)
        ngrams, (source, target_) = candidates.ngrams(chosen), candidates.words(chosen)
        for i, row in enumerate(candidates.positions[chosen].tolist()):
            one = pairs.slice(row, row + 1)
            low, high = ngrams.offsets[i : i + 2]
            assert ngrams.indices[low:high].tolist() == one.ngrams.indices.tolist()
            for words, tokens in ((source, one.source), (target_, one.target)):
                assert words.hashes[words.offsets[i] : words.offsets[i + 1]].tolist() == tokens.words.tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 2**32))
def test_clusters_get_their_share(budget: int, relaxation: float, seed: int) -> None:
    """Between their bounds where they hold enough; exactly the best where the division is free."""
    rng, pairs = random.Random(seed), TokenizedPairs.of(stream(TOY, 400).batch)
    n, shares = 400, np.array([0.5, 0.3, 0.2])
    scores = np.array([rng.random() for _ in range(n)], np.float32)
    cluster = np.array([rng.randrange(3) for _ in range(n)], np.int16)
    candidates = Candidates()
    candidates.add(pairs, np.arange(n), scores, scores, cluster)
    candidates.seal()
    selection = SelectionParameters(relaxation=relaxation, duplicates=False, near_duplicate=1.1)
    portions = Portions(selection, shares, budget)
    portions.take(candidates, None)
    taken = portions.reasons == Reason.ACCEPTED
    held = np.bincount(cluster[taken], minlength=3)
    if relaxation == 1:
        assert sorted(scores[taken]) == sorted(scores)[-budget:]
        assert portions.missing == 0
        return
    firm = 1 - relaxation
    assert (held <= np.ceil(shares * budget / firm)).all()
    enough = np.bincount(cluster, minlength=3) >= np.ceil(firm * shares * budget)
    assert (held + 2 >= np.floor(firm * shares * budget))[enough].all()
    assert taken.sum() + portions.missing == budget


def _take(shares: list[float], count: int | None, lowest: float = -np.inf) -> tuple[Decisions, float, int]:
    """Of 300 pairs, the even ones in one cluster and 10 better than the odd ones, which are in another."""

    def said(chunk: PairChunk) -> Scores:
        at, odd = chunk.pairs.batch.positions, chunk.pairs.batch.positions % 2
        score = (10.0 * (odd == 0) + at / 1000).astype(np.float32)
        return Scores(np.full(len(at), Reason.ACCEPTED, np.uint8), score, score, score, odd.astype(np.int16))

    selection = SelectionParameters(relaxation=0.2, duplicates=False, near_duplicate=1.1)
    taking = Taking[PairChunk](selection, np.array(shares), said)
    taken = [told for _, told in taking.take(lambda: parts(stream(TOY, 300).batch, 101), count, lowest)]
    return Decisions.concatenate(taken), taking.threshold, taking.missing


def test_what_is_taken_keeps_to_the_shares_of_clusters() -> None:
    """Of two as many as the bounds say, of one the best; the rest is over budget, and what is missing is told."""
    decisions, threshold, missing = _take([0.5, 0.5], 40)
    taken = decisions.positions[decisions.accepted]
    assert (taken % 2).sum() == 16
    assert (len(taken), missing) == (40, 0)
    assert threshold == decisions.score[decisions.accepted].min() == decisions.threshold[0]
    assert set(decisions.reason.tolist()) == {Reason.ACCEPTED, Reason.OVER_BUDGET}
    decisions, _, _ = _take([1.0], 40)
    assert decisions.positions[decisions.accepted].tolist() == list(range(220, 300, 2))
    decisions, _, missing = _take([1.0], 500)
    assert (decisions.accepted.sum(), missing) == (300, 200)
    decisions, threshold, missing = _take([1.0], None, 10.25)
    assert decisions.positions[decisions.accepted].tolist() == list(range(250, 300, 2))
    assert (threshold, missing) == (10.25, 0)


def test_runs_read_some_records() -> None:
    """Pairs at positions, in the stream's numbers; what holds no pair is left out."""
    messages = [Message(b'{"src": "a%d", "tgt": "b"}' % at if at != 4 else b"?", at) for at in range(8)]
    run = Run(messages, 100, RecordSettings())
    batch = run.batch_at(np.array([101, 104, 106]))
    assert len(run) == 8
    assert batch.positions.tolist() == [101, 106]
    assert batch.source.texts() == ["a1", "a6"]
    assert run.read().end == 108


def test_a_run_that_was_read_before_is_the_same() -> None:
    """Which records hold pairs is known: the chunk says what one that is read says, its pairs when they are asked for."""
    messages = [Message(b'{"src": "a%d", "tgt": "b"}' % at if at % 3 else b"?", at) for at in range(8)]
    run = Run(messages, 100, RecordSettings())
    read = run.read()
    known = run.known(read.rows)
    assert known.rows.tolist() == read.rows.tolist()
    assert (known.messages, known.refused, known.end) == (read.messages, read.refused, read.end)
    assert (
        known.pairs.batch.positions.tolist()
        == read.pairs.batch.positions.tolist()
        == [101, 102, 104, 105, 107]
    )
