"""Jobs of two steps: in order, side by side, and nothing is built on what failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.worker.pipeline import GivenUpError, Pipeline


def wait_for(pipeline: Pipeline[int], jobs: int) -> None:
    """Until so many have ended."""
    deadline = time.monotonic() + 5
    while pipeline.ended < jobs:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def outcomes(pipeline: Pipeline[int]) -> list[int | type[Exception]]:
    """Of all jobs, in order."""
    found: list[int | type[Exception]] = []
    wait_for(pipeline, len(pipeline))
    while pipeline:
        try:
            found.append(pipeline.collect())
        except Exception as error:
            found.append(type(error))
    return found


def test_the_next_job_begins_while_the_one_before_ends() -> None:
    """The first step of the second job runs to its end before the second step of the first one has ended."""
    pipeline: Pipeline[int] = Pipeline("one", "two", lambda: None)
    begun, end = threading.Event(), threading.Event()
    pipeline.submit(lambda: 1, lambda made: made if end.wait(5) else 0)
    pipeline.submit(lambda: (begun.set(), 2)[1], lambda made: made)
    assert begun.wait(5)
    assert pipeline.ended == 0
    assert len(pipeline) == 2
    end.set()
    assert outcomes(pipeline) == [1, 2]
    assert pipeline.close(5)


@given(st.lists(st.lists(st.sampled_from(["", "first", "second"]), max_size=5), max_size=4))
def test_what_follows_a_failure_is_given_up_until_all_is_collected(rounds: Sequence[Sequence[str]]) -> None:
    """Each job in its turn: a result, then the failure, then only what was given up; and a new round begins afresh."""
    pipeline: Pipeline[int] = Pipeline("one", "two", lambda: None)
    ended: list[int] = []
    for failing in rounds:
        ended.clear()
        for number, place in enumerate(failing):

            def first(number: int = number, place: str = place) -> int:
                return 1 // 0 if place == "first" else number

            def second(made: int, place: str = place) -> int:
                if place == "second":
                    raise KeyError(made)
                ended.append(made)
                return made

            pipeline.submit(first, second)
        bad = next((number for number, place in enumerate(failing) if place), len(failing))
        error = ZeroDivisionError if failing[bad:][:1] == ["first"] else KeyError
        expected = [*range(bad), *[error][: len(failing) - bad], *[GivenUpError] * (len(failing) - bad - 1)]
        assert outcomes(pipeline) == expected
        assert ended == list(range(bad))
    assert pipeline.close(5)


def test_what_was_submitted_ends_before_it_is_closed() -> None:
    """Closing waits for what is under way, and says when that takes too long."""
    pipeline: Pipeline[int] = Pipeline("one", "two", lambda: None)
    end = threading.Event()
    pipeline.submit(lambda: 1, lambda made: made if end.wait(5) else 0)
    assert not pipeline.close(0.01)
    end.set()
    wait_for(pipeline, 1)
    assert pipeline.collect() == 1


def test_jobs_wake_whoever_waits() -> None:
    """The loop sleeps until a job has ended."""
    woken = threading.Event()
    pipeline: Pipeline[int] = Pipeline("one", "two", woken.set)
    pipeline.submit(lambda: 7, lambda made: made)
    assert woken.wait(5)
    with pytest.raises(IndexError):
        pipeline.collect(), pipeline.collect()
    assert pipeline.close(5)
