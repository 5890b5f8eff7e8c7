"""Work beside a thread that decides: kernels, decompression and files release the interpreter's lock.

Daemon threads, for the reason that `runtime.lane` gives: a read of a silent pipe must not hold up the end of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Queue, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

# Jobs that may wait; what they hold is in memory.
_WAITING = 64


class Background:
    """Does jobs in the order in which they were submitted. After one has failed, those behind it are not begun.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: Queue[Callable[[], object] | None] = Queue(_WAITING)
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Callable[[], object]) -> None:
        """Add a job; waits while many are waiting."""
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait until all jobs are done; raises what one of them raised."""
        self._jobs.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread after the jobs that it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # raised where the result is waited for
                self._error = error
            finally:
                self._jobs.task_done()


def together(first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """What two jobs return, the second done in a thread of its own beside the first."""
    done: list[U] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(second())
        except BaseException as error:  # raised below
            failed.append(error)

    thread = threading.Thread(target=work, name="beside", daemon=True)
    thread.start()
    try:
        result = first()
    finally:
        thread.join()
    if failed:
        raise failed[0]
    return result, done[0]


def ahead(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[T]:
    """The same items in the same order, made in a thread ahead of whoever takes them.

    Args:
        items: what raises there is raised here, at its place.
        size: of an item.
        most: sum of the sizes of items that wait; the one that passes it is the last for a while.
    """
    # None is the end, an error the end as well
    made: SimpleQueue[tuple[T, int] | BaseException | None] = SimpleQueue()
    room = threading.Condition()
    waiting = 0
    left = False

    def roomy() -> bool:
        return waiting < most or left

    def make() -> None:
        nonlocal waiting
        end: BaseException | None = None
        try:
            for item in items:
                own = size(item)
                made.put((item, own))
                with room:
                    waiting += own
                    room.wait_for(roomy)
                if left:
                    return
        except BaseException as error:  # raised where it is taken
            end = error
        made.put(end)

    threading.Thread(target=make, name="read ahead", daemon=True).start()
    try:
        while (taken := made.get()) is not None:
            if isinstance(taken, BaseException):
                raise taken
            item, own = taken
            with room:
                waiting -= own
                room.notify()
            yield item
    finally:
        with room:
            left = True
            room.notify()
