"""How much memory objects hold: the bytes of all arrays and strings that can be reached from them, each once."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import numpy as np

MIB = 1 << 20


def held_mib(*roots: Any) -> float:
    """MiB of what can be reached from `roots` through attributes, sequences and mappings; shared parts count once.

    Objects that carry no data of their own (modules, classes, functions) are left out, as is the interpreter's overhead for
    attributes: in what is measured here it is under a hundredth.
    """
    seen: set[int] = set()
    waiting, total = list(roots), 0
    while waiting:
        item = waiting.pop()
        if isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
        if id(item) in seen or isinstance(item, type) or callable(item):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, str | bytes):
            total += sys.getsizeof(item)
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset | deque):
            waiting += item
        else:
            waiting += getattr(item, "__dict__", {}).values()
            names = (name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
            waiting += [getattr(item, name) for name in names if hasattr(item, name)]
    return total / MIB
