"""Work beside the main thread: order, errors and bounds are those of one thread."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_stream.beside import Background, ahead, together


def check_nobody_reads_ahead() -> None:
    """The thread has ended, or does within 10 s: it may outlive its last item by a moment."""
    deadline = time.monotonic() + 10
    while any(t.name == "read ahead" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.name == "read ahead" for thread in threading.enumerate())


@settings(deadline=None)
@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_what_is_made_ahead_is_what_was_to_come(items: list[int], most: int) -> None:
    """The same items in the same order, whatever their sizes and the bound."""
    assert list(ahead(items, int, most)) == items


def test_an_error_is_raised_at_its_place() -> None:
    """What was made before it is taken first."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("broken")

    made = ahead(items(), int, 100)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(made)


def test_no_more_is_made_than_may_wait() -> None:
    """It waits at the bound, goes on when something is taken, and ends when nobody wants more."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    stream = ahead(items(), lambda item: 10, 50)
    assert next(stream) == 0
    deadline = time.monotonic() + 10
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4, 5], "one is taken and five wait"
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    check_nobody_reads_ahead()
    assert len(made) <= 7


def test_jobs_are_done_in_order_and_end_with_the_first_that_fails() -> None:
    """Its error is raised where the result is waited for, and nothing behind it has begun."""
    done: list[int] = []

    def fail() -> None:
        raise ValueError("broken")

    background = Background("test")
    for number in range(200):
        background.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    background.settle()
    assert done == list(range(200))
    background.submit(fail)
    background.submit(lambda: done.append(200))
    with pytest.raises(ValueError, match="broken"):
        background.settle()
    background.close()
    assert done == list(range(200))


def test_two_jobs_together_give_both_results() -> None:
    """Each waits for the other to have begun, so they run at once; the calling thread does the first."""
    both = threading.Barrier(2)

    def job(name: str) -> tuple[str, bool]:
        both.wait(10)
        return name, threading.current_thread() is threading.main_thread()

    assert together(lambda: job("first"), lambda: job("second")) == (("first", True), ("second", False))


@pytest.mark.parametrize("failing", ["first", "second"])
def test_of_two_jobs_together_one_may_fail(failing: str) -> None:
    """Its error is raised when both have ended."""
    ended: list[str] = []

    def job(name: str) -> None:
        time.sleep(0.05 * (name != failing))
        ended.append(name)
        if name == failing:
            raise ValueError(name)

    with pytest.raises(ValueError, match=failing):
        together(lambda: job("first"), lambda: job("second"))
    assert sorted(ended) == ["first", "second"]


def test_kernels_run_without_scipy() -> None:
    """Neither numba's functions nor a kernel import its linear algebra, which can be imported afterwards."""
    code = (
        "import sys\n"
        "from craft_stream.cli.interpreter import spare_scipy\n"
        "from craft_stream.text.batch import TextBatch\n"
        "from craft_stream.text.tokens import tokenize\n"
        "spare_scipy()\n"
        "assert len(tokenize(TextBatch.pack(['a b'])).words) == 2\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "import scipy.linalg\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
