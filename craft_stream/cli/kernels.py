"""Compiling kernels, which a machine does once: said on a terminal, and done before it is waited for."""

from __future__ import annotations

import sys
from typing import Any

from numba.core import event

from craft_stream.cli.tell import tell

_EVENT = "numba:compile"


class _Announcement(event.Listener):
    """Writes a line when the first kernel is compiled."""

    def __init__(self) -> None:
        self._done = False

    def on_start(self, event: Any) -> None:
        """See numba."""
        if not self._done:
            self._done = True
            tell("compiling for this machine, half a minute, once (`craft-stream warm-up`)")

    def on_end(self, event: Any) -> None:
        """See numba."""


class Compiled(event.Listener):
    """Counts kernels that are compiled while it is entered, not taken from the cache."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Compiled:
        event.register(_EVENT, self)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        event.unregister(_EVENT, self)  # type: ignore[no-untyped-call]

    def on_start(self, event: Any) -> None:
        """See numba."""

    def on_end(self, event: Any) -> None:
        """See numba."""
        self.count += 1


def announce_compiling() -> None:
    """Say on a terminal when kernels are compiled, since it takes long and nothing else is to be seen."""
    if sys.stderr.isatty():
        event.register(_EVENT, _Announcement())  # type: ignore[no-untyped-call]
