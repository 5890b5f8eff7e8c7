"""What the pairs before it tell of a pair, as a ledger keeps it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from toy import Toy, target

from craft_stream.encoders import load_encoder
from craft_stream.parameters import Parameters
from craft_stream.selection import histogram
from craft_stream.selection.contexts import (
    _HOSTS,
    _MEAN,
    _PAGES,
    _SLOPES,
    NUMBERS,
    TABLE,
    RunningContexts,
    _count,
)
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.session import PairChunk, SelectionSession
from craft_stream.text.batch import PairBatch
from craft_stream.text.contexts import Contexts
from craft_stream.text.hashing import mix
from craft_stream.text.tokenized import TokenizedPairs

TOY = Toy()
ON, OFF = (1.0, 1.0), (0.0, 0.0)


def contexts(weights: tuple[float, float] = ON) -> RunningContexts:
    return RunningContexts(np.zeros(NUMBERS), np.zeros(TABLE), np.zeros(TABLE), weights)


def record(own: RunningContexts, where: Contexts, domain: np.ndarray) -> None:
    own.record(where, domain, domain, domain, np.ones(len(domain), np.bool_))


def taught(where: Contexts, domain: np.ndarray, times: int = 1) -> RunningContexts:
    """Contexts that have seen these pairs, so many times, in epochs of 1,024."""
    own = contexts()
    for _ in range(times):
        for start in range(0, len(domain), 1024):
            own.begin_epoch(1.0)
            record(own, where.slice(start, start + 1024), domain[start : start + 1024])
    own.begin_epoch(1.0)
    return own


def sites(rng: np.random.Generator, pairs: int, length: int) -> np.ndarray:
    """Domain scores of sites, one in four of the domain."""
    site = np.arange(pairs) // length
    return (rng.normal(0, 1, pairs) + 3 * (site % 4 == 0)).astype(np.float32)


def test_neighbours_tell_in_the_order_of_sites_and_nothing_where_shuffled() -> None:
    """The slopes are near 1 for sites of 64 pairs and below .1 for the same pairs shuffled."""
    rng = np.random.default_rng(1)
    domain = sites(rng, 20_000, 64)
    unknown = Contexts.unknown(len(domain))
    assert taught(unknown, domain).slopes[0] > 0.7
    page, host = taught(unknown, rng.permutation(domain)).slopes
    assert page < 0.1
    assert host < 0.2


def test_a_named_page_tells_wherever_its_pairs_stand() -> None:
    """Pairs of 40 pages, shuffled: what is added is near the page's own mean, and ranks it as the means rank."""
    rng = np.random.default_rng(2)
    means = rng.normal(0, 1, 40)
    page = rng.integers(0, 40, 8000)
    domain = (means[page] + rng.normal(0, 1, 8000)).astype(np.float32)
    own = taught(Contexts((page + 1).astype(np.uint64), np.zeros(8000, np.uint64)), domain)
    each = np.arange(40, dtype=np.uint64) + 1
    told = np.array([
        own.added(Contexts(each[k : k + 1], np.zeros(1, np.uint64)), np.zeros(1, np.float32))[0]
        for k in range(40)
    ])  # fmt: skip
    assert np.corrcoef(told, means)[0, 1] > 0.9


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(-4, 8, width=32)), max_size=60),
    st.data(),
)
def test_any_cut_gives_the_same(pairs: list[tuple[int, int, float]], data: st.DataObject) -> None:
    """What is added, and all that is kept, follow from the pairs alone; asking changes nothing."""
    page, host = (np.array([pair[k] for pair in pairs], np.uint64) for k in (0, 1))
    domain = np.array([pair[2] for pair in pairs], np.float32)
    where, cut = Contexts(page, host), data.draw(st.integers(0, len(pairs)))
    whole, parts = (taught(Contexts(page, host), domain) for _ in range(2))
    found = whole.added(where, domain)
    assert (whole.added(where, domain) == found).all()
    record(whole, where, domain)
    cuts = []
    for start, stop in ((0, cut), (cut, len(pairs))):
        part, own = where.slice(start, stop), domain[start:stop]
        cuts.append(parts.added(part, own))
        record(parts, part, own)
    assert (np.concatenate(cuts) == found).all()
    assert (whole._numbers == parts._numbers).all()
    assert (whole._gate == parts._gate).all()


def test_means_are_those_of_the_definition() -> None:
    """Sums and numbers fade by their reach; the mean is shrunk by four pairs, and counts by the slope."""
    x = np.array([1.0, -3.0, 8.0, 2.0], np.float32)
    clipped = [1.0, -1.5, 6.0, 2.0]
    own = contexts()
    own._numbers[_MEAN], own._numbers[_SLOPES] = 0.25, (0.5, 0.125)
    told = own.added(Contexts.unknown(4), x)
    for i in range(4):
        expected = 0.0
        for reach, slope in ((16, 0.5), (1024, 0.125)):
            total = number = 0.0
            for value in clipped[:i]:
                total, number = total * (1 - 1 / reach) + value, number * (1 - 1 / reach) + 1
            expected += slope * (total - number * 0.25) / (number + 4)
        assert told[i] == pytest.approx(expected, abs=1e-6)


def _apart(number: int, places: int) -> np.ndarray:
    """Keys of contexts that meet at no place."""
    keys = np.arange(1, 20 * number, dtype=np.uint64) << np.uint64(20)
    at = np.array([int(mix(key)) % places for key in keys])
    first = np.unique(at, return_index=True)[1]
    return keys[np.random.default_rng(8).choice(first, number, replace=False)]


def test_no_context_knows_of_another() -> None:
    """Of 200 pages and 500 hosts each has its own mean."""
    rng = np.random.default_rng(6)
    pages, hosts = rng.choice(_apart(200, _PAGES), 3000), rng.choice(_apart(500, _HOSTS), 3000)
    x = rng.normal(0, 1, 3000).astype(np.float32)
    own = contexts()
    own._numbers[_SLOPES] = (1.0, 0.5)
    told = own.added(Contexts(pages, hosts), x)
    expected, known = np.zeros(3000), dict[tuple[int, int], tuple[float, float]]()
    for i in range(3000):
        for key, reach, slope in ((pages[i], 16, 1.0), (hosts[i], 1024, 0.5)):
            total, number = known.get((reach, int(key)), (0.0, 0.0))
            expected[i] += slope * total / (number + 4)
            keep = 1 - 1 / reach
            known[reach, int(key)] = total * keep + np.clip(float(x[i]), -1.5, 6), number * keep + 1
    assert told == pytest.approx(expected, abs=1e-6)


def test_slopes_are_those_of_the_definition() -> None:
    """Least squares of x - m on c over what is kept, drawn to the slope before by 50 squares, between 0 and 1."""
    rng = np.random.default_rng(5)
    x = (np.repeat(rng.normal(0, 1, 25), 40) / 2 + rng.normal(0, 1, 1000)).astype(np.float32)
    keys = (np.arange(1000) // 40 + 1).astype(np.uint64) << np.uint64(20)
    own = contexts()
    own._numbers[_SLOPES.stop] = 0.5  # the slope of pages in the version before
    told = [0.0] * len(x)
    clipped = np.clip(x.astype(np.float64), -1.5, 6)
    for i in range(len(x)):
        total = number = 0.0
        for value in clipped[i // 40 * 40 : i]:
            total, number = total * (1 - 1 / 16) + value, number * (1 - 1 / 16) + 1
        told[i] = total / (number + 4)
    record(own, Contexts(keys, np.zeros(1000, np.uint64)), x)
    own.begin_epoch(0.25)
    mean = clipped.mean()
    squares, products = 0.25 * np.var(told) * 1000, 0.25 * np.sum((clipped - mean) * told)
    assert own._numbers[_MEAN] == pytest.approx(mean)
    assert own.slopes[0] == pytest.approx((products + 50 * 0.5) / (squares + 50))
    own._numbers[_SLOPES.stop] = 1e6
    own.begin_epoch(1.0)
    assert own.slopes[0] == 1.0


def test_a_place_is_of_one_context() -> None:
    """Two pages that meet at one place end each other; others do not."""
    keys = np.arange(1, 5000, dtype=np.uint64) << np.uint64(20)
    at = np.array([int(mix(key)) % _PAGES for key in keys])
    same = keys[np.flatnonzero(at == at[0])[1]]
    other = keys[np.flatnonzero(at != at[0])[0]]
    for between, left in ((same, 0.0), (other, 6 / 5)):
        own = contexts((1.0, 0.0))
        own._numbers[_SLOPES] = (1.0, 0.0)
        where = Contexts(np.array([keys[0], between, keys[0]], np.uint64), np.zeros(3, np.uint64))
        assert own.added(where, np.array([9.0, 9.0, 9.0], np.float32))[2] == pytest.approx(left)


@pytest.mark.parametrize("quarters", [-2, 3, 20])
@pytest.mark.parametrize("recorded", [1, 64, 4096])
def test_a_distribution_is_that_of_what_was_added(recorded: int, quarters: int) -> None:
    """By quarters of a score, beside 64 pairs to which nothing was; a row remembers 1,024, and no other row knows of it."""
    own, width, score = contexts(), 0.25, np.float32(1.25)
    _count(own._gate, np.full(recorded, score), np.full(recorded, (quarters - 0.1) * width, np.float32))
    own.begin_epoch(1.0)
    share = min(recorded, 1024) / (min(recorded, 1024) + 64)
    counts = np.zeros(histogram.BINS)
    at = int((score - histogram.LOWEST) / histogram.WIDTH)
    counts[at] = 10
    found = own.at_the_gate(counts)
    assert found[at + quarters * 8] == pytest.approx(10 * share, rel=1e-3)
    assert found[at] == pytest.approx(10 * (1 - share), rel=1e-3)
    assert found.sum() == pytest.approx(10)
    assert own.behind_it(counts).tolist() == counts.tolist()
    scores = np.array([1.25, 1.25 + 0.5, 0.99, 1.0, 3.25], np.float32)  # a row is .5 wide
    gate = 1.0 + quarters * width  # of the lowest score of the row
    passing = (scores + quarters * width >= gate) & (scores // 0.5 == 2)
    unmoved = np.where(scores // 0.5 == 2, 1 - share, 1) * (scores >= gate)
    assert own.passing(scores, gate) == pytest.approx(passing * share + unmoved, rel=1e-3)


def test_thresholds_know_of_contexts() -> None:
    """The distribution with contexts is that of the scores that were recorded, to a bin of what is added."""
    rng = np.random.default_rng(3)
    domain = sites(rng, 4096, 64)
    own = taught(Contexts.unknown(4096), domain, 8)
    plain, added = np.zeros(histogram.BINS), own.added(Contexts.unknown(4096), domain)
    histogram.add(plain, domain, 1.0)
    for counts in (own.at_the_gate(plain), own.behind_it(plain)):
        assert counts.sum() == pytest.approx(4096)
        for share in (0.01, 0.05, 0.2):
            found = histogram.upper_quantile(counts, share * 4096)
            assert ((domain + added) >= found).mean() == pytest.approx(share, abs=0.02)
    gate = 2.0
    passing = own.passing(domain, gate)
    assert passing.mean() == pytest.approx(((domain + added) >= gate).mean(), abs=0.02)


def test_a_new_version_begins_anew_with_the_slopes_that_were() -> None:
    """Nothing is told of a stream of which the new Model has scored nothing; then as much as before."""
    domain = sites(np.random.default_rng(4), 8192, 64)
    own, unknown = taught(Contexts.unknown(8192), domain), Contexts.unknown(1024)
    slopes = own.slopes
    own.begin_version()
    assert not own.added(unknown.slice(0, 1), domain[:1]).any()
    own.begin_epoch(1.0)
    assert own.slopes == slopes
    for start in range(0, 8192, 1024):
        record(own, unknown, 1 + domain[start : start + 1024])
        own.begin_epoch(1.0)
    assert own.slopes == pytest.approx(slopes, abs=0.15)


def test_without_weight_there_is_nothing() -> None:
    """Nothing is added, kept, or changed in a distribution."""
    own, domain = contexts(OFF), np.array([3.0, -1.0], np.float32)
    own.begin_epoch(0.5)
    record(own, Contexts.unknown(2), domain)
    counts = np.arange(histogram.BINS, dtype=np.float64)
    assert not own.added(Contexts.unknown(2), domain).any()
    assert not own._numbers.any()
    assert own.at_the_gate(counts) is counts
    assert own.passing(domain, 0.0).tolist() == [1.0, 0.0]


def _mixed_sites() -> tuple[PairBatch, np.ndarray]:
    """Sites of 256 pairs in turn, one in eight of the domain, in which every third pair says nothing of it."""
    rng, common, own = np.random.default_rng(7), Toy(), random.Random(7)
    pairs, inside = [], []
    for site in range(40):
        for _ in range(256):
            domain = site % 8 == 3
            if rng.random() < 0.33:
                words = own.choices(common.common, k=8)
                pairs.append((" ".join(words) + ".", " ".join(TOY.translation[word] for word in words) + "."))
            else:
                pairs.append(TOY.pair(own, domain))
            inside.append(domain)
    return PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs]), np.array(inside)


def decided(batch: PairBatch, **values: object) -> tuple[Decisions, SelectionSession[PairChunk]]:
    parameters = Parameters.of(**{"rate": 0.1, "prime_pairs": 4096, **values})
    session: SelectionSession[PairChunk] = SelectionSession(parameters, load_encoder())
    session.observe_target(*target(TOY))
    chunks = (
        PairChunk(TokenizedPairs.of(batch.slice(start, start + 512))) for start in range(0, len(batch), 512)
    )
    return Decisions.concatenate([decisions for _, decisions in session.decide(chunks)]), session


def test_a_site_carries_what_its_words_cannot() -> None:
    """Of accepted pairs more are of the domain's sites with contexts than without, and their part of the score is told."""
    batch, inside = _mixed_sites()
    (near, session), (alone, _) = (decided(batch, page_weight=w, host_weight=w) for w in (1.0, 0.0))
    assert inside[near.accepted].mean() > inside[alone.accepted].mean() + 0.02
    assert near.context[near.accepted].mean() > 0.2
    assert not alone.context.any()
    assert session.ledger.contexts.slopes[0] > 0.2


def test_contexts_travel_with_the_ledger() -> None:
    """A ledger restored from snapshot and deltas goes on as the one that was never away."""
    models = list(toy.versions())
    batch, _ = _mixed_sites()
    batch = batch.take(np.arange(6144))
    where = Contexts(
        (np.arange(6144) // 7 + 1).astype(np.uint64), (np.arange(6144) // 500 + 1).astype(np.uint64)
    )
    pairs = TokenizedPairs.of(replace(batch, where=where))
    parameters = Parameters.of(rate=0.1)
    selector, whole, first = Selector(parameters, load_encoder()), Ledger(parameters), Ledger(parameters)
    expected = selector.decide(pairs, whole, models[-1])
    copy = Ledger.restore(parameters, first.snapshot())
    found = []
    for start, stop in ((0, 1000), (1000, 3333), (3333, 5120), (5120, 6144)):
        found.append(selector.decide(pairs.slice(start, stop), first, models[-1]))
        copy.apply(first.delta())
    assert (Decisions.concatenate(found).score == expected.score).all()
    copy.bind(models[-1])
    assert copy.digest() == first.digest() == whole.digest()
    assert expected.context[-1024:].any()
