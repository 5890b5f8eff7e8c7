"""How the interpreter is set for a process that decides."""

from __future__ import annotations

import gc
import sys


def lighten() -> None:
    """Set the interpreter for many short-lived objects and threads that come back from kernels. When all is made.

    The garbage collector looks through young objects at every 700th new one: with tens of thousands of records in flight
    that took a sixth of a consumer's time. What is there by now stays, and need not be looked through again (3 % of the
    pairs a second, and most of what 20,000 records cost that are no pairs). A thread that wants the lock back waits 5 ms
    for it while another computes: a kernel of .3 ms would often wait longer than it works.
    """
    gc.set_threshold(50_000, 10, 10)
    gc.freeze()
    sys.setswitchinterval(0.0005)
