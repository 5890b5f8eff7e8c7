"""A trouble that comes back at every try is told once, and once that it is over."""

from __future__ import annotations

import logging
import time


class Trouble:
    """What somebody has with the brokers, or another outside.

    Args:
        log: where it is told.
        what: that has the trouble, as a line begins.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log, self._what = log, what
        self._kinds: set[str] = set()
        self._since = 0.0

    def tell(self, error: Exception) -> None:
        """It is there: a line, unless one of this kind was told already."""
        kind = type(error).__name__
        if not self._kinds:
            self._since = time.monotonic()
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._log.warning("%s: %s", self._what, error)

    def over(self) -> None:
        """It is not there: a line, if it was."""
        if self._kinds:
            self._kinds.clear()
            self._log.info("%s: well again after %.0f s", self._what, time.monotonic() - self._since)
