"""A circuit breaker: the work stops where too many records cannot be decided."""

from __future__ import annotations

from collections import deque

from craft_stream.errors import DataError
from craft_stream.settings import ErrorsSettings


class CircuitBreaker:
    """Stops the work when too many of the latest records are dead letters: input or settings are wrong.

    Attributes:
        share: of dead letters among the records remembered.
    """

    def __init__(self, settings: ErrorsSettings) -> None:
        self._limit = settings.dead_letter_limit
        self._window = settings.dead_letter_window
        self._counts: deque[tuple[int, int]] = deque()
        self._records = self._dead = 0

    @property
    def share(self) -> float:
        """Share of dead letters among the latest records."""
        return self._dead / self._records if self._records else 0.0

    def count(self, records: int, dead: int) -> None:
        """Take note of a transaction that is committed.

        Raises:
            DataError: the share is above the limit.
        """
        self._counts.append((records, dead))
        self._records += records
        self._dead += dead
        while self._counts and self._records - self._counts[0][0] >= self._window:
            gone, dead_gone = self._counts.popleft()
            self._records -= gone
            self._dead -= dead_gone
        # A few bad records at the very start say nothing: judged from a tenth of the window on.
        if self._records >= self._window // 10 and self.share > self._limit:
            raise DataError(
                f"{self._dead} of the last {self._records} records could not be decided, more than "
                f"errors.dead_letter_limit = {self._limit} allows: `craft-stream dlq ls` shows why"
            )
