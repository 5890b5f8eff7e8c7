"""The Observer that Prometheus reads: turns the worker's events into metrics, health and a status page."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partialmethod
from inspect import signature
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry

from craft_stream import __version__
from craft_stream.events import FINDINGS, SPENDING, Observer, PartitionState
from craft_stream.observe.families import Change, Families, Metric
from craft_stream.observe.match import Match
from craft_stream.observe.metrics import DELTA, HELD_STATES, SNAPSHOT, WORKER, outcome
from craft_stream.observe.recent import Recent
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason

# The loop beats once a second; a commit may wait a minute for its time-out: two of those are a hang.
STALL_SECONDS: Final = 120.0
# Kernels compile and models load before the first beat: a minute on a small machine, five on one that swaps.
START_SECONDS: Final = 300.0

_UNREADY: Final = (PartitionState.ASSIGNED, PartitionState.RESTORING)
# Events whose last arguments the status page shows.
_SHOWN: Final = ("started", "settings", "model", "target", "learner", "not_learning", "published", "primed")
# By event, its arguments.
_EVENTS: Final = {
    name: tuple(signature(method).parameters)[1:]
    for name, method in vars(Observer).items()
    if not name.startswith("_")
}


class Tabulated(Observer):
    """Changes, with each event, the metrics of a table whose rows name it."""

    def __init__(self, table: Iterable[Metric], clock: Callable[[], float]) -> None:
        self._families = Families(table)
        self._clock = clock
        self._last: dict[str, dict[str, Any]] = {}
        self._rows = {event: list(_rows(table, event)) for event in _EVENTS}

    def _told(self, *arguments: Any, event: str) -> None:
        if event in _SHOWN:
            self._last[event] = dict(zip(_EVENTS[event], arguments, strict=True))
        values = (*arguments, self._clock())
        for name, read, labels in self._rows[event]:
            value = read(*values)
            if value is not None:
                self._families.record(name, value, *(values[place] for place in labels))


def _rows(
    table: Iterable[Metric], event: str
) -> Iterator[tuple[str, Callable[..., float | None], list[int]]]:
    """What an event changes: a metric's name, the value out of the event's arguments and the time, places of the labels."""
    names = (*_EVENTS[event], "now")
    for row in table:
        if event in row.on:
            yield row.name, _reader(row.on[event], names), [names.index(label) for label in row.labels]


def _reader(change: Change, names: tuple[str, ...]) -> Callable[..., float | None]:
    """Take from an event's arguments, whose names these are, what a row wants."""
    if isinstance(change, str):
        place = names.index(change)
        return lambda *values: values[place]
    if callable(change):
        places = [names.index(name) for name in signature(change).parameters]
        return lambda *values: change(*(values[place] for place in places))
    return lambda *_: change


for _event in _EVENTS:
    setattr(Tabulated, _event, partialmethod(Tabulated._told, event=_event))


class Recorder(Tabulated):
    """Keeps every event as metrics and as the present state; the worker calls it, HTTP threads read it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch; tests move it by hand."""
        super().__init__(WORKER, clock)
        self._lock = threading.Lock()
        self._match = Match()
        self._recent = Recent()
        self._states: dict[int, PartitionState] = {}
        self._versions: dict[int, int] = {}
        self._deltas: Counter[int] = Counter()
        self._begun = clock()
        self._beat: float | None = None
        self._joined = False
        self._stopped = False
        self._waiting: str | None = None
        self._breaker_open = False
        for name in ("craft_last_commit_timestamp_seconds", "craft_last_beat_timestamp_seconds"):
            self._families.record(name, self._begun)

    # What the HTTP endpoints ask.

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""
        return self._families.registry

    def alive(self) -> str | None:
        """None while the loop turns, else what is wrong."""
        now = self._clock()
        if self._stopped:
            return None
        if self._beat is None:
            waited = now - self._begun
            return (
                None if waited <= START_SECONDS else f"the worker has not begun its loop after {waited:.0f} s"
            )
        waited = now - self._beat
        return None if waited <= STALL_SECONDS else f"the worker's loop has not turned for {waited:.0f} s"

    def ready(self) -> str | None:
        """None when the worker has joined its group, restored what it holds and can decide, else what is missing."""
        with self._lock:
            if self._stopped:
                return "the worker has stopped"
            if not self._joined:
                return "the worker has not joined its group"
            if self._waiting is not None:
                return self._waiting
            if self._breaker_open:
                return "the circuit breaker is open: too many records cannot be decided"
            waiting = sorted(p for p, state in self._states.items() if state in _UNREADY)
        return f"restoring partitions {', '.join(map(str, waiting))}" if waiting else None

    def state(self) -> dict[str, Any]:
        """The present state, ready for JSON: worker, partitions, model, settings, target, learner, certificate."""
        told = {event: self._last.get(event, {}) for event in _SHOWN}
        model = told["model"]
        with self._lock:
            return {
                "worker": told["started"] | {"version": __version__, "started": self._begun},
                "partitions": [
                    {"partition": p, "state": str(state), "model_version": self._versions.get(p)}
                    | self._match.partition(p)
                    for p, state in sorted(self._states.items())
                ],
                "model": {**model["header"], "bytes": model["size"]} if model else {},
                "target": told["target"],
                "settings": told["settings"],
                "learner": told["learner"]
                | {
                    "stopped": told["not_learning"].get("why"),
                    "published": told["published"],
                    "primed": told["primed"],
                },
                "certificate": self._match.certificate(),
            }

    def lately(self) -> dict[str, Any]:
        """What was decided in the last minutes: pairs by outcome, throughput, and by version."""
        with self._lock:
            return {
                "accepted": self._recent.last(True),
                "rejected": self._recent.last(False),
                "throughput": self._recent.throughput(self._clock()),
                "versions": self._recent.versions(),
            }

    def refresh(self) -> None:
        """Bring what is derived from several partitions up to date; called before each scrape."""
        with self._lock:
            self._match.export(self._families)

    # What is kept beside the metrics, or put together from several events.

    def started(self, group: str, topic: str, parameters: str, budget: float, /) -> None:
        """Expose the digest."""
        super().started(group, topic, parameters, budget)
        about = "Digest of the parameters in force, in a label."
        self._families.info("craft_parameters", about, {"digest": parameters})

    def beat(self) -> None:
        """Note the time."""
        super().beat()
        self._beat = self._clock()

    def joined(self, partitions: frozenset[int], /) -> None:
        """Ready from here on, as far as the group goes; what is no longer held is forgotten."""
        with self._lock:
            self._joined = True
            for partition in set(self._states) - partitions:
                self._forget(partition)
            self._count_states()

    def waiting(self, why: str | None, /) -> None:
        """Not ready, for this reason."""
        super().waiting(why)
        self._waiting = why

    def stopped(self) -> None:
        """No longer ready; still alive, since ending is not hanging."""
        self._stopped = True

    def partition_state(self, partition: int, state: PartitionState, /) -> None:
        """Count partitions by state, and drop every series of one that is gone."""
        with self._lock:
            if state in HELD_STATES:
                self._states[partition] = state
                self._families.hold(partition)
            else:
                self._forget(partition)
            self._count_states()
        super().partition_state(partition, state)

    def decided(self, partition: int, decisions: Decisions, rejected_kept: int, /) -> None:
        """Count by reason."""
        super().decided(partition, decisions, rejected_kept)
        with self._lock:
            self._recent.decided(decisions, self._clock())
        for code in np.unique(decisions.reason):
            reason = Reason(code)
            count = int(np.count_nonzero(decisions.reason == code))
            self._families.record("craft_decisions_total", count, outcome(reason), reason.label)

    def pairs(self, partition: int, chunk: Chunk, decisions: Decisions, /) -> None:
        """Keep a few."""
        with self._lock:
            self._recent.pairs(chunk, decisions, self._clock())

    def model(self, header: Mapping[str, Any], size: int, /) -> None:
        """Count what was left out of the target."""
        super().model(header, size)
        left_out = header.get("target_left_out", {})
        for finding in FINDINGS:
            self._families.record("craft_target_left_out_pairs", left_out.get(finding, 0), finding)

    def breaker(self, open_: bool, share: float, /) -> None:
        """An open breaker takes readiness away."""
        super().breaker(open_, share)
        self._breaker_open = open_

    def restored(
        self, partition: int, seconds: float, size: int, attempts: int, deltas: int, written_ms: int, /
    ) -> None:
        """What the partition has of deltas goes on from here."""
        super().restored(partition, seconds, size, attempts, deltas, written_ms)
        self._pending(partition, deltas)

    def ledger_written(self, partition: int, kind: str, size: int, /) -> None:
        """The deltas before a snapshot are no longer needed."""
        super().ledger_written(partition, kind, size)
        if kind == SNAPSHOT:
            self._pending(partition, 0)
        elif kind == DELTA:
            self._pending(partition, self._deltas[partition] + 1)

    def ledger(self, partition: int, summary: Mapping[str, Any], /) -> None:
        """Keep it; `refresh` puts the partitions together."""
        with self._lock:
            fell = partition in self._states and self._match.update(partition, summary)
        if fell:
            self.drifted(partition, SPENDING)

    def model_in_force(self, partition: int, version: int, /) -> None:
        """Show the oldest version that decides here, of the partitions that are held."""
        with self._lock:
            if partition in self._states:
                self._versions[partition] = version
                self._families.record("craft_model_version", min(self._versions.values()))

    # Helpers.

    def _pending(self, partition: int, deltas: int) -> None:
        self._deltas[partition] = deltas
        self._families.record("craft_ledger_pending_deltas", deltas, partition)

    def _count_states(self) -> None:
        counts = Counter(self._states.values())
        for state in HELD_STATES:
            self._families.record("craft_partitions", counts[state], state)

    def _forget(self, partition: int) -> None:
        """Another process tells of this partition now. The lock is held."""
        self._states.pop(partition, None)
        self._versions.pop(partition, None)
        self._deltas.pop(partition, None)
        self._match.forget(partition)
        self._families.forget(partition)
