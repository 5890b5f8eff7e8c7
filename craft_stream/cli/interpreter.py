"""How the interpreter is set for a process that decides."""

from __future__ import annotations

import ctypes
import gc
import sys

# Of glibc's mallopt, and what is asked for.
_MALLOC = {
    -8: 1,  # M_ARENA_MAX
    -1: 1 << 28,  # M_TRIM_THRESHOLD
    -3: 1 << 25,  # M_MMAP_THRESHOLD
}


def lighten() -> None:
    """Set the interpreter for many short-lived objects and threads that come back from kernels. When all is made.

    The garbage collector looks through young objects at every 700th new one: with tens of thousands of records in flight
    that took a sixth of a consumer's time. What is there by now stays, and need not be looked through again (3 % of the
    pairs a second, and most of what 20,000 records cost that are no pairs). A thread that wants the lock back waits 5 ms
    for it while another computes: a kernel of .3 ms would often wait longer than it works. `select`: 1.55 s of CPU time of
    1.89 for 1,024 pairs, 4.8 of 5.0 for 100,000.
    """
    gc.set_threshold(50_000, 10, 10)
    gc.freeze()
    sys.setswitchinterval(0.0005)


def keep_memory() -> None:
    """Let what one chunk leaves be used by the next, whatever thread it is of. Before threads begin; without glibc nothing.

    Arrays of a chunk are a megabyte each. glibc gives such memory back to the system and takes it again, a page fault for
    every 4 KiB, and has a heap for each thread: 724 MB and 11.1 s of CPU time for 551,304 pairs where this takes 611 and
    10.6; for 1,024 pairs it makes no difference.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for name, value in _MALLOC.items():
            library.mallopt(name, value)
