"""Settings that were once called otherwise: an old name is refused with the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from craft_stream.errors import ConfigurationError

RENAMED = {
    "selection.rate": "budget.rate",
    "selection.burst": "selection.ahead",
    "ledger.anchors": "ledger.retained_snapshots",
    "ledger.anchor_hours": "ledger.retained_snapshot_hours",
}


def refuse_renamed(settings: Mapping[str, Any]) -> None:
    """Look for old names in nested tables, whatever source they come from.

    Raises:
        ConfigurationError: there is one.
    """
    for old, new in RENAMED.items():
        found: Any = settings
        for name in old.split("."):
            found = found.get(name, _ABSENT) if isinstance(found, Mapping) else _ABSENT
        if found is not _ABSENT:
            raise ConfigurationError(f"{old} is called {new} now")


_ABSENT = object()
