"""Which blocks of two pages belong together: by tags, links, equal texts and lengths.

Flat over a page, Gale and Church's lengths alone lose their way where blocks are missing on one side (79 % of the
beads right with 5 % missing); tags hold the pages together, and lengths decide among equal tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from connectors.crawl.blocks import Block

# Gale and Church (1993): target characters for a source character, and the variance of that for one character.
# Text of the web varies more than their parliament's: 6.8 is theirs, and short blocks need an error of their own.
VARIANCE = 6.8
SHORT = 20.0
# Costs are in units of -log probability.
GAP = 4.0  # a block without partner: about 1 in 50
OTHER_PLACE = 2.0  # the same innermost tag in other tags
OTHER_TAG = 7.0
SAME_TEXT = -3.0  # a name, a number, a command left as it was
SAME_LINKS = -3.0
OTHER_LINKS = 9.0  # more than two gaps: an index has equal tags and alike lengths, and other pages meant
ONE_LINKED = 3.0
MOST_LINKS = 1_024  # that both pages have and blocks are told apart by
MOST_ALIKE = 3  # blocks with the same links that are told apart by their lengths: 85 % right
_TAIL = 16.0  # lengths that fit worse are all equally hopeless
_ROWS = 256  # of costs at a time: those of two pages of 5,000 blocks would fill gigabytes

Links = Sequence[frozenset[int]]


def align_blocks(source: Sequence[Block], target: Sequence[Block]) -> list[tuple[int, int]]:
    """Pairs of block numbers: those in order at the least sum of costs, then those that their links alone tell.

    An index is sorted anew in each language: what the order leaves over there stands elsewhere on the other page.
    """
    links = _shared_links(source, target)
    pairs: list[tuple[int, int]] = []
    for one, other in _sections(source, target):
        if one.start == one.stop or other.start == other.stop:
            continue
        costs = _costs(source[one], target[other], (links[0][one], links[1][other]))
        pairs.extend(
            (i + one.start, j + other.start)
            for i, j in _in_order(costs, one.stop - one.start, other.stop - other.start)
        )
    left = [
        _told_by_links(side, linked, taken)
        for side, linked, taken in zip(
            (source, target), links, ({i for i, _ in pairs}, {j for _, j in pairs}), strict=True
        )
    ]
    for key in left[0].keys() & left[1].keys():
        if len(left[0][key]) == len(left[1][key]) <= MOST_ALIKE:
            pairs.extend(zip(left[0][key], left[1][key], strict=True))
    return sorted(pairs)


def _sections(source: Sequence[Block], target: Sequence[Block]) -> list[tuple[slice, slice]]:
    """What may be aligned in order: all of it, or, where anchors tell that it is not in order, from anchor to anchor.

    A glossary has the same anchors in each language, and another alphabet.
    """
    places = [
        {anchor: number for number, block in enumerate(side) for anchor in block.anchors}
        for side in (source, target)
    ]
    met = {places[1][name]: places[0][name] for name in sorted(places[0].keys() & places[1].keys())}
    starts = {i: j for j, i in met.items() if source[i].path == target[j].path}
    if all(starts[a] < starts[b] for a, b in pairwise(sorted(starts))):
        return [(slice(0, len(source)), slice(0, len(target)))]
    ends = [
        dict(pairwise([*sorted(cuts), len(side)]))
        for cuts, side in ((starts, source), (starts.values(), target))
    ]
    head = slice(0, min(starts)), slice(0, min(starts.values()))
    return [head, *((slice(i, ends[0][i]), slice(j, ends[1][j])) for i, j in starts.items())]


def _shared_links(source: Sequence[Block], target: Sequence[Block]) -> tuple[Links, Links]:
    """Of each block the links that the other page has, too, as numbers.

    A place in a page (`#...`) counts where the other page links to the same one; names of places that are made anew
    for each language tell nothing, and the page remains.
    """
    known = [{link for block in side for link in block.links} for side in (source, target)]
    pages = [{link.partition("#")[0] for link in side} for side in known]
    places, shared = known[0] & known[1], pages[0] & pages[1]
    numbers: dict[str, int] = {}

    def numbered(links: Iterable[str]) -> Iterator[int]:
        for link in links:
            page = link.partition("#")[0]
            name = link if link in places else page if page in shared else None
            if name is not None and (name in numbers or len(numbers) < MOST_LINKS):
                yield numbers.setdefault(name, len(numbers))

    one, other = (
        [frozenset(numbered(block.links)) if block.links else frozenset() for block in side]
        for side in (source, target)
    )
    return one, other


def _told_by_links(blocks: Sequence[Block], links: Links, taken: set[int]) -> dict[frozenset[int], list[int]]:
    """Blocks that are left over, by their links, the shortest first."""
    found: dict[frozenset[int], list[int]] = {}
    for number, key in enumerate(links):
        if key and number not in taken:
            found.setdefault(key, []).append(number)
    return {key: sorted(numbers, key=lambda k: len(blocks[k].text)) for key, numbers in found.items()}


def _in_order(costs: Iterable[NDArray[np.float64]], n: int, m: int) -> list[tuple[int, int]]:
    """The cheapest way through both pages, a row of costs at a time."""
    steps = np.empty((n + 1, m + 1), dtype=np.int8)  # 0 both, 1 source alone, 2 target alone
    across = GAP * np.arange(m + 1)
    row, both = across.copy(), np.full(m + 1, np.inf)
    steps[0], steps[:, 0] = 2, 1
    for i, match in enumerate((match for rows in costs for match in rows), 1):
        np.add(row[:-1], match, out=both[1:])
        row += GAP
        steps[i] = row < both
        best = np.minimum(row, both)
        row = best - across
        np.minimum.accumulate(row, out=row)
        row += across
        steps[i][row < best - 1e-9] = 2
    path = []
    i, j = n, m
    while i and j:
        step = int(steps[i, j])
        if step == 0:
            path.append((i - 1, j - 1))
        i -= step != 2
        j -= step != 1
    return path


def _costs(
    source: Sequence[Block], target: Sequence[Block], links: tuple[Links, Links]
) -> Iterator[NDArray[np.float64]]:
    """What it costs to put each block of the source beside each of the target, some rows at a time."""
    places: dict[str, int] = {}
    tags: dict[str, int] = {}
    texts: dict[str, int] = {}
    sets: dict[frozenset[int], int] = {frozenset(): 0}
    sides = [
        np.array(
            [
                (
                    places.setdefault(block.path, len(places)),
                    tags.setdefault(block.path.rpartition("/")[2], len(tags)),
                    texts.setdefault(block.text, len(texts)),
                    len(block.text),
                    sets.setdefault(linked, len(sets)),
                )
                for block, linked in zip(blocks, side, strict=True)
            ],
            dtype=np.int32,
        ).T
        for blocks, side in zip((source, target), links, strict=True)
    ]
    words = 1 + max((number for linked in sets for number in linked), default=0) // 64
    bits = [_bits(side, words) for side in links]
    place, tag, text, length, linked = sides[1]
    size = length.astype(np.float64)
    for start in range(0, len(source), _ROWS):
        rows = slice(start, start + _ROWS)
        place_, tag_, text_, length_, linked_ = sides[0][:, rows, None]
        size_ = length_.astype(np.float64)
        costs = np.minimum((size - size_) ** 2 / (VARIANCE * (size + size_ + SHORT)), _TAIL)
        costs += np.where(tag != tag_, OTHER_TAG, np.where(place != place_, OTHER_PLACE, 0))
        costs[text == text_] += SAME_TEXT
        if len(sets) > 1:
            both = (linked > 0) & (linked_ > 0)
            apart = both.copy()
            for word in range(words):
                apart &= (bits[0][rows, word, None] & bits[1][None, :, word]) == 0
            costs[both & (linked == linked_)] += SAME_LINKS
            costs[(linked > 0) ^ (linked_ > 0)] += ONE_LINKED
            costs[apart] += OTHER_LINKS
        yield costs


def _bits(links: Links, words: int) -> NDArray[np.uint64]:
    """A bit for each link, in rows of 64-bit words."""
    rows = [sum(1 << number for number in linked).to_bytes(8 * words, "little") for linked in links]
    return np.frombuffer(b"".join(rows), dtype=np.uint64).reshape(len(links), words)
