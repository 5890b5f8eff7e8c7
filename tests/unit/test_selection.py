"""The selector and its ledger: decisions depend on the log alone, and the ledger travels bit for bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Stream, Toy, stream, target, versions

from craft_stream.encoders import load_encoder
from craft_stream.errors import IntegrityError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.generation import UNIT
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.pacing import ahead
from craft_stream.selection.segments import LEAST, Segment
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

SIZE = 3600


def parameters(**selection: object) -> Parameters:
    return Parameters(LearningParameters(), SelectionParameters(**{"rate": 0.05, **selection}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def models() -> list[Model]:
    """Two versions, the second after more of the stream."""
    return list(versions())


@pytest.fixture(scope="module")
def crawl(toy: Toy) -> Stream:
    return stream(toy, SIZE)


def run(batch: PairBatch, settings_: Parameters, models: list[Model], size: int) -> tuple[Decisions, Ledger]:
    """Decide a batch in pieces; the second model is offered from half of it on."""
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    parts = []
    for start in range(0, len(batch), size):
        # Offered by offset, not by piece: what is in force must not depend on the cut.
        piece = batch.slice(start, min(start + size, len(batch)))
        split = int(np.searchsorted(piece.positions, 3072))
        for part, model in ((piece.slice(0, split), models[0]), (piece.slice(split, len(piece)), models[-1])):
            parts.append(selector.decide(TokenizedPairs.of(part), ledger, model))
    return Decisions.concatenate(parts), ledger


Decided = dict[str, tuple[Decisions, Ledger]]


@pytest.fixture(scope="module")
def decided(crawl: Stream, models: list[Model]) -> Decided:
    """Decisions and ledger of the whole stream, in pieces of 1,024, by method; to be read only."""
    return {
        method: run(crawl.batch, parameters(method=method), models, 1024)
        for method in ("craft-plus", "craft")
    }


def test_selection_finds_the_domain_and_leaves_the_noise(crawl: Stream, decided: Decided) -> None:
    """Most accepted pairs are in the domain and clean, few are noise, and the budget is spent."""
    decisions, _ = decided["craft-plus"]
    accepted = decisions.accepted
    assert 0.95 * 0.05 * SIZE <= accepted.sum() <= 0.05 * SIZE + ahead(SelectionParameters(rate=0.05), SIZE)
    assert (crawl.in_domain & crawl.clean)[accepted].mean() > 0.9
    assert (~crawl.clean[accepted]).mean() < 0.03


@pytest.mark.parametrize("size", [13, 4096])
@pytest.mark.parametrize("method", ["craft-plus", "craft"])
def test_decisions_do_not_depend_on_the_batches(
    crawl: Stream, models: list[Model], decided: Decided, size: int, method: str
) -> None:
    """Pieces of 13 and 4,096 pairs give the decisions and the ledger that pieces of 1,024 give, to the bit."""
    expected, ledger = decided[method]
    found, other = run(crawl.batch, parameters(method=method), models, size)
    for name in Decisions.__slots__:
        assert np.array_equal(getattr(expected, name), getattr(found, name), equal_nan=name == "quality"), (
            name
        )
    assert ledger.digest() == other.digest()


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("method", ["craft-plus", "craft"])
def test_the_budget_is_never_overrun(crawl: Stream, models: list[Model], rate: float, method: str) -> None:
    """At every pair, accepted so far is at most rate x seen + ahead; a budget of 0 accepts nothing."""
    settings_ = parameters(rate=rate, method=method)
    decisions, ledger = run(crawl.batch, settings_, models, 1024)
    so_far = np.cumsum(decisions.accepted)
    seen = np.arange(SIZE)
    room = [ahead(settings_.selection, at // EPOCH * EPOCH) for at in seen.tolist()]
    assert (so_far <= rate * (seen + 1) + np.array(room)).all()
    assert ledger.accepted == so_far[-1]
    assert rate > 0 or so_far[-1] == 0


def test_every_pair_has_one_reason_and_they_add_up(decided: Decided) -> None:
    """The ledger's counts by reason are those of the decisions, and their sum is what was seen."""
    decisions, ledger = decided["craft-plus"]
    counted = np.bincount(decisions.reason, minlength=len(Reason))
    assert np.array_equal(counted, ledger.reasons)
    assert counted.sum() == ledger.seen == SIZE
    assert ledger.next_offset == SIZE
    assert ledger.accepted_by_cluster.sum() == ledger.accepted == counted[Reason.ACCEPTED]


def test_accepted_pairs_meet_what_their_decision_says(decided: Decided) -> None:
    """Score and threshold explain the outcome, and the score is the sum of its parts."""
    settings_ = parameters()
    decisions, _ = decided["craft-plus"]
    accepted = decisions.accepted
    assert (decisions.score[accepted] >= decisions.threshold[accepted]).all()
    parts = (
        decisions.domain
        + decisions.context
        + decisions.dual
        + np.float32(settings_.selection.quality_weight) * decisions.quality
    )
    assert np.allclose(parts[accepted], decisions.score[accepted], atol=1e-5)


def test_listed_pairs_are_rejected(crawl: Stream, models: list[Model]) -> None:
    """A listed pair is rejected with that reason, whatever its score."""
    selector, ledger = Selector(parameters(), load_encoder()), Ledger(parameters())
    everything = np.ones(SIZE, np.bool_)
    decisions = selector.decide(TokenizedPairs.of(crawl.batch), ledger, models[0], everything)
    assert (decisions.reason == Reason.LISTED).all()


def _texts(batch: PairBatch) -> tuple[list[str], list[str]]:
    return batch.source.texts(), batch.target.texts()


def test_duplicates_are_accepted_once(toy: Toy, crawl: Stream, models: list[Model]) -> None:
    """The stream twice over: no accepted pair equals another but for case and spaces, and near twins are refused."""
    sources, targets = _texts(crawl.batch)
    word = toy.common[0]
    again = PairBatch.pack(
        sources + [s.upper() for s in sources] + [f"{word} {s}" for s in sources],
        targets + [t.upper() for t in targets] + [f"{toy.translation[word]} {t}" for t in targets],
    )
    decisions, ledger = run(again, parameters(rate=0.2, quality_floor=-50.0), models, 4096)
    kept = [(s.lower(), t.lower()) for s, t in zip(*_texts(again), strict=True)]
    accepted = [kept[i] for i in np.flatnonzero(decisions.accepted)]
    assert len(accepted) == len(set(accepted))
    assert ledger.reasons[Reason.DUPLICATE] > 0
    assert ledger.reasons[Reason.NEAR_DUPLICATE] > 0


def test_duplicates_do_not_make_the_threshold(toy: Toy, models: list[Model]) -> None:
    """Where every pair comes four times, what is no longer to be had is left out of the threshold: .70 were spent with it."""
    once = stream(toy, 4000, share=0.2, seed=21).batch
    order = np.random.default_rng(0).permutation(np.tile(np.arange(4000), 4))
    sources, targets = _texts(once)
    batch = PairBatch.pack([sources[i] for i in order], [targets[i] for i in order])
    quick = parameters(rate=0.02, horizon=8192, window=50_000)
    decisions, ledger = run(batch, quick, models, 4096)
    assert ledger.reasons[Reason.DUPLICATE] > ledger.accepted
    assert decisions.accepted.sum() > 0.75 * 0.02 * len(batch)


HARD = [
    "", "a", ".", " ", "\u0000", "a" * 100_000, "word " * 20_000, "?!" * 50_000, "שלום עולם", "👩‍👩‍👧‍👦 🎉", "\u202eabc",
    "Ã©Ã¨", "1" * 5000, "日本" * 3000, "\ufffd", "a\u0301" * 100, "<b>" * 500, "\t\n\r",
]  # fmt: skip


@pytest.mark.parametrize("method", ["craft-plus", "craft"])
def test_hard_texts_get_finite_scores(models: list[Model], method: str) -> None:
    """Empty, enormous, right-to-left and broken texts are decided with finite scores, in either side."""
    pairs = [(a, b) for a in HARD for b in HARD]
    batch = PairBatch.pack([a for a, _ in pairs], [b for _, b in pairs])
    decisions, _ = run(batch, parameters(rate=1.0, method=method), models, 64)
    assert np.isfinite(decisions.score).all()
    assert np.isfinite(decisions.domain).all()
    assert np.isfinite(decisions.quality[~np.isnan(decisions.quality)]).all()


@pytest.mark.parametrize("size", [1, 9])
def test_a_tiny_target_works(toy: Toy, crawl: Stream, size: int) -> None:
    """A target of one pair, or one with fewer pairs than clusters, selects something or nothing, and never fails."""
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(*target(toy, size))
    learner.observe(crawl.batch.slice(0, 2500))
    model = Model.decode(learner.publish().encode())
    decisions, _ = run(crawl.batch, parameters(), [model], 1024)
    assert np.isfinite(decisions.score).all()


@pytest.mark.parametrize("method", ["craft-plus", "craft"])
@pytest.mark.parametrize("seen", [0, 1])
def test_a_model_of_an_unseen_stream_works(toy: Toy, crawl: Stream, method: str, seen: int) -> None:
    """A model made before anything, or one pair, of the stream was seen gives finite scores and keeps the budget."""
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(*target(toy))
    learner.observe(crawl.batch.slice(0, seen))
    settings_ = parameters(method=method)
    decisions, _ = run(crawl.batch, settings_, [learner.publish()], 1024)
    assert np.isfinite(decisions.score).all()
    assert decisions.accepted.sum() <= 0.05 * SIZE + ahead(settings_.selection, SIZE)


def test_a_target_of_equal_pairs_works(crawl: Stream) -> None:
    """Target pairs that are all the same, and a stream that is all the same, give finite scores."""
    learner = Learner(Parameters(), load_encoder())
    same = PairBatch.pack(["ba ko ri"] * 50, ["ab ok ir"] * 50)
    learner.observe_target([str(i) for i in range(50)], same)
    learner.observe(PairBatch.pack(["tu me sa"] * 2500, ["ut em as"] * 2500))
    decisions, _ = run(crawl.batch, parameters(), [learner.publish()], 1024)
    assert np.isfinite(decisions.score).all()


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=6, unique=True))
def test_deltas_rebuild_the_ledger(cuts: list[int], crawl: Stream, models: list[Model]) -> None:
    """Snapshot plus deltas, made at any cuts, give the ledger to the bit, and it goes on deciding the same."""
    settings_ = parameters()
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    copy = Ledger.restore(settings_, ledger.snapshot())
    bounds = [0, *sorted(cuts), SIZE - 1000]
    for start, stop in pairwise(bounds):
        selector.decide(TokenizedPairs.of(crawl.batch.slice(start, max(start, stop))), ledger, models[0])
        copy.apply(ledger.delta())
        assert copy.digest() == ledger.digest()
    copy.bind(models[0])
    rest = crawl.batch.slice(max(bounds), SIZE) if max(bounds) < SIZE else crawl.batch.slice(SIZE, SIZE)
    expected, found = (selector.decide(TokenizedPairs.of(rest), state, models[0]) for state in (ledger, copy))
    assert np.array_equal(expected.reason, found.reason)
    assert copy.digest() == ledger.digest()


@pytest.mark.parametrize("cut", [20, 700, 5000])
def test_snapshot_pages_and_deltas_rebuild_the_ledger(toy: Toy, models: list[Model], cut: int) -> None:
    """However the log is cut, across pages and generations of seen pairs, what travels gives the ledger to the bit."""
    settings_ = parameters(rate=1.0, seen_pairs=UNIT, near_duplicate=1.1, quality_floor=-50.0)
    selector, ledger, pages = Selector(settings_, load_encoder()), Ledger(settings_), {}
    length = 4 * UNIT if cut > 100 else 600
    batch = stream(toy, length, noise=0.0, seed=8).batch
    base, deltas, written = ledger.snapshot(), [], 0
    for number, start in enumerate(range(0, length, cut)):
        selector.decide(TokenizedPairs.of(batch.slice(start, min(start + cut, length))), ledger, models[0])
        made = ledger.closed_segments()
        pages |= dict(made)
        deltas.append(ledger.delta())
        written += sum(len(Segment.decode(page, index)) for index, page in made)
        if number == 3:
            base, deltas = ledger.snapshot(), []
    assert len(pages) >= 2
    assert written == ledger.seen_pairs.stored > ledger.seen_pairs.count - LEAST, "each pair once"
    snapshot = ledger.snapshot()
    needed = {i: p for i, p in pages.items() if i >= Ledger.first_segment(snapshot)}
    assert Ledger.restore(settings_, snapshot, needed).digest() == ledger.digest()
    after = {i: p for i, p in pages.items() if i >= Ledger.first_segment(base)}
    copy = Ledger.restore(settings_, base, after)
    for delta in deltas:
        copy.apply(delta, after)
    assert copy.digest() == ledger.digest()
    more = stream(toy, 300, noise=0.0, seed=9).batch
    again = PairBatch.pack(more.source.texts(), more.target.texts(), list(range(length, length + 300)))
    copy.bind(models[0])
    one, other = (selector.decide(TokenizedPairs.of(again), state, models[0]) for state in (ledger, copy))
    assert (one.reason == other.reason).all()
    with pytest.raises(IntegrityError, match="missing"):
        Ledger.restore(settings_, snapshot, dict(list(needed.items())[1:]))


def test_the_digest_does_not_tell_how_the_log_was_cut(crawl: Stream, models: list[Model]) -> None:
    """Where seen pairs are stored follows from the transactions; what the ledger is does not."""
    settings_ = parameters(rate=0.2)
    digests = set()
    for cut in (100, 900):
        selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
        for start in range(0, 1800, cut):
            selector.decide(TokenizedPairs.of(crawl.batch.slice(start, start + cut)), ledger, models[0])
            ledger.closed_segments()
            ledger.delta()
        digests.add(ledger.digest())
    assert len(digests) == 1


def test_a_ledger_writes_little(crawl: Stream, models: list[Model]) -> None:
    """At a budget of a tenth and 500 pairs a transaction, what travels is under a twentieth of 300 bytes a pair."""
    settings_ = parameters(rate=0.1)
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    written = 0
    for start in range(0, 2000, 500):
        selector.decide(TokenizedPairs.of(crawl.batch.slice(start, start + 500)), ledger, models[0])
        written += sum(len(page) for _, page in ledger.closed_segments()) + len(ledger.delta())
    assert ledger.accepted > 100
    assert written < 0.05 * 300 * 2000


def test_a_delta_only_fits_its_base(crawl: Stream, models: list[Model]) -> None:
    """A delta that skips one is refused, as is a damaged one, and a snapshot in its place; the first brings its parameters."""
    settings_ = parameters()
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    fresh = Ledger.restore(settings_, ledger.snapshot())
    selector.decide(TokenizedPairs.of(crawl.batch.slice(0, 100)), ledger, models[0])
    first = ledger.delta()
    selector.decide(TokenizedPairs.of(crawl.batch.slice(100, 200)), ledger, models[0])
    second = ledger.delta()
    with pytest.raises(IntegrityError, match="missing"):
        fresh.apply(second)
    begun, other = Ledger(settings_), Ledger(parameters(rate=0.06))
    selector.decide(TokenizedPairs.of(crawl.batch.slice(0, 100)), begun, models[0])
    other.apply(begun.delta())
    assert (other.selection.rate, other.digest()) == (settings_.selection.rate, begun.digest())
    with pytest.raises(IntegrityError, match="damaged"):
        fresh.apply(first[:-1] + bytes([first[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="not a delta"):
        fresh.apply(ledger.snapshot())


def test_a_restored_ledger_needs_its_model(crawl: Stream, models: list[Model]) -> None:
    """Deciding without the model in force, or binding another version, is refused."""
    settings_ = parameters()
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    selector.decide(TokenizedPairs.of(crawl.batch.slice(0, 100)), ledger, models[0])
    copy = Ledger.restore(settings_, ledger.snapshot())
    with pytest.raises(IntegrityError, match="bind"):
        selector.decide(TokenizedPairs.of(crawl.batch.slice(100, 200)), copy, models[0])
    with pytest.raises(IntegrityError, match="load that version"):
        copy.bind(models[1])


def test_a_version_loaded_twice_is_no_change(crawl: Stream, models: list[Model]) -> None:
    """The same version from another load, offered in the middle, decides as if it had been loaded once."""
    settings_ = parameters()
    again = Model.decode(models[0].encode())
    expected, ledger = run(crawl.batch, settings_, [models[0]], 1024)
    found, other = run(crawl.batch, settings_, [models[0], again], 1024)
    assert np.array_equal(expected.reason, found.reason)
    assert ledger.digest() == other.digest()


def test_skipping_moves_the_offset_only() -> None:
    """A dead letter moves the next offset and nothing else; going back is refused."""
    ledger = Ledger(parameters())
    before = ledger.floats.copy()
    ledger.skip(41)
    assert ledger.next_offset == 42
    assert np.array_equal(before, ledger.floats)
    with pytest.raises(ValueError, match="before"):
        ledger.skip(3)


def test_less_is_spent_when_the_domain_leaves(toy: Toy, models: list[Model]) -> None:
    """With `abstain` a stream that loses the domain spends less than half of the budget on the rest, and recovers after."""
    settings_ = parameters(rate=0.02, abstain=True, horizon=20_000, window=50_000)
    selector, ledger = Selector(settings_, load_encoder()), Ledger(settings_)
    size = 24_000
    spent = []
    for share, seed in ((0.1, 11), (0.0, 12), (0.1, 13)):
        part = stream(toy, size, share=share, seed=seed).batch
        moved = PairBatch(part.source, part.target, part.positions + ledger.next_offset)
        spent.append(
            selector.decide(TokenizedPairs.of(moved), ledger, models[1]).accepted.sum() / (0.02 * size)
        )
    assert spent[0] > 0.95
    assert spent[1] < 0.5
    assert spent[2] > 0.8
    assert ledger.unspendable > 0.2 * 0.02 * size
