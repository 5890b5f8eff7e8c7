"""Signals: named numbers that others have for a pair, such as a score of bicleaner's or LASER's.

`record.signals` names fields of a record that hold them, `record.computed_signals` entry points of the group
`craft_stream.signals` that compute them. What they are worth is learned from the stream (`learning.signals`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Protocol
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, CraftError
from craft_stream.settings import RecordSettings
from craft_stream.text.columns import Columns

GROUP = "craft_stream.signals"

Record = Mapping[str, Any]


class Signal(Protocol):
    """What an entry point must give.

    It may have one attribute more: `digest`, which names what the numbers depend on where the package's version does not.
    """

    @property
    def names(self) -> Sequence[str]:
        """Of its columns."""

    def compute(self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Record]) -> Any:
        """Numbers of pairs, an array [pairs, names]; NaN where it knows nothing.

        A row depends on its own pair and record alone, whatever stands beside it: decisions are made anew in an audit, in
        other batches.

        Args:
            sources, targets: the sides.
            records: what the pairs came in; empty where they came in nothing.
        """


class RecordFields:
    """Fields of a record: numbers, or texts that are numbers, as tables of text hold them; NaN for anything else.

    Attributes:
        names: of the fields.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def compute(
        self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Record]
    ) -> NDArray[np.float32]:
        """See `Signal.compute`."""
        values = [[_number(record.get(name)) for name in self.names] for record in records]
        return np.array(values, np.float32).reshape(len(records), len(self.names))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


class Signals:
    """Several signals as one table of columns.

    Args:
        signals: each with a prefix of its columns' names.

    Attributes:
        names: of all columns.

    Raises:
        ConfigurationError: two columns have one name.
    """

    def __init__(self, signals: Sequence[tuple[str, Signal]]) -> None:
        self._signals = signals
        self.names = tuple(prefix + name for prefix, signal in signals for name in signal.names)
        if doubled := {name for name in self.names if self.names.count(name) > 1}:
            raise ConfigurationError(f"there are two signals called {', '.join(sorted(doubled))}")

    def columns(self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Record]) -> Columns:
        """Columns of pairs; what is infinite is not known.

        Raises:
            ConfigurationError: a signal fails, or gives another shape than its names.
        """
        found = np.full((len(sources), len(self.names)), np.nan, np.float32)
        at = 0
        for prefix, signal in self._signals:
            name = prefix.removesuffix(".") or ", ".join(signal.names)
            try:
                values = np.asarray(signal.compute(sources, targets, records), np.float32)
            except CraftError:  # it says itself what to do
                raise
            except Exception as error:
                raise ConfigurationError(
                    f"the signal {name} failed ({type(error).__name__}: {error}); where it "
                    "knows nothing it must give NaN"
                ) from error
            if values.shape != (len(sources), len(signal.names)):
                raise ConfigurationError(
                    f"the signal {name} gave an array of shape {values.shape} for "
                    f"{len(sources)} pairs and {len(signal.names)} names"
                )
            found[:, at : at + len(signal.names)] = np.where(np.isfinite(values), values, np.nan)
            at += len(signal.names)
        return Columns(self.names, found)


def signals_of(signals: Sequence[str | Signal]) -> Signals | None:
    """Fields of a record by their names, and objects that compute; None of none.

    Raises:
        ConfigurationError: two columns have one name.
    """
    if isinstance(signals, str):
        raise ConfigurationError(f'signals are a list, as in ["{signals}"]')
    fields = [signal for signal in signals if isinstance(signal, str)]
    made: list[tuple[str, Signal]] = [("", RecordFields(fields))] if fields else []
    made += [("", signal) for signal in signals if not isinstance(signal, str)]
    return Signals(made) if made else None


def load_signals(fields: RecordSettings) -> Signals | None:
    """The signals that settings name; None where they name none. Made once in a process.

    Raises:
        ConfigurationError: there is no such entry point, it takes no such options, or two columns have one name.
    """
    if not fields.signals and not fields.computed_signals:
        return None
    return _load(tuple(fields.signals), tuple(fields.computed_signals))


@lru_cache(maxsize=8)
def _load(names: tuple[str, ...], computed: tuple[str, ...]) -> Signals:
    signals: list[tuple[str, Signal]] = [("", RecordFields(names))] if names else []
    for text in computed:
        kind, _, query = text.partition("?")
        found = {entry.name: entry for entry in entry_points(group=GROUP)}
        if kind not in found:
            known = ", ".join(sorted(found)) or "none"
            raise ConfigurationError(
                f'record.computed_signals names "{kind}"; of the group {GROUP} there are {known}'
            )
        entry = found[kind]
        try:
            signal = entry.load()(**dict(parse_qsl(query, keep_blank_values=True)))
        except TypeError as error:
            raise ConfigurationError(
                f"record.computed_signals: options do not fit {text}: {error}"
            ) from error
        # Numbers of another version, or under other options, are another signal, and have another name.
        version = entry.dist.version if entry.dist else "?"
        made = hashlib.sha256(repr((query, getattr(signal, "digest", ""))).encode()).hexdigest()[:8]
        signals.append((f"{kind}-{version}-{made}.", signal))
    return Signals(signals)
