"""Where the learner's work is done: the engine knows no threads, and is given an executor by whoever has some."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Executor(Protocol):
    """Does jobs, perhaps beside whoever submits them."""

    def submit(self, job: Callable[[], T], /) -> Future[T]:
        """Add a job."""


class InTurn:
    """Does each job at once, in the thread that submits it."""

    def submit(self, job: Callable[[], T], /) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        try:
            future.set_result(job())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)
        return future


IN_TURN = InTurn()


def both(executor: Executor, first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """What two jobs return that touch nothing of one another; the first is done here. Both have ended afterwards."""
    beside = executor.submit(second)
    try:
        result = first()
    finally:
        beside.exception()
    return result, beside.result()
