"""Two jobs that touch nothing of one another: done in turn here, at once by whoever has threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Together(Protocol):
    """A way to do two jobs."""

    def __call__(self, first: Callable[[], T], second: Callable[[], U], /) -> tuple[T, U]:
        """What both return."""


def in_turn(first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """What both return, one done after the other."""
    return first(), second()
