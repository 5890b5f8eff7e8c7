"""Accepted pairs that are remembered: what they are known by, when one is a duplicate, and how they are stored."""

from __future__ import annotations

import copy
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_stream.errors import IntegrityError
from craft_stream.selection.decisions import Reason
from craft_stream.selection.generation import UNIT, Query
from craft_stream.selection.seen import SeenPairs
from craft_stream.selection.segments import LEAST, MOST, NONE, SKETCH, Segment, key_of
from craft_stream.selection.sketches import (
    BANDS,
    jaccard,
    length,
    make_bands,
    most_shared,
    pair_key,
    sign,
    sketch,
)
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

_MASK = (1 << 64) - 1


def mix(h: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 1):
        h = (h ^ h >> 33) * factor & _MASK
    return h


def chain(previous: int, current: int) -> int:
    return mix(previous * 0x94D049BB133111EB & _MASK ^ current)


def bigrams(source: list[int], target: list[int]) -> list[int]:
    """The 64 smallest fingerprints, ascending."""
    found = {
        min(mix(chain(a, b)) >> 48, 0xFFFE)
        for words in ([7, *source], [8, *target])
        for a, b in pairwise(words)
    }
    return sorted(found)[:SKETCH]


def sketched(source: list[int], target: list[int]) -> np.ndarray:
    out = np.empty(SKETCH, np.uint16)
    sketch(np.array(source, np.uint64), np.array(target, np.uint64), out)
    return out


def filled(values: list[int]) -> np.ndarray:
    out = np.full(SKETCH, NONE)
    out[: len(values)] = values
    return out


words = st.lists(st.integers(0, _MASK), max_size=60)
few_words = st.lists(st.integers(0, 5), max_size=8)
fingerprints = st.sets(st.integers(0, 200), max_size=SKETCH).map(sorted)
full = st.sets(st.integers(0, 90), min_size=SKETCH, max_size=SKETCH).map(sorted)


@given(st.one_of(words, few_words), st.one_of(words, few_words))
def test_a_sketch_is_the_smallest_fingerprints_of_both_sides_bigrams(
    source: list[int], target: list[int]
) -> None:
    """It is what sorting all of them gives, ascending and filled up, and its length how many there are."""
    found = sketched(source, target)
    expected = bigrams(source, target)
    assert found.tolist() == filled(expected).tolist()
    assert length(found) == len(expected)


@given(few_words, few_words)
def test_a_key_is_a_hash_of_the_sketch_and_of_both_sides_in_order(
    source: list[int], target: list[int]
) -> None:
    """High bits follow from the sketch, the lowest 16 from the words and where the sides are divided; it is never 0."""
    h = len(source) + 1
    for word in source:
        h = chain(h, word)
    h = mix(h + 0x5F3759DF & _MASK)
    for word in target:
        h = chain(h, word)
    high = 0
    for fingerprint in bigrams(source, target):
        high = chain(high, fingerprint)
    own = sketched(source, target)
    key = int(pair_key(np.array(source, np.uint64), np.array(target, np.uint64), own))
    assert key == ((mix(high) | 1) << 16 & _MASK) | h >> 48
    assert key == int(key_of(own, np.uint16(h >> 48))) != 0


@given(st.one_of(fingerprints, full), st.one_of(fingerprints, full))
def test_similarity_is_jaccards_over_what_both_sketches_know(one: list[int], other: list[int]) -> None:
    """Of cut sketches what lies beyond the end of either is left out; a similarity below the least may be told as 0."""
    a, b = filled(one), filled(other)
    end = min([max(s) for s in (one, other) if len(s) == SKETCH], default=1 << 16)
    union = {x for x in {*one, *other} if x <= end}
    truth = len({*one} & {*other} & union) / len(union) if union else 1.0
    assert jaccard(a, b, 0.0) == jaccard(b, a, 0.0) == truth
    for least in (truth, 0.55, 1.0, truth + 0.01):
        found = jaccard(a, b, least)
        assert found == truth if truth >= least else found in (0.0, truth)


@given(st.one_of(fingerprints, full), st.one_of(fingerprints, full))
def test_signatures_never_rule_out_what_is_similar(one: list[int], other: list[int]) -> None:
    """They bound the similarity from above by bits that one has alone; equal sketches and disjoint bits are told exactly."""
    signatures = np.zeros((2, 3), np.uint64)
    for values, signature in zip((one, other), signatures, strict=True):
        sign(filled(values), signature)
        assert signature.tolist() == [
            sum(1 << bit - low for bit in {x & 127 for x in values} if low <= bit < low + 64)
            for low in (0, 64)
        ] + [len(values)]
    bits = [{x & 127 for x in values} for values in (one, other)]
    shared = min(len(one) - len(bits[0] - bits[1]), len(other) - len(bits[1] - bits[0]))
    cut = SKETCH in (len(one), len(other))
    assert most_shared(*signatures) == (shared, SKETCH if cut else len(one) + len(other) - shared)
    union = most_shared(*signatures)[1]
    assert jaccard(filled(one), filled(other), 0.0) * union <= shared + 1e-9


@given(fingerprints)
def test_bands_are_hashes_of_three_min_hashes(values: list[int]) -> None:
    """Each of the 16 is what its definition gives."""
    found = np.empty(BANDS, np.uint64)
    make_bands(filled(values), found)
    for j in range(BANDS):
        band = j + 1
        for row in range(3 * j, 3 * j + 3):
            salt = (row + 1) * 0x9E3779B97F4A7C15
            band = chain(band, min((mix(x + salt & _MASK) for x in values), default=_MASK))
        assert int(found[j]) == mix(band)


# What is remembered.


def texts(rows: list[list[str]]) -> TokenizedPairs:
    return TokenizedPairs.of(PairBatch.pack([" ".join(row) for row in rows], ["x"] * len(rows)))


def ask(pairs: TokenizedPairs, rooms: int | np.ndarray = 1 << 30, **rule: object) -> Query:
    rows = rule.pop("rows", np.arange(len(pairs)))
    room = np.broadcast_to(np.asarray(rooms, np.int64), len(rows)).copy()  # type: ignore[arg-type]
    return Query(rows, room, **{"exact": True, "near": 1.1, "duplicates_first": False, **rule})  # type: ignore[arg-type]


def known(count: int) -> TokenizedPairs:
    return texts([[f"v{i}", f"u{i}"] for i in range(count)])


@cache
def _remembered(count: int) -> SeenPairs:
    seen, pairs = SeenPairs(UNIT), known(max(count, 1)).slice(0, count)
    seen.admit(pairs, ask(pairs, exact=False))
    return seen


def remembering(count: int) -> SeenPairs:
    """A memory of so many pairs of `known`, with generations of 4,096."""
    return copy.deepcopy(_remembered(count))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, UNIT - 3, UNIT // 2, 2 * UNIT - 2]),
    st.booleans(),
    st.sampled_from([0.3, 0.55, 1.1]),
    st.booleans(),
)
@settings(max_examples=30)
def test_a_run_is_admitted_as_pair_by_pair(
    seed: int, before: int, exact: bool, near: float, duplicates_first: bool
) -> None:
    """What one kernel admits of a run, across growing and ending generations, is what each pair alone would be told."""
    rng = np.random.default_rng(seed)
    pairs = texts([[f"w{x}" for x in rng.integers(0, 8, rng.integers(1, 6))] for _ in range(60)])
    rows = np.flatnonzero(rng.random(60) < 0.8)
    rooms = np.sort(rng.integers(0, 40, len(rows)))
    together, alone = remembering(before), remembering(before)
    rule = {"exact": exact, "near": near, "duplicates_first": duplicates_first}
    told: list[int] = []
    for row, room in zip(rows, rooms, strict=True):
        query = ask(pairs, int(room) - told.count(Reason.ACCEPTED), rows=np.array([row]), **rule)
        count, chained = alone.count, alone.chain
        said = alone.ask(pairs, query).tolist()
        assert (alone.count, alone.chain) == (count, chained), "asking remembers nothing"
        assert alone.admit(pairs, query).tolist() == said
        told += said
    held = together.hold(pairs, ask(pairs, 0, rows=rows, **{**rule, "duplicates_first": True}))
    assert together.admit(pairs, ask(pairs, rooms, rows=rows, **rule)).tolist() == told
    assert (together.count, together.chain) == (alone.count, alone.chain)
    assert together.count == before + told.count(Reason.ACCEPTED)
    if duplicates_first:
        duplicates = (Reason.DUPLICATE, Reason.NEAR_DUPLICATE)
        assert all(reason in duplicates for reason, own in zip(told, held, strict=True) if own)
    again = ask(pairs, 0, rows=rows, exact=True, duplicates_first=True)
    assert (together.hold(pairs, again) == alone.hold(pairs, again)).all()


def test_room_is_asked_for_first_unless_duplicates_are() -> None:
    """A copy for which there is no room is over budget, or a duplicate; what is new is over budget either way."""
    seen, pairs = SeenPairs(UNIT), texts([["a", "b"], ["a", "b"], ["c", "d"], ["e", "f"]])
    rooms = np.array([1, 1, 1, 2])
    assert seen.admit(pairs, ask(pairs, rooms, duplicates_first=True)).tolist() == [
        Reason.ACCEPTED, Reason.DUPLICATE, Reason.OVER_BUDGET, Reason.ACCEPTED,
    ]  # fmt: skip
    again = seen.admit(pairs, ask(pairs, np.array([0, 0, 1, 1])))
    assert again.tolist() == [Reason.OVER_BUDGET, Reason.OVER_BUDGET, Reason.ACCEPTED, Reason.OVER_BUDGET]
    assert seen.count == 3


def test_the_oldest_generation_is_forgotten() -> None:
    """After two generations the first pairs are gone and the last held; what a run would forget is not relied on."""
    pairs = known(3 * UNIT)
    for count in (2 * UNIT - 1, 2 * UNIT, 3 * UNIT - 1, 3 * UNIT):
        seen = SeenPairs(UNIT)
        some = pairs.slice(0, count)
        assert (seen.admit(some, ask(some)) == Reason.ACCEPTED).all()
        held = seen.ask(some, ask(some, duplicates_first=True)) == Reason.DUPLICATE
        assert seen.first == (count // UNIT - 1) * UNIT
        assert not held[: seen.first].any()
        assert held[seen.first :].all()
        one = some.slice(seen.first, seen.first + 1)
        full = seen.count % UNIT == 0
        assert seen.hold(one, ask(one, 0, duplicates_first=True))[0] == (count % UNIT + 1 <= UNIT)
        two = some.slice(seen.first, seen.first + 2)
        assert seen.hold(two, ask(two, 0, duplicates_first=True)).all() == (count % UNIT + 2 <= UNIT or full)


@given(st.lists(st.tuples(st.integers(0, 3 * UNIT), st.sampled_from([1, 2, 3])), min_size=1, max_size=4))
@settings(max_examples=8)
def test_the_size_of_generations_changes_as_pairs_come(steps: list[tuple[int, int]]) -> None:
    """Between one size and two of it, the last ones, are remembered; one restored from two numbers and pairs says the same."""
    pairs = known(4 * 3 * UNIT)
    seen, bounds = SeenPairs(UNIT), (0, 0)
    for count, size in steps:
        part = pairs.slice(seen.count, min(seen.count + count, len(pairs)))
        assert (seen.admit(part, ask(part)) == Reason.ACCEPTED).all()
        seen.resize(size * UNIT)
        assert seen.size == size * UNIT
        assert seen.count - seen.generations[1] < seen.size
        assert seen.first >= bounds[0], "what is forgotten stays so"
        bounds = seen.generations
    some = pairs.slice(0, seen.count)
    asked = ask(some, 0, duplicates_first=True)
    held = (
        seen.hold(some.slice(0, 0), ask(some.slice(0, 0), 0)) if not seen.count else seen.admit(some, asked)
    )
    assert (np.asarray(held) == Reason.DUPLICATE).tolist() == [i >= seen.first for i in range(seen.count)]
    again = SeenPairs(seen.size)
    again.begin_at(*seen.generations)
    again.replay(seen._pairs(seen.first))
    assert again.generations == seen.generations
    more = pairs.slice(seen.count, seen.count + UNIT // 2) if seen.count + UNIT // 2 <= len(pairs) else some
    asked = ask(more)
    assert again.admit(more, asked).tolist() == seen.admit(more, asked).tolist()
    assert (again.generations, again.count) == (seen.generations, seen.count)


def test_a_growing_generation_finds_what_it_held() -> None:
    """Past 4,096, 8,192 and 12,288 pairs of a generation of 12,288 each is found, by its key and by likeness."""
    seen, pairs = SeenPairs(3 * UNIT + 5), known(3 * UNIT - 1)
    assert seen.size == 3 * UNIT
    for start in range(0, len(pairs), 1000):
        part = pairs.slice(start, min(start + 1000, len(pairs)))
        assert (seen.admit(part, ask(part)) == Reason.ACCEPTED).all()
    nothing = ask(pairs, 0, duplicates_first=True)
    assert (seen.admit(pairs, nothing) == Reason.DUPLICATE).all()
    assert (
        seen.admit(pairs, nothing._replace(exact=False, near=1.0)) == Reason.NEAR_DUPLICATE
    ).mean() > 0.999
    assert SeenPairs(1).size == UNIT


def test_the_similarity_of_long_pairs_estimates_jaccard() -> None:
    """Of lists of 300 words with Jaccard .35 to .95, few are called near at .15 above the truth, nearly all at .15 below."""
    rng = np.random.default_rng(0)
    above, below = [], []
    for keep in (220, 240, 260, 280, 300):
        for _ in range(20):
            own = [f"w{x}" for x in rng.integers(0, 10**9, 300)]
            pairs = texts([own, own[:keep] + [f"v{x}" for x in rng.integers(0, 10**9, 300 - keep)]])
            one, two = (
                {(a, b) for a, b in pairwise(["", *row])} for row in (own, pairs.batch.source.text(1).split())
            )
            truth = len(one & two) / len(one | two)
            seen = SeenPairs(UNIT)
            seen.admit(pairs, ask(pairs, rows=np.array([0])))
            near = [ask(pairs, 0, exact=False, near=truth + x, duplicates_first=True) for x in (0.15, -0.15)]
            above.append(seen.hold(pairs, near[0])[1] if truth < 0.8 else False)
            below.append(seen.hold(pairs, near[1])[1])
    assert np.mean(above) < 0.05
    assert np.mean(below) > 0.93


def test_strangers_are_no_near_duplicates() -> None:
    """With a full generation of pairs that share phrases, each is found again and a mixture of four is near none."""
    rng = np.random.default_rng(0)
    phrases = [[f"p{i}w{j}" for j in range(6)] for i in range(400)]
    own = [[word for i in rng.choice(400, 4, replace=False) for word in phrases[i]] for _ in range(UNIT - 1)]
    seen, pairs = SeenPairs(UNIT), texts(own)
    seen.admit(pairs, ask(pairs, exact=False))
    mixed = texts(
        [
            [word for k, j in enumerate(rng.integers(0, UNIT - 1, 4)) for word in own[j][6 * k : 6 * k + 6]]
            for _ in range(500)
        ]
    )
    near = {"exact": False, "near": 0.6, "duplicates_first": True}
    assert seen.hold(mixed, ask(mixed, 0, **near)).mean() < 0.03
    some = pairs.slice(0, 500)
    assert seen.hold(some, ask(some, 0, **{**near, "near": 1.0})).all()
    assert seen.hold(pairs, ask(pairs, 0, duplicates_first=True)).all()
    assert not seen.hold(mixed, ask(mixed, 0, duplicates_first=True)).any()


# How they are stored.


def test_a_segment_is_stored_without_its_padding() -> None:
    """Segments of short pairs come back to the bit and take 3 bytes a pair beside two a bigram; misfits are refused."""
    seen, pairs = SeenPairs(UNIT), texts([[f"a{i}", f"b{i}"] for i in range(UNIT + LEAST - 1)])
    seen.admit(pairs, ask(pairs))
    ((index, segment),) = seen.make_segments()
    assert (index, len(segment), seen.segments, seen.stored) == (0, MOST, 1, MOST)
    assert len(seen.waiting()) == LEAST - 1
    data = segment.encode(0)
    again = Segment.decode(data, 0)
    assert again.first == 0
    assert (again.keys == segment.keys).all()
    assert (again.sketches == segment.sketches).all()
    assert len(data) < MOST * (3 + 3 * 2) + 1024
    with pytest.raises(IntegrityError, match="do not fit"):
        Segment.of(0, {**segment.arrays(), "lengths": np.full(MOST - 1, 3, np.uint8)})
    with pytest.raises(IntegrityError, match="do not fit"):
        Segment.of(0, {**segment.arrays(), "lengths": np.full(MOST, 2, np.uint8)})
    with pytest.raises(IntegrityError, match="segment 0 of format 4, not 1"):
        Segment.decode(data, 1)
    with pytest.raises(IntegrityError, match="do not fit"):
        Segment.of(
            0,
            {
                "marks": np.zeros(1, np.uint16),
                "lengths": np.array([65], np.uint8),
                "gaps": np.zeros((2, 65), np.uint8),
            },
        )


@pytest.mark.parametrize("more", [0, 1])
def test_pairs_wait_until_they_are_enough(more: int) -> None:
    """31 pairs wait, 32 are stored at once and once; what waits since a mark is what came after it."""
    seen, pairs = SeenPairs(UNIT), known(LEAST - 1 + more)
    seen.admit(pairs, ask(pairs))
    assert len(seen.since_mark()) == LEAST - 1 + more
    seen.mark()
    assert len(seen.since_mark()) == 0
    assert [len(segment) for _, segment in seen.make_segments()] == [LEAST] * more
    assert seen.make_segments() == []
    assert len(seen.waiting()) == (LEAST - 1) * (1 - more)
    one = texts([["z"]])
    seen.admit(one, ask(one))
    assert (seen.since_mark().first, len(seen.since_mark())) == (LEAST - 1 + more, 1)


def test_segments_that_nothing_remembers_are_not_needed() -> None:
    """The oldest segment that is needed is the one that holds the oldest pair that is remembered."""
    seen, pairs = SeenPairs(UNIT), known(3 * UNIT)
    firsts = []
    for start in range(0, 3 * UNIT, UNIT // 2):
        part = pairs.slice(start, start + UNIT // 2)
        seen.admit(part, ask(part))
        seen.make_segments()
        firsts.append(seen.first_segment)
    assert firsts == [0, 0, 0, 2, 2, 4]
    assert SeenPairs(UNIT).first_segment == 0


@given(st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_sketches_are_stored_as_they_are(seed: int, count: int) -> None:
    """Any ascending fingerprints, none and 64 of them, too; and a segment after a number holds the pairs from it on."""
    rng = np.random.default_rng(seed)
    sketches = np.full((count, SKETCH), NONE)
    for row in sketches:
        size = rng.integers(0, SKETCH + 1)
        row[:size] = np.sort(rng.choice(0xFFFF, size, replace=False))
    marks = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    keys = np.array([key_of(*pair) for pair in zip(sketches, marks, strict=True)], np.uint64)
    segment = Segment(7, keys, sketches)
    again = Segment.decode(segment.encode(3), 3)
    assert (again.sketches == sketches).all()
    assert (again.keys == keys).all()
    for number, dropped in ((0, 0), (7, 0), (9, 2), (7 + count, count)):
        rest = segment.after(number)
        assert rest.first == 7 + dropped
        assert rest.keys.tolist() == keys[dropped:].tolist()
        assert len(rest.sketches) == len(rest)
