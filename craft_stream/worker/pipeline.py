"""Two daemon threads that do jobs of two steps in order: the first step of one beside the second of the one before."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class GivenUpError(Exception):
    """A job was not done, because the one before it failed."""


class Pipeline(Generic[T]):
    """Runs jobs of two steps off the loop.

    A job's first step builds on the first steps before it, whose second steps may not have ended yet. So once a job has
    failed, those behind it come to nothing (`GivenUpError`), until all of them are collected.

    Args:
        first, second: names of the threads.
        wake: called from the second thread when a job has ended.
    """

    def __init__(self, first: str, second: str, wake: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], T]] | None] = SimpleQueue()
        self._halves: SimpleQueue[tuple[Callable[[Any], T], Any, BaseException | None] | None] = SimpleQueue()
        self._outcomes: deque[tuple[T | None, BaseException | None]] = deque()
        self._wake = wake
        self._broken = False
        self._submitted = 0
        self._threads = [
            threading.Thread(target=self._do_first, name=first, daemon=True),
            threading.Thread(target=self._do_second, name=second, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Jobs that are not collected yet."""
        return self._submitted

    @property
    def ended(self) -> int:
        """Jobs that have ended and are not collected yet: the oldest ones."""
        return len(self._outcomes)

    def submit(self, first: Callable[[], Any], second: Callable[[Any], T]) -> None:
        """Add a job; `second` is given what `first` returns."""
        self._submitted += 1
        self._jobs.put((first, second))

    def collect(self) -> T:
        """Result of the oldest job, which has ended; raises what one of its steps raised, or `GivenUpError`."""
        result, error = self._outcomes.popleft()
        self._submitted -= 1
        if not self._submitted:
            self._broken = False
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def close(self, seconds: float) -> bool:
        """End the threads after what was submitted; False if that has not ended in time."""
        self._jobs.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _do_first(self) -> None:
        while (job := self._jobs.get()) is not None:
            first, second = job
            made, failure = None, None
            try:
                made = None if self._broken else first()
            except BaseException as error:  # handed to the loop, which decides
                failure = error
            self._halves.put((second, made, failure))
        self._halves.put(None)

    def _do_second(self) -> None:
        while (half := self._halves.get()) is not None:
            second, made, failure = half
            try:
                if self._broken:
                    raise GivenUpError("the one before it failed")
                if failure is not None:
                    raise failure
                outcome: tuple[T | None, BaseException | None] = (second(made), None)
            except BaseException as error:  # handed to the loop, which decides
                self._broken = True
                outcome = (None, error)
            self._outcomes.append(outcome)
            self._wake()
