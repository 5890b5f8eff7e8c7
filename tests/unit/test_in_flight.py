"""Transactions in flight: in order, side by side, and nothing is built on what failed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError

from hypothesis import given
from hypothesis import strategies as st

from craft_stream.worker.in_flight import TransactionsInFlight
from tests.unit.test_concurrency import wait_until


def outcomes(transactions: TransactionsInFlight[int]) -> list[int | type[Exception]]:
    """Of all, in order."""
    wait_until(lambda: transactions.ended == len(transactions))
    found: list[int | type[Exception]] = []
    while transactions:
        try:
            found.append(transactions.pop().committed.result(0))
        except Exception as error:
            found.append(type(error))
    return found


def test_the_next_one_is_decided_while_the_one_before_is_committed() -> None:
    """The second is decided to its end before the commit of the first has ended."""
    transactions: TransactionsInFlight[int] = TransactionsInFlight(lambda: None)
    decided, end = threading.Event(), threading.Event()
    transactions.begin({}, lambda: 1, lambda made: made if end.wait(5) else 0)
    transactions.begin({}, lambda: (decided.set(), 2)[1], lambda made: made)
    assert decided.wait(5)
    assert transactions.ended == 0
    assert len(transactions) == 2
    end.set()
    assert outcomes(transactions) == [1, 2]


@given(st.lists(st.lists(st.sampled_from(["", "decide", "commit"]), max_size=5), max_size=4))
def test_what_follows_a_failure_comes_to_nothing(rounds: Sequence[Sequence[str]]) -> None:
    """Each in its turn: results, then the failure, then only cancelled ones; a new round begins afresh."""
    transactions: TransactionsInFlight[int] = TransactionsInFlight(lambda: None)
    committed: list[int] = []
    for failing in rounds:
        committed.clear()
        for number, place in enumerate(failing):

            def decide(number: int = number, place: str = place) -> int:
                return 1 // 0 if place == "decide" else number

            def commit(made: int, place: str = place) -> int:
                if place == "commit":
                    raise KeyError(made)
                committed.append(made)
                return made

            transactions.begin({}, decide, commit)
        bad = next((number for number, place in enumerate(failing) if place), len(failing))
        error = ZeroDivisionError if failing[bad:][:1] == ["decide"] else KeyError
        expected = [*range(bad), *[error][: len(failing) - bad], *[CancelledError] * (len(failing) - bad - 1)]
        assert outcomes(transactions) == expected
        assert committed == list(range(bad))


def test_nothing_is_decided_on_what_was_not_decided() -> None:
    """What was begun behind a transaction whose deciding failed is not decided, though that one has not been collected."""
    transactions: TransactionsInFlight[int] = TransactionsInFlight(lambda: None)
    decided: list[int] = []
    transactions.begin({}, lambda: 1 // 0, lambda made: made)
    transactions.begin({}, lambda: decided.append(2), lambda _: 2)
    assert outcomes(transactions) == [ZeroDivisionError, CancelledError]
    assert not decided


def test_one_that_has_ended_wakes_whoever_waits() -> None:
    """The loop sleeps until then."""
    woken = threading.Event()
    transactions: TransactionsInFlight[int] = TransactionsInFlight(woken.set)
    transactions.begin({}, lambda: 7, lambda made: made)
    assert woken.wait(5)
    assert outcomes(transactions) == [7]
