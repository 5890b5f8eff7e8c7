"""craft_stream: selects, from a stream of sentence pairs, the training data that matches a target domain.

`select` decides of a stream, `learn` and `load_model` give a `Model`, which scores. docs/how-to/python.md shows them at
work. What is named here is loaded when it is first asked for: `import craft_stream` itself takes some milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from craft_stream.kernel_cache import choose_place

if TYPE_CHECKING:
    from craft_stream.api.model import Model, learn, load_model
    from craft_stream.api.selection import Decision, Selection, select
    from craft_stream.errors import ConfigurationError, CraftError, DataError, IntegrityError, TargetError

__all__ = [
    "ConfigurationError",
    "CraftError",
    "DataError",
    "Decision",
    "IntegrityError",
    "Model",
    "Selection",
    "TargetError",
    "learn",
    "load_model",
    "select",
]
__version__ = "0.2.0"

choose_place()

_HOMES = {
    "craft_stream.api.model": ("Model", "learn", "load_model"),
    "craft_stream.api.selection": ("Decision", "Selection", "select"),
    "craft_stream.errors": ("ConfigurationError", "CraftError", "DataError", "IntegrityError", "TargetError"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(home), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
