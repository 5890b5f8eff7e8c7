"""Work beside a thread: kernels, decompression, files and sockets release the interpreter's lock.

Threads are daemons, not those of `concurrent.futures.ThreadPoolExecutor`: these are joined when the interpreter ends, and a
read of a silent pipe, or a call that hangs in a client library, would keep a process alive that wants to end.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

# Jobs that may wait; what they hold is in memory.
_WAITING = 64


class SerialExecutor:
    """Does jobs in the order in which they were submitted, in one thread that ends when nobody holds the executor.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._slots = threading.Semaphore(_WAITING)
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        weakref.finalize(
            self, self._jobs.put, None
        )  # may be called anywhere: a SimpleQueue's put is reentrant

    def submit(self, job: Callable[[], T], /) -> Future[T]:
        """Add a job; waits while many are waiting. A job must not wait for one that was submitted after it."""
        future: Future[T] = Future()
        slots = self._slots
        slots.acquire()
        future.add_done_callback(lambda _: slots.release())
        self._jobs.put((future, job))
        return future


def _work(jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (one := jobs.get()) is not None:
        future, job = one
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:  # raised where the result is asked for
                future.set_exception(error)
        del one, future, job  # what they hold would stay until the next one comes


def prefetch(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[T]:
    """The same items in the same order, made in a thread ahead of whoever asks for them.

    Args:
        items: what raises there is raised here, at its place.
        size: of an item.
        most: sum of the sizes of items that wait; the one that passes it is the last for a while.
    """
    made: SimpleQueue[tuple[T, int] | None] = SimpleQueue()
    changed = threading.Condition()
    waiting = 0
    left = False

    def make() -> None:
        nonlocal waiting
        try:
            for item in items:
                own = size(item)
                made.put((item, own))
                with changed:
                    waiting += own
                    while waiting >= most and not left:
                        changed.wait()
                if left:
                    return
        finally:
            made.put(None)

    making = SerialExecutor("prefetch").submit(make)
    try:
        while (one := made.get()) is not None:
            item, own = one
            with changed:
                waiting -= own
                changed.notify()
            yield item
        making.result()
    finally:
        with changed:
            left = True
            changed.notify()


def one_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items in the same order, each made beside the work on the one before.

    Closed, it waits for the one that is being made: unlike `prefetch` for what must not be used from two threads at once, and
    does not keep anybody waiting for long.

    Args:
        items: none of them is None; what raises there is raised here, at its place.
    """
    executor = SerialExecutor("ahead")
    making = executor.submit(partial(next, items, None))
    try:
        while (item := making.result()) is not None:
            making = executor.submit(partial(next, items, None))
            yield item
    finally:
        making.exception()


def mapped(function: Callable[[S], T], items: Iterable[S], jobs: int) -> Iterator[T]:
    """What a function makes of items, in their order, made in so many threads at once.

    Args:
        function: what it raises is raised here, at its place.
        items: taken as they are needed, in the thread that asks.
        jobs: threads; twice as many results are in memory.
    """
    threads = [SerialExecutor(f"job-{number}") for number in range(jobs)]
    waiting: deque[Future[T]] = deque()
    for number, item in enumerate(items):
        waiting.append(threads[number % jobs].submit(partial(function, item)))
        if len(waiting) > 2 * jobs:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
