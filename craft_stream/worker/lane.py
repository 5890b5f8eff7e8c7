"""One daemon thread that does one job at a time, so that the loop never waits.

Not `concurrent.futures`: its threads are joined when the interpreter ends, and a job that hangs in a client
library would keep a process alive that wants to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """Runs jobs off the loop.

    Args:
        name: of the thread.
        wake: called from the lane's thread when a job has ended.
    """

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], T] | None] = SimpleQueue()
        self._wake = wake
        self._outcome: tuple[T | None, BaseException | None] | None = None
        self._busy = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a job runs or its result waits to be collected."""
        return self._busy

    def submit(self, job: Callable[[], T]) -> None:
        """Start a job; only when not busy."""
        assert not self._busy, "a lane does one job at a time"  # noqa: S101
        self._busy = True
        self._jobs.put(job)

    @property
    def ended(self) -> bool:
        """Whether the job has ended and `collect` would give its result."""
        return self._outcome is not None

    def collect(self) -> T:
        """The ended job's result; raises what the job raised."""
        assert self._outcome is not None, "the job has not ended"  # noqa: S101
        result, error = self._outcome
        self._outcome, self._busy = None, False
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def close(self, seconds: float) -> bool:
        """End the thread after its job; False if it has not ended in time."""
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._outcome = (job(), None)
            except BaseException as error:  # handed to the loop, which decides
                self._outcome = (None, error)
            self._wake()
