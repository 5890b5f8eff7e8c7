"""Work beside the main thread: order, errors and bounds are those of one thread."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_stream.concurrency import SerialExecutor, one_ahead, prefetch
from craft_stream.learning.executor import IN_TURN, both


def wait_until(condition: Callable[[], bool]) -> None:
    """Within 10 s."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def threads(name: str) -> int:
    """How many of that name are alive."""
    return sum(thread.name == name for thread in threading.enumerate())


@settings(deadline=None)
@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_what_is_prefetched_is_what_was_to_come(items: list[int], most: int) -> None:
    """The same items in the same order, whatever their sizes and the bound."""
    assert list(prefetch(items, int, most)) == items


def test_an_error_is_raised_at_its_place() -> None:
    """What was made before it is delivered first."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("broken")

    made = prefetch(items(), int, 100)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(made)


def test_no_more_is_made_than_may_wait() -> None:
    """It waits at the bound, goes on when something is asked for, and ends when nobody wants more."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    stream = prefetch(items(), lambda item: 10, 50)
    assert next(stream) == 0
    wait_until(lambda: len(made) == 6)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4, 5], "one is delivered and five wait"
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    wait_until(lambda: not threads("prefetch"))
    assert len(made) <= 7


@pytest.mark.parametrize("taken", range(6))
def test_one_is_made_ahead_and_none_after_the_end(taken: int) -> None:
    """In order, one beside the work on that before; once it is closed nothing uses what they are made of."""
    at_work = threading.Event()
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            at_work.set()
            time.sleep(0.01)
            made.append(number)
            at_work.clear()
            yield number

    stream = one_ahead(items())
    got = [number for number, _ in zip(stream, range(taken), strict=False)]
    stream.close()
    assert got == list(range(min(taken, 5)))
    assert not at_work.is_set()
    assert len(made) <= min(taken + 2, 5)  # `zip` took one more, and one was made ahead


def test_an_error_ahead_is_raised_at_its_place() -> None:
    """After what came before it; nobody is told of one that is not asked for."""

    def items() -> Iterator[int]:
        yield 0
        raise ValueError("broken")

    stream = one_ahead(items())
    assert next(stream) == 0
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    unasked = one_ahead(items())
    assert next(unasked) == 0
    unasked.close()


def test_jobs_are_done_one_by_one_in_order_by_one_daemon() -> None:
    """Results and errors come with each job's future; a job that failed stops no other."""
    executor = SerialExecutor("serial")
    done: list[int] = []

    def job(number: int) -> tuple[int, str, bool]:
        done.append(number)
        thread = threading.current_thread()
        return number // (number % 50 != 7), thread.name, thread.daemon

    futures = [executor.submit(lambda number=number: job(number)) for number in range(200)]  # type: ignore[misc]
    for number, future in enumerate(futures):
        if number % 50 == 7:
            with pytest.raises(ZeroDivisionError):
                future.result(10)
        else:
            assert future.result(10) == (number, "serial", True)
    assert done == list(range(200))


def test_a_cancelled_job_is_not_begun() -> None:
    """One that waits may be called off; the one behind it is done."""
    executor = SerialExecutor("serial")
    go = threading.Event()
    first = executor.submit(lambda: go.wait(10))
    second = executor.submit(lambda: pytest.fail("begun"))
    third = executor.submit(lambda: 3)
    assert second.cancel()
    go.set()
    assert (first.result(10), third.result(10)) == (True, 3)


def test_no_more_jobs_wait_than_may() -> None:
    """Whoever submits waits for a place: one job is at work and 63 wait."""
    executor = SerialExecutor("serial")
    go = threading.Event()
    submitted: list[int] = []

    def submit() -> None:
        for number in range(70):
            executor.submit(lambda: go.wait(10))
            submitted.append(number)

    thread = threading.Thread(target=submit)
    thread.start()
    wait_until(lambda: len(submitted) == 64)
    time.sleep(0.05)
    assert len(submitted) == 64
    go.set()
    thread.join(10)
    assert len(submitted) == 70


def test_nothing_is_left_of_an_executor() -> None:
    """What a job held goes with it, and the thread with the executor, after the jobs that it has."""

    class Large:
        pass

    executor = SerialExecutor("left alone")
    large = Large()
    kept = weakref.ref(large)
    executor.submit(lambda held=large: None).result(10)  # type: ignore[misc]
    del large
    wait_until(lambda: kept() is None)
    last = executor.submit(lambda: 7)
    del executor
    wait_until(lambda: not threads("left alone"))
    assert last.result(0) == 7


def test_a_job_that_hangs_does_not_keep_the_process() -> None:
    """The interpreter ends although a job never does."""
    code = (
        "import threading\n"
        "from craft_stream.concurrency import SerialExecutor\n"
        "executor = SerialExecutor('hangs')\n"
        "executor.submit(threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_of_two_jobs_one_is_done_beside_the_other() -> None:
    """Each waits for the other to have begun, so they run at once; the calling thread does the first."""
    meeting = threading.Barrier(2)

    def job(name: str) -> tuple[str, bool]:
        meeting.wait(10)
        return name, threading.current_thread() is threading.main_thread()

    found = both(SerialExecutor("beside"), lambda: job("first"), lambda: job("second"))
    assert found == (("first", True), ("second", False))
    assert both(IN_TURN, lambda: 1, lambda: 2) == (1, 2)


@pytest.mark.parametrize("failing", ["first", "second"])
def test_of_two_jobs_one_may_fail(failing: str) -> None:
    """Its error is raised when both have ended, in threads and in turn."""
    for executor in (SerialExecutor("beside"), IN_TURN):
        ended: list[str] = []

        def job(name: str, ended: list[str] = ended) -> None:
            time.sleep(0.05 * (name != failing))
            ended.append(name)
            if name == failing:
                raise ValueError(name)

        with pytest.raises(ValueError, match=failing):
            both(executor, lambda: job("first"), lambda: job("second"))
        assert sorted(ended) == ["first", "second"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told")
def test_memory_that_a_block_leaves_is_used_again() -> None:
    """Arrays of a megabyte, made and left by turns in a thread, cost no page faults: 256 each by default."""
    code = (
        "import resource, threading\n"
        "import numpy as np\n"
        "from craft_stream.cli.interpreter import keep_memory\n"
        "keep_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def work():\n"
        "    for turn in range(60):\n"
        "        if turn == 10: found.append(faults())\n"
        "        kept = [np.ones(1 << 18, np.float32) for _ in range(4)]\n"
        "        del kept\n"
        "    found.append(faults())\n"
        "found = []\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print(found[1] - found[0])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < 2000, "200 arrays of 256 pages"
