"""Streams made from a corpus: whole, thinned, without the domain, target swapped or spoilt, mix shifted, short."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus
from bench.orders import arrange
from bench.targets import FIRST

# The mixes of `mix-shift`: the target's domain and five others, then all the rest, then the first again.
_MIXES = {
    "finance": ("finance", "office", "cli", "manpages", "web", "sysadmin"),
    "medical": ("medical", "science", "genealogy", "engineering", "fiction", "web"),
    "gameui": ("gameui", "audio", "imaging", "desktop", "cli", "office"),
}
SMALL = 39_000


@dataclass(frozen=True)
class Scenario:
    """A stream to select from.

    Attributes:
        name: as on the command line; `plain@ORDER` in another order than the corpus has.
        domain: the target.
        order: int64 [n], the corpus's records that make up the stream, in the stream's order.
        budget: pairs asked for.
        segments: name and [start, stop) of parts of the stream that are reported one by one.
        swap: from which position on the target is another domain's, and that domain.
        target: how the target is made; see `bench.targets`.
    """

    name: str
    domain: str
    order: NDArray[np.int64]
    budget: int
    segments: tuple[tuple[str, int, int], ...] = field(default=())
    swap: tuple[int, str] | None = None
    target: str = "whole"

    @property
    def rate(self) -> float:
        """The budget as a share of the stream."""
        return self.budget / max(len(self.order), 1)


def scenario(corpus: Corpus, name: str, domain: str, share: float = 0.5, order: str = "shuffled") -> Scenario:
    """The scenario of that name.

    `plain`; `thin:P` (the domain's records are a share P of the stream, the budget as ever a part of them);
    `scarce:P` (the same, but the budget of the plain stream is asked for); `absent` (`scarce:0`);
    `copies:P` (a share P of as long a stream are copies of its other records, at random places; the budget is a part of the
    domain's that are none); `again:P` (the same, the stream beginning anew again and again);
    `swap:DOMAIN` (from the middle on the target is DOMAIN's; the rate is the mean of the two budgets');
    `mix-shift`; `small` (the first 39,000 records); `target:HOW` (the plain stream, another target; see `bench.targets`);
    `large` (the first third of the stream; the target is what the rest holds of the domain).

    Args:
        corpus: the corpus.
        name: see above.
        domain: the target.
        share: the budget as a share of the stream's records of the domain, noise included.
        order: of a `plain` stream; see `bench.orders`.
    """
    kind, _, argument = name.partition(":")
    inside = corpus.labels.of(domain)
    everything = np.arange(len(inside))
    if order != "shuffled" and kind != "plain":
        raise ValueError("only the plain scenario has other orders")
    plain = int(inside.sum() * share)
    if kind == "plain":
        label = name if order == "shuffled" else f"{name}@{order}"
        return Scenario(label, domain, arrange(corpus, order), plain)
    if kind in ("thin", "scarce", "absent"):
        rows = _thinned(inside, float(argument or 0))
        budget = int(inside[rows].sum() * share) if kind == "thin" else int(plain * len(rows) / len(inside))
        return Scenario(name, domain, rows, budget)
    if kind in ("copies", "again"):
        once = everything[: max(round(len(everything) * (1 - float(argument))), 1)]
        again = np.resize(once, len(everything))
        mixed = again if kind == "again" else np.random.default_rng(0).permutation(again)
        return Scenario(name, domain, mixed, int(inside[once].sum() * share))
    if kind == "swap":
        half = len(inside) // 2
        segments = _windows("before", 0, half) + _windows("after", half, len(inside))
        budget = (plain + int(corpus.labels.of(argument).sum() * share)) // 2
        return Scenario(name, domain, everything, budget, segments, (half, argument))
    if kind == "mix-shift":
        rows, away, back = _shifted(corpus, domain)
        segments = (
            _windows("here", 0, away) + _windows("away", away, back) + _windows("back", back, len(rows))
        )
        return Scenario(name, domain, rows, plain, segments)
    if kind == "small":
        return Scenario(name, domain, everything[:SMALL], int(inside[:SMALL].sum() * share))
    if kind == "large":
        first = everything[: int(FIRST * len(everything))]
        return Scenario(name, domain, first, int(inside[first].sum() * share), target="rest")
    if kind == "target":
        return Scenario(name, domain, everything, plain, target=argument)
    raise ValueError(
        f"no scenario {name!r}; known: plain, thin:P, scarce:P, absent, copies:P, again:P, swap:DOMAIN, mix-shift, small, "
        "target:HOW, large"
    )


def _thinned(inside: NDArray[np.bool_], wanted: float) -> NDArray[np.int64]:
    """Records of the stream without as many in-domain ones as leave a share of `wanted`."""
    others = int((~inside).sum())
    keep = min(round(wanted * others / (1 - wanted)), int(inside.sum()))
    kept = np.random.default_rng(0).choice(np.flatnonzero(inside), keep, replace=False)
    return np.sort(np.r_[np.flatnonzero(~inside), kept])


def _shifted(corpus: Corpus, domain: str) -> tuple[NDArray[np.int64], int, int]:
    """Half of a mix with the domain, all other domains, the other half; and where the parts begin."""
    if domain not in _MIXES:
        raise ValueError(f"mix-shift has no mix for {domain!r}; it has {', '.join(_MIXES)}")
    mixed = np.zeros(len(corpus.labels.domains), bool)
    for name in _MIXES[domain]:
        mixed |= corpus.labels.of(name)
    with_domain, without = np.flatnonzero(mixed), np.flatnonzero(~mixed)
    half = len(with_domain) // 2
    order = np.r_[with_domain[:half], without, with_domain[half:]]
    return order, half, half + len(without)


def _windows(name: str, start: int, stop: int) -> tuple[tuple[str, int, int], ...]:
    """The first 10,000 records, the next 50,000, the rest."""
    marks = [mark for mark in (start, start + 10_000, start + 60_000) if mark < stop] + [stop]
    pieces = pairwise(marks)
    return tuple((f"{name}+{(low - start) // 1000}k", low, high) for low, high in pieces)
