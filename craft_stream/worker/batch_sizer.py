"""How many records a transaction may hold, so that it does not take long."""

from __future__ import annotations

# The first transactions are small, since nothing is known yet; each that is in time may be followed by one twice as large.
_FIRST = 1024


class BatchSizer:
    """What a stop, a rebalance or the first of its records waits for: a transaction that takes about as long as it may.

    A neural encoder may need minutes for as many records as the hashing one decides in a tenth of a second.

    Args:
        most: records of any transaction.
        seconds: that one should take at most.

    Attributes:
        limit: records that the next one may hold.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.limit = min(_FIRST, most)
        self._most, self._seconds = most, seconds

    def took(self, records: int, seconds: float) -> None:
        """Take note of a transaction."""
        if seconds > self._seconds:
            self.limit = min(self.limit, max(1, int(records * self._seconds / seconds)))
        elif records >= self.limit:
            self.limit = min(self._most, 2 * self.limit)
