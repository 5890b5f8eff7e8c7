"""What is trained, in which order, and what is left out when the time is short."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.translation.prepared import Selected
from bench.translation.results import Key

GENERAL = ("general", "", "general", 0.0)


@dataclass(frozen=True)
class Job:
    """One selection, trained on in one way.

    Attributes:
        mode: "tuned", on from the general model, or "scratch".
        number: of the selection, in the prepared list.
        selected: that selection.
    """

    mode: str
    number: int
    selected: Selected

    @property
    def key(self) -> Key:
        """As `results.key` has it."""
        return self.mode, self.selected.domain, self.selected.method, self.selected.budget


@dataclass(frozen=True)
class Block:
    """Jobs that are done together or not at all: one way to train on all selections of a domain."""

    mode: str
    domain: str
    jobs: Sequence[Job]


def blocks(
    selections: Sequence[Selected],
    modes: Sequence[str],
    domains: Sequence[str],
    methods: Collection[str] | None = None,
    budgets: Collection[float] | None = None,
) -> list[Block]:
    """By mode, then domain; what all domains share comes first."""
    found = []
    for mode in modes:
        for domain in ("", *domains):
            jobs = [
                Job(mode, number, one)
                for number, one in enumerate(selections)
                if one.domain == domain
                and (methods is None or one.method in methods)
                and (budgets is None or one.budget in budgets or one.budget == 1)
            ]
            if jobs:
                found.append(Block(mode, domain, jobs))
    return found


def fits(jobs: int, workers: int, seconds: float, left: float) -> bool:
    """Whether a block's jobs, of so many seconds each, can be expected to end in the seconds left."""
    return math.ceil(jobs / workers) * 1.1 * seconds <= left
