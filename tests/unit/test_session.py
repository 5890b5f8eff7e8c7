"""The session: whatever the threads and however the stream is cut, the same decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import SMALL, Stream, Toy, stream, target

from craft_stream.errors import TargetError
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import EPOCH
from craft_stream.selection.pacing import ahead
from craft_stream.session import PairChunk, SelectionSession
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

SIZE = 3 * EPOCH + 100
PRIME = EPOCH


@dataclass(frozen=True)
class Gap:
    """A chunk of records of which none is a pair."""

    end: int
    size: int = 0

    @property
    def pairs(self) -> TokenizedPairs:
        """None."""
        return TokenizedPairs.of(PairBatch.pack([], []))


class Late:
    """An executor that is as slow as can be: it does a job only when somebody waits for it, or for a later one."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[LateFuture, Callable[[], Any]]] = deque()

    def submit(self, job: Callable[[], Any], /) -> LateFuture:
        """Add a job."""
        future = LateFuture(self)
        self._jobs.append((future, job))
        return future

    def run(self, wanted: LateFuture) -> None:
        """Do the jobs up to one that is waited for."""
        while not wanted.done():
            future, job = self._jobs.popleft()
            future.set_result(job())


class LateFuture(Future[Any]):
    """Waiting for it does the job."""

    def __init__(self, executor: Late) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        """See `Future.result`."""
        self._executor.run(self)
        return super().result(timeout)


@pytest.fixture(scope="module")
def crawl() -> PairBatch:
    return stream(Toy(), SIZE, seed=5).batch


@pytest.fixture(scope="module")
def primed(crawl: PairBatch) -> Model:
    """A version that the head of the stream makes."""
    learner = session()
    list(learner.decide(chunks(crawl.slice(0, PRIME))))
    assert learner.model is not None
    return learner.model


def session(**options: Any) -> SelectionSession[Any]:
    made: SelectionSession[Any] = SelectionSession(
        Parameters.of(SMALL.digest, rate=0.1, prime_pairs=PRIME), SMALL, **options
    )
    made.observe_target(*target(Toy()))
    return made


def chunks(batch: PairBatch, cuts: Sequence[int] = ()) -> list[PairChunk]:
    """The pairs of a batch, cut at the epochs and at `cuts`."""
    bounds = sorted({0, len(batch), *range(0, len(batch), EPOCH), *(cut for cut in cuts if cut < len(batch))})
    return [PairChunk(TokenizedPairs.of(batch.slice(a, b))) for a, b in pairwise(bounds)]


def decided(by: SelectionSession[Any], stream: Sequence[Any]) -> Decisions:
    return Decisions.concatenate([decisions for _, decisions in by.decide(stream)])


@pytest.fixture(scope="module")
def whole(crawl: PairBatch) -> tuple[Decisions, str, str]:
    """Decisions on the stream in one thread, an epoch a chunk; digests of the ledger and of the last version."""
    one = session()
    decisions = decided(one, chunks(crawl))
    assert one.model is not None
    return decisions, one.ledger.digest(), one.model.digest


def test_every_pair_is_decided_once_and_in_order(crawl: PairBatch, whole: tuple[Decisions, str, str]) -> None:
    """None is lost to priming, and several versions decide."""
    decisions = whole[0]
    assert np.array_equal(decisions.positions, np.arange(SIZE))
    assert set(decisions.model_version) == {1, 2}
    assert (
        0.7 * 0.1 * SIZE < decisions.accepted.sum() <= 0.1 * SIZE + ahead(SelectionParameters(rate=0.1), SIZE)
    )


def test_a_version_waits_for_its_minibatches(crawl: PairBatch, whole: tuple[Decisions, str, str]) -> None:
    """Minibatches learned as late as possible, or in a thread, leave the decisions of one thread."""
    for one in (
        session(training=Late()),
        SelectionSession.threaded(Parameters.of(SMALL.digest, rate=0.1, prime_pairs=PRIME), SMALL),
    ):
        one.observe_target(*target(Toy()))
        decisions = decided(one, chunks(crawl))
        assert one.ledger.digest() == whole[1]
        assert one.model is not None
        assert one.model.digest == whole[2]
        assert np.array_equal(decisions.score, whole[0].score)
        assert np.array_equal(decisions.model_version, whole[0].model_version)


@settings(max_examples=2, deadline=None)
@given(st.lists(st.integers(1, SIZE), max_size=12))
def test_the_cut_of_the_stream_has_no_influence(
    crawl: PairBatch, whole: tuple[Decisions, str, str], cuts: list[int]
) -> None:
    """Chunks of any length inside the epochs, single pairs too, are decided and learned from as whole epochs are."""
    other = session()
    decided(other, chunks(crawl, [*cuts, 1, 2, 3, 2 * EPOCH + 300, SIZE - 1]))
    assert other.ledger.digest() == whole[1]
    assert other.model is not None
    assert other.model.digest == whole[2]


@pytest.mark.parametrize(("prime", "cut"), [(500, 2600)])
def test_versions_are_made_of_whole_epochs(crawl: PairBatch, prime: int, cut: int) -> None:
    """One that is due in the midst of an epoch waits for its end, though a chunk ends between."""
    found = []
    for cuts in ([prime], [prime, cut]):  # the second version is due after 2,548 pairs
        one: SelectionSession[PairChunk] = SelectionSession(
            Parameters.of(SMALL.digest, rate=0.1, prime_pairs=prime), SMALL
        )
        one.observe_target(*target(Toy()))
        decided(one, chunks(crawl, cuts))
        assert one.model is not None
        found.append((one.versions, one.model.digest, one.ledger.digest()))
    assert found[0] == found[1]
    assert found[0][0] == 2


def test_what_primed_is_not_learned_twice(crawl: PairBatch) -> None:
    """The learner sees each pair of the stream once, and those of the head before the first decision."""
    seen: list[np.ndarray] = []
    one = session()
    assert one._learner is not None
    learn = one._learner.observe
    one._learner.observe = lambda batch: (seen.append(batch.positions), learn(batch))  # type: ignore[assignment,method-assign,return-value]
    for number, _ in enumerate(one.decide(chunks(crawl))):
        if number == 0:
            assert np.concatenate(seen).size == PRIME
    assert np.array_equal(np.concatenate(seen), np.arange(SIZE))


def test_records_that_are_no_pairs_pass_by(crawl: PairBatch) -> None:
    """Chunks without a pair prime nothing, are handed back at their place and move the ledger on."""
    one = session()
    gap = Gap(end=SIZE + 50)
    found = list(one.decide([*chunks(crawl), gap]))
    assert found[-1][0] is gap
    assert len(found[-1][1]) == 0
    assert one.ledger.next_offset == SIZE + 50
    only = session()
    assert len(next(iter(only.decide([Gap(end=EPOCH)])))[1]) == 0
    assert only.versions == 1


def test_without_a_target_nothing_is_decided(crawl: PairBatch) -> None:
    """A stream that ends, or does not even begin, before there was a target is refused."""
    for pairs in ([], chunks(crawl.slice(0, 100))):
        empty: SelectionSession[PairChunk] = SelectionSession(Parameters(encoder=SMALL.digest), SMALL)
        with pytest.raises(TargetError, match="target is empty"):
            list(empty.decide(pairs))


def test_a_pinned_version_decides_at_once_and_nothing_is_learned(crawl: PairBatch, primed: Model) -> None:
    """There is no priming, a target is of no effect, and the version stays."""
    pinned = session(model=primed)
    first, *rest = chunks(crawl)
    assert len(list(pinned.push(first))) == 1
    decisions = decided(pinned, rest)
    assert set(decisions.model_version) == {1}
    assert pinned.model is primed
    assert pinned.versions == 0


def swapped(by: SelectionSession[Any], data: Stream) -> tuple[Decisions, Decisions]:
    """Decisions before and after the target was withdrawn in the middle and pairs of everything else put in its place."""
    parts, middle = chunks(data.batch), 2
    before = [d for part in parts[:middle] for _, d in by.push(part)]
    by.withdraw_target(target(Toy())[0])
    others = np.flatnonzero(~data.in_domain)[:400]
    by.observe_target([f"o{row}" for row in others], data.batch.take(others))
    by.publish()
    after = [d for part in parts[middle:] for _, d in by.push(part)] + [d for _, d in by.finish()]
    return Decisions.concatenate(before), Decisions.concatenate(after)


def test_a_target_that_is_swapped_decides_from_the_next_epoch_on() -> None:
    """After withdrawal and a version of the new target the other domain is accepted, however late minibatches are learned."""
    data = stream(Toy(), SIZE, noise=0.0, seed=5)
    one, late = session(), session(training=Late())
    first, second = swapped(one, data)
    assert second.model_version[0] == first.model_version[-1] + 1
    assert data.in_domain[first.positions[first.accepted]].mean() > 0.9
    assert data.in_domain[second.positions[second.accepted]].mean() < 0.1
    swapped(late, data)
    assert late.ledger.digest() == one.ledger.digest()


def test_a_target_that_comes_late_is_waited_for(crawl: PairBatch) -> None:
    """Priming goes on until the epoch in which there is a target; then all that waited is decided."""
    late: SelectionSession[PairChunk] = SelectionSession(
        Parameters.of(SMALL.digest, prime_pairs=EPOCH), SMALL
    )
    parts = chunks(crawl)
    assert [len(list(late.push(part))) for part in parts[:2]] == [0, 0]
    late.observe_target(*target(Toy()))
    assert len(list(late.push(parts[2]))) == 3
    assert late.versions == 1


def test_an_epoch_is_a_minibatch(crawl: PairBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the stream is cut, the pairs of an epoch are learned from together: while priming, after it, and at the end."""
    one, sizes = session(), []
    assert one._learner is not None
    monkeypatch.setattr(one._learner, "observe", lambda batch: sizes.append(len(batch)))
    monkeypatch.setattr(SelectionSession, "publish", lambda one: None)
    monkeypatch.setattr(
        SelectionSession, "_decisions", lambda one, chunk: Decisions.of(chunk.pairs.batch.positions)
    )
    list(one.decide(chunks(crawl, range(0, SIZE, 300))))
    assert [size for size in sizes if size] == [*[EPOCH] * (SIZE // EPOCH), SIZE % EPOCH]


def test_an_even_sample_stands_for_the_whole_stream(
    crawl: PairBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is learned from in minibatches, of which each stands for its share of the stream's pairs, and all for all of them."""
    one, told = session(), []
    assert one._learner is not None
    monkeypatch.setattr(one._learner, "observe", lambda batch, pairs: told.append((len(batch), pairs)))
    one.prime(crawl.slice(0, 2 * EPOCH + 100), 10_000)
    assert not one.primes
    assert [size for size, _ in told] == [EPOCH, EPOCH, 100]
    assert sum(pairs for _, pairs in told) == 10_000
    assert all(abs(pairs - 10_000 * size / (2 * EPOCH + 100)) < 1 for size, pairs in told)


def test_what_was_sampled_is_not_learned_again(crawl: PairBatch) -> None:
    """Of a stream whose even sample primed it the learner sees each pair once, however the chunks lie."""
    seen: list[np.ndarray] = []
    one = session()
    assert one._learner is not None
    learn = one._learner.observe
    one._learner.observe = lambda batch, *pairs: (seen.append(batch.positions), learn(batch, *pairs))  # type: ignore[assignment,method-assign,return-value]
    one.prime(crawl.take(np.arange(1, SIZE, 3)), SIZE)
    list(one.decide(chunks(crawl, range(0, SIZE, 300))))
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(SIZE))


def test_priming_counts_every_pair(crawl: PairBatch) -> None:
    """An epoch and one pair are not primed by an epoch."""
    one: SelectionSession[PairChunk] = SelectionSession(
        Parameters.of(SMALL.digest, prime_pairs=EPOCH + 1), SMALL
    )
    one.observe_target(*target(Toy()))
    assert [len(list(one.push(part))) for part in chunks(crawl)[:3]] == [0, 2, 1]


def test_a_target_that_cannot_be_meant_is_refused_at_once(crawl: PairBatch) -> None:
    """One of copies, at the first chunk and not after priming."""
    one: SelectionSession[PairChunk] = SelectionSession(Parameters(encoder=SMALL.digest), SMALL)
    one.observe_target(["a", "b"], PairBatch.pack(["one text", "another"], ["one text", "another"]))
    with pytest.raises(TargetError, match="same text"):
        list(one.push(chunks(crawl)[0]))


@dataclass(frozen=True)
class Heavy:
    """A chunk whose records take 128 MiB, of which the pairs are a small part."""

    pairs: TokenizedPairs
    end: int
    size: int = 1 << 27


def test_priming_ends_when_it_takes_too_much_memory(crawl: PairBatch) -> None:
    """After 256 MiB the head is decided by what was learned of it."""
    parts = [Heavy(part.pairs, part.end) for part in chunks(crawl)[:2]]
    small: SelectionSession[Any] = SelectionSession(Parameters(encoder=SMALL.digest), SMALL)
    small.observe_target(*target(Toy()))
    assert [len(list(small.push(part))) for part in parts] == [0, 2]


def test_a_minibatch_that_fails_is_heard_of(crawl: PairBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What learning raises in its thread is raised by the session, at the next version or the end."""
    one = SelectionSession.threaded(Parameters.of(SMALL.digest, prime_pairs=EPOCH), SMALL)
    one.observe_target(*target(Toy()))

    def fail(batch: PairBatch) -> None:
        raise MemoryError("no more")

    assert one._learner is not None
    monkeypatch.setattr(one._learner, "observe", fail)
    with pytest.raises(MemoryError, match="no more"):
        decided(one, chunks(crawl))


def test_a_model_is_published_once_for_an_empty_stream() -> None:
    """A target alone makes a version, for whoever wants to keep it."""
    one = session()
    assert list(one.decide([])) == []
    assert isinstance(one.model, Model)


def test_priming_that_takes_too_much_memory_ends_with_an_epoch(crawl: PairBatch) -> None:
    """256 MiB in the midst of an epoch: the rest of it is waited for, as versions are made of whole epochs."""
    small: SelectionSession[Any] = SelectionSession(Parameters(encoder=SMALL.digest), SMALL)
    small.observe_target(*target(Toy()))
    parts = [Heavy(part.pairs, part.end) for part in chunks(crawl.slice(0, EPOCH), [500, 1000])]
    assert [len(list(small.push(part))) for part in parts] == [0, 0, 3]


def test_an_epoch_that_is_entered_before_its_first_pair_is_the_same(crawl: PairBatch, primed: Model) -> None:
    """`enter_epoch` changes no decision and nothing in the ledger that the first pair would not."""
    plain, asked = session(model=primed), session(model=primed)
    for number, part in enumerate(chunks(crawl)):
        list(plain.push(part))
        list(asked.push(part))
        if part.end % EPOCH == 0:
            asked.enter_epoch()
            assert asked.ledger.epoch == number + 1
    assert asked.ledger.digest() == plain.ledger.digest()
