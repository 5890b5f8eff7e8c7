"""Transactions in flight: one is decided while the one before is written and committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from craft_stream.concurrency import SerialExecutor
from craft_stream.worker.decider import Batch

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True, eq=False)
class Transaction(Generic[T]):
    """One of them.

    Attributes:
        batches: what it decides, by partition.
        decided: what becomes of its first step.
        committed: what becomes of it all.
    """

    batches: Mapping[int, Batch]
    decided: Future[Any]
    committed: Future[T]

    @property
    def failed(self) -> bool:
        """Whether one of its steps has failed already."""
        steps = (self.decided, self.committed)
        return any(step.done() and step.exception() is not None for step in steps)


class TransactionsInFlight(Generic[T]):
    """Transactions of two steps each, in order, each step in a thread of its own.

    One is decided on the ledgers that those before it leave behind, which may not be committed yet. So once a transaction has
    failed, those that were begun while it was in flight come to nothing: `CancelledError`.

    Args:
        wake: called when one has ended.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._deciding, self._committing = SerialExecutor("decide"), SerialExecutor("commit")
        self._transactions: deque[Transaction[T]] = deque()
        self._wake = wake

    def __len__(self) -> int:
        return len(self._transactions)

    def __iter__(self) -> Iterator[Transaction[T]]:
        return iter(self._transactions)

    @property
    def ended(self) -> int:
        """How many have ended: the oldest ones."""
        return sum(transaction.committed.done() for transaction in self._transactions)

    def begin(self, batches: Mapping[int, Batch], decide: Callable[[], U], commit: Callable[[U], T]) -> None:
        """Add one; `commit` is given what `decide` returns."""
        before = self._transactions[-1] if self._transactions else None
        decided = self._deciding.submit(partial(_unless_failed, before, decide))
        committed = self._committing.submit(partial(_unless_failed, before, lambda: commit(decided.result())))
        committed.add_done_callback(lambda _: self._wake())
        self._transactions.append(Transaction(batches, decided, committed))

    def pop(self) -> Transaction[T]:
        """The oldest one, whether it has ended or not."""
        return self._transactions.popleft()


def _unless_failed(before: Transaction[Any] | None, step: Callable[[], T]) -> T:
    if before is not None and before.failed:
        raise CancelledError
    return step()
