"""Prometheus' families of metrics, made from rows of a table."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from craft_stream import __version__

# The times at which counters began: half as many series again, and no question that they answer.
disable_created_metrics()  # type: ignore[no-untyped-call]

UNITS: Final = ("seconds", "bytes", "ratio", "nats")
# Classes of errors are few, but not only our code names them: beyond this they count as "other".
MOST_LABEL_VALUES: Final = 64

# What an event does to a metric: the name of one of its arguments, a number, or a function of arguments by their names
# (None: nothing). `now` is the time in seconds since the epoch.
Change = str | float | Callable[..., float | None]


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    A counter's name ends in `_total`, a histogram has buckets, all else is a gauge. The unit is the name's last word.

    Attributes:
        name: as it is exposed.
        help: a sentence.
        on: by event, what it counts, sets or observes; other changes are made by hand.
        labels: their names; an event has arguments of the same names.
        series: label values that exist at 0 from the start: a rate over a series that begins with an event misses it.
        buckets: of a histogram.
    """

    name: str
    help: str
    on: Mapping[str, Change] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit that the name ends with; "" for a count."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in UNITS else ""


def every(*values: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The series of one label or of several: all combinations of their values."""
    return tuple(product(*values))


class Families:
    """All families of a table, in a registry of their own, so that two workers in one process do not collide.

    A family with the label `partition` has series for the partitions that are held, and for no others: another process
    tells of those. Safe to call from several threads.
    """

    def __init__(self, table: Iterable[Metric]) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._values: dict[tuple[str, int], set[str]] = {}
        self._families: dict[str, Counter | Gauge | Histogram] = {}
        self._by_partition: set[str] = set()
        for row in table:
            family = self._families[row.name] = self._family(row)
            if "partition" in row.labels:
                self._by_partition.add(row.name)
            for labels in row.series:
                family.labels(*labels)
        self.info("craft_build", "Version of craft_stream and of Python, in labels.", {
            "version": __version__, "python": platform.python_version(),
        })  # fmt: skip
        ProcessCollector(registry=self.registry)

    def _family(self, row: Metric) -> Counter | Gauge | Histogram:
        if row.buckets:
            return Histogram(
                row.name, row.help, row.labels, unit=row.unit, buckets=row.buckets, registry=self.registry
            )
        kind = Counter if row.name.endswith("_total") else Gauge
        return kind(row.name, row.help, row.labels, unit=row.unit, registry=self.registry)

    def info(self, name: str, help_: str, labels: Mapping[str, str]) -> None:
        """Expose something that is said once, in labels."""
        Info(name, help_, registry=self.registry).info(dict(labels))

    def record(self, name: str, value: float, *labels: object) -> None:
        """Add to a counter, set a gauge, or observe in a histogram."""
        family = self._families[name]
        with self._lock:
            if name in self._by_partition and labels[0] not in self._held:
                return
            if labels:
                family = family.labels(*(self._bounded(name, k, label) for k, label in enumerate(labels)))
            if isinstance(family, Counter):
                family.inc(value)
            elif isinstance(family, Gauge):
                family.set(value)
            else:
                family.observe(value)

    def _bounded(self, name: str, place: int, label: object) -> object:
        if not isinstance(label, str):
            return label
        known = self._values.setdefault((name, place), set())
        if label not in known and len(known) >= MOST_LABEL_VALUES:
            return "other"
        known.add(label)
        return label

    def hold(self, partition: int) -> None:
        """The partition's series are this process's."""
        with self._lock:
            self._held.add(partition)

    def forget(self, partition: int) -> None:
        """Remove a partition's series."""
        with self._lock:
            self._held.discard(partition)
            for name in self._by_partition:
                self._families[name].remove_by_labels({"partition": str(partition)})
