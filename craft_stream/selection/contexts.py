"""What the pairs before it tell of a pair: those of its page, and those of its host, as a stream brings them.

A text alone often cannot tell its domain ("Remove this bookmark"). With x the domain scores of the pairs before it in its
context, clipped to [-1.5, 6], N their number, of which every pair takes a share of 1 / reach, and m the stream's mean,

    c = sum of (x - m) / (N + 4)

is the context's shrunk mean. It counts as much as it told until now: by b, the slope of x - m on c over the stream, between
0 and 1. Where contexts tell nothing, such as the neighbours of a shuffled stream, b is 0 and so is all of this.

Where a record names no URL, the pairs before it stand for its page and its host: all such records are one context.

A score with its context is compared with thresholds that know of contexts: beside the histogram of scores without them stands,
for every half of a score, how what was added to such scores lies. Both together give the distribution with contexts, so that
a new Model's sample of the stream, whose pairs have no neighbours, goes on serving as it is.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.selection import histogram
from craft_stream.text.contexts import Contexts
from craft_stream.text.hashing import mix

# Records of a page and of a host where none is named.
PAGE_RECORDS, HOST_RECORDS = 16, 1024
# Pairs by which means are shrunk at least.
SHRINKAGE = 4.0
_LOWEST, _HIGHEST = -1.5, 6.0
# Places of contexts. Two that meet at one place end each other.
_PAGES, _HOSTS = 1024, 4096
# Squares of c that the slope of the version before counts for.
_PRIOR = 50.0
# Distribution of what contexts add, by score.
_ROWS, _ADDED = 24, 40
_LOWEST_ROW, _ROW_WIDTH = -4.0, 0.5
_STEP = 8  # bins of the histogram, a quarter
_NOTHING = 8  # the place of 0
# Pairs that a row remembers, and pairs that it starts from, to which nothing was added.
_ROW_PAIRS, _ROW_PRIOR = 1024.0, 64.0

# Where things stand in `numbers`, behind what is known of places.
_MEAN = 3 * (_PAGES + _HOSTS)
_SLOPES, _SLOPES_BEFORE, _SUMS = (
    slice(_MEAN + start, _MEAN + stop) for start, stop in ((1, 3), (3, 5), (5, 13))
)
_FIRST_SUM = _SUMS.start

NUMBERS = _SUMS.stop
TABLE = _ROWS * _ADDED


class RunningContexts:
    """What a ledger knows of contexts, in arrays of its own.

    Args:
        numbers: float64 [NUMBERS]: of pages, then of hosts, a tag, a sum and a number of pairs for each place; then what is
            fixed in an epoch (mean, slope of pages, of hosts), the slopes of the version before, and their sums.
        gate, score: float64 [TABLE] each: by score at the gate, and by score, what was added to such.
        weights: of page and of host in the score.
    """

    def __init__(
        self,
        numbers: NDArray[np.float64],
        gate: NDArray[np.float64],
        score: NDArray[np.float64],
        weights: tuple[float, float],
    ) -> None:
        self._numbers, self._gate, self._score, self._weights = numbers, gate, score, weights
        self._on = any(weights)

    @property
    def slopes(self) -> tuple[float, float]:
        """Of page and host, in this epoch."""
        page, host = self._numbers[_SLOPES].tolist()
        return page, host

    def added(self, contexts: Contexts, domain: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is added to the scores of the next pairs, float32 [n]; changes nothing.

        Args:
            contexts: of the pairs.
            domain: float32 [n], their domain scores.
        """
        if not any(self.slopes):
            return np.zeros(len(domain), np.float32)
        return self._follow(contexts, domain, self._numbers.copy())

    def record(
        self,
        contexts: Contexts,
        domain: NDArray[np.float32],
        gate_scores: NDArray[np.float32],
        scores: NDArray[np.float32],
        able: NDArray[np.bool_],
    ) -> None:
        """Note pairs that were decided.

        Args:
            contexts, domain: as for `added`.
            gate_scores, scores: float32 [n], with nothing added.
            able: bool [n], those that could have been accepted.
        """
        if self._on:
            more = self._follow(contexts, domain, self._numbers)
            _count(self._gate, gate_scores, more)
            _count(self._score, scores[able], more[able])

    def _follow(
        self, contexts: Contexts, domain: NDArray[np.float32], numbers: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        out = np.empty(len(domain), np.float32)
        _follow(contexts.page, contexts.host, domain, numbers, *self._weights, out)
        return out

    def begin_epoch(self, keep: float) -> None:
        """Fix mean and slopes; forget all but the share `keep` of what they come from."""
        if not self._on:
            return
        sums = self._numbers[_SUMS]
        sums *= keep
        number, total = sums[:2]
        if number:
            self._numbers[_MEAN] = mean = total / number
            told, squares, products = sums[2:].reshape(2, 3).T
            with_before = products - told * mean + _PRIOR * self._numbers[_SLOPES_BEFORE]
            self._numbers[_SLOPES] = np.clip(with_before / (squares - told * told / number + _PRIOR), 0, 1)
        for table in (self._gate, self._score):
            rows = table.reshape(_ROWS, _ADDED)
            rows *= np.minimum(1, _ROW_PAIRS / np.maximum(rows.sum(axis=1, keepdims=True), 1))
            histogram.round_to_units(table)

    def begin_version(self) -> None:
        """Scores are another Model's from here on: means are learned anew, and slopes go on from those that were."""
        # Of an unprimed stream, whose first versions score unlike one another, means of two versions told of the version only:
        # a third of its budget was spent.
        self._numbers[_SLOPES_BEFORE] = self._numbers[_SLOPES]
        self._numbers[_SUMS] = 0
        self._numbers[: _SLOPES.start] = 0

    def at_the_gate(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distribution of scores at the gate with contexts from that without, float64 [BINS]."""
        return self._convolved(counts, self._gate)

    def behind_it(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of the scores of pairs that could be accepted."""
        return self._convolved(counts, self._score)

    def passing(self, gate_scores: NDArray[np.float32], gate: float) -> NDArray[np.float64]:
        """Which share of pairs of such scores without context, float32 [n], passes the gate with it; float64 [n]."""
        if not self._on:
            return (gate_scores >= gate).astype(np.float64)
        out = np.empty(len(gate_scores))
        _pass(self._gate, gate_scores, gate, out)
        return out

    def _convolved(self, counts: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self._on:
            return counts
        out = np.zeros_like(counts)
        _convolve(counts, table, out)
        return out


@numba.njit(cache=True, nogil=True)
def clipped(score: np.float32) -> float:
    """A domain score as it counts for the others of its context: one that is far off does not carry them."""
    return min(max(float(score), _LOWEST), _HIGHEST)


@numba.njit(cache=True, nogil=True)
def _told(
    numbers: NDArray[np.float64],
    start: int,
    places: int,
    reach: int,
    key: np.uint64,
    x: float,
    mean: float,
) -> float:
    """The shrunk mean of a context before x, which is then added to it."""
    tag = np.float64(key >> np.uint64(12))
    at = start + np.int64(mix(key) & np.uint64(places - 1))
    sums, counts = at + places, at + 2 * places
    if numbers[at] != tag:
        numbers[at], numbers[sums], numbers[counts] = tag, 0.0, 0.0
    told = float((numbers[sums] - numbers[counts] * mean) / (numbers[counts] + SHRINKAGE))
    keep = 1 - 1 / reach
    numbers[sums] = numbers[sums] * keep + x
    numbers[counts] = numbers[counts] * keep + 1
    return told


@numba.njit(cache=True, nogil=True)
def _sum_up(numbers: NDArray[np.float64], start: int, told: float, x: float) -> None:
    """What the slope of x on what was told comes from."""
    numbers[start] += told
    numbers[start + 1] += told * told
    numbers[start + 2] += told * x


@numba.njit(cache=True, nogil=True)
def _follow(
    page: NDArray[np.uint64],
    host: NDArray[np.uint64],
    domain: NDArray[np.float32],
    numbers: NDArray[np.float64],
    page_weight: float,
    host_weight: float,
    out: NDArray[np.float32],
) -> None:
    mean = numbers[_MEAN]
    page_slope, host_slope = page_weight * numbers[_MEAN + 1], host_weight * numbers[_MEAN + 2]
    for i in range(len(domain)):
        x = clipped(domain[i])
        on_page = _told(numbers, 0, _PAGES, PAGE_RECORDS, page[i], x, mean)
        on_host = _told(numbers, 3 * _PAGES, _HOSTS, HOST_RECORDS, host[i], x, mean)
        numbers[_FIRST_SUM] += 1
        numbers[_FIRST_SUM + 1] += x
        _sum_up(numbers, _FIRST_SUM + 2, on_page, x)
        _sum_up(numbers, _FIRST_SUM + 5, on_host, x)
        out[i] = np.float32(page_slope * on_page + host_slope * on_host)


@numba.njit(cache=True, nogil=True)
def _row(score: float) -> np.int64:
    return np.int64(min(max((score - _LOWEST_ROW) / _ROW_WIDTH, 0.0), _ROWS - 1.0))


@numba.njit(cache=True, nogil=True)
def _pairs(table: NDArray[np.float64], start: np.int64, place: int) -> float:
    """Pairs of the row at `start` to which so much was added, those that it starts from among them."""
    return float(table[start + place] + (_ROW_PRIOR if place == _NOTHING else 0.0))


@numba.njit(cache=True, nogil=True)
def _count(table: NDArray[np.float64], scores: NDArray[np.float32], more: NDArray[np.float32]) -> None:
    width = _STEP * histogram.WIDTH
    for i in range(len(scores)):
        place = np.floor(np.float64(more[i]) / width + 0.5) + _NOTHING
        place = min(max(place, 0.0), _ADDED - 1.0)
        table[_row(np.float64(scores[i])) * _ADDED + np.int64(place)] += 1


@numba.njit(cache=True, nogil=True)
def _convolve(counts: NDArray[np.float64], table: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    bins = len(counts)
    for k in range(bins):
        if counts[k] == 0:
            continue
        start = _row(histogram.LOWEST + (k + 0.5) * histogram.WIDTH) * _ADDED
        mass = _ROW_PRIOR
        for place in range(_ADDED):
            mass += table[start + place]
        for place in range(_ADDED):
            pairs = _pairs(table, start, place)
            if pairs > 0:
                to = min(max(k + (place - _NOTHING) * _STEP, 0), bins - 1)
                out[to] += counts[k] * pairs / mass


@numba.njit(cache=True, nogil=True)
def _pass(
    table: NDArray[np.float64], scores: NDArray[np.float32], gate: float, out: NDArray[np.float64]
) -> None:
    width = _STEP * histogram.WIDTH
    for i in range(len(scores)):
        start, mass, passed = _row(np.float64(scores[i])) * _ADDED, 0.0, 0.0
        for place in range(_ADDED):
            pairs = _pairs(table, start, place)
            mass += pairs
            if scores[i] + (place - _NOTHING) * width >= gate:
                passed += pairs
        out[i] = passed / mass
