"""What can be watched of `craft-stream crawl`: the counts of its store as metrics, and its health.

watched = CrawlRecorder(store.counts)
server = Server(watched, settings.observe.host, settings.observe.port)
watched.step(store.counts, store.partners.waiting)      # after every step, and now and then while it waits
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry

from craft_stream import __version__
from craft_stream.observe.families import Families
from craft_stream.observe.metrics import CRAWL

# Parsing the largest page takes seconds, a broker that is away is waited for up to two minutes.
STALL_SECONDS: Final = 180.0

# Counts of the store; all others are pages by outcome.
_COUNTERS: Final = {
    "responses": "craft_crawl_responses_total",
    "bytes": "craft_crawl_read_bytes_total",
    "pairs": "craft_crawl_pairs_total",
}
_BEAT: Final = "craft_last_beat_timestamp_seconds"
_PUBLISHED: Final = "craft_crawl_last_publish_timestamp_seconds"


class CrawlRecorder:
    """Keeps what a crawl counts; the crawl calls `step`, HTTP threads read.

    Counts go on from where the store was when this process began, so that they are the process's own, as counters are.
    """

    def __init__(self, before: Mapping[str, int], clock: Callable[[], float] = time.time) -> None:
        """`before`: the store's counts at the start; `clock` gives seconds since the epoch."""
        self._families = Families(CRAWL)
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = Counter(before)
        self._waiting = 0
        self._beat = clock()
        for name in (_BEAT, _PUBLISHED):
            self._families.record(name, self._beat)

    def step(self, counts: Mapping[str, int], waiting: int) -> None:
        """The store's counts, whole, and how many pages wait."""
        now = self._clock()
        with self._lock:
            more = {name: count - self._counts[name] for name, count in counts.items()}
            self._counts.update(more)
            self._waiting, self._beat = waiting, now
        for name, count in more.items():
            if name in _COUNTERS:
                self._families.record(_COUNTERS[name], count)
            else:
                self._families.record("craft_crawl_pages_total", count, name)
        if more.get("pairs"):
            self._families.record(_PUBLISHED, now)
        self._families.record("craft_crawl_waiting_pages", waiting)
        self._families.record(_BEAT, now)

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""
        return self._families.registry

    def refresh(self) -> None:
        """Nothing is derived."""

    def alive(self) -> str | None:
        """None while steps come, else for how long none has."""
        waited = self._clock() - self._beat
        return None if waited <= STALL_SECONDS else f"the crawl has taken no step for {waited:.0f} s"

    def ready(self) -> str | None:
        """As `alive`: a crawl serves nobody."""
        return self.alive()

    def state(self) -> dict[str, Any]:
        """Counts and pages that wait."""
        with self._lock:
            return {"version": __version__, "counts": dict(self._counts), "waiting": self._waiting}
