"""What can be watched of `craft-stream crawl`: the counts of its store as metrics, and its health.

watched = CrawlRecorder()
server = Server(watched, settings.observe.host, settings.observe.port)
watched.step(store.counts, store.waiting)      # after every step, and now and then while it waits
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry

from craft_stream import __version__
from craft_stream.observe.metrics import CrawlMetrics

# Parsing the largest page takes seconds, a broker that is away is waited for up to two minutes.
STALL_SECONDS: Final = 180.0


class CrawlRecorder:
    """Keeps what a crawl counts; the crawl calls `step`, HTTP threads read.

    Counts go on from where the store was when this process began, so that they are the process's own, as counters are.
    """

    def __init__(
        self,
        before: Mapping[str, int],
        metrics: CrawlMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`before`: the store's counts at the start; `clock` gives seconds since the epoch."""
        self.metrics = metrics if metrics is not None else CrawlMetrics()
        self.metrics.build.info({"version": __version__, "python": platform.python_version()})
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = Counter(before)
        self.metrics.last_publish.set(clock())
        self._waiting = 0
        self._beat = clock()
        self.metrics.last_beat.set(self._beat)

    def step(self, counts: Mapping[str, int], waiting: int) -> None:
        """The store's counts, whole, and how many pages wait: "responses", "bytes", "pairs", all else are pages by outcome."""
        with self._lock:
            for name, count in counts.items():
                more = count - self._counts[name]
                if more > 0:
                    self._family(name).inc(more)
                    if name == "pairs":
                        self.metrics.last_publish.set(self._clock())
                    self._counts[name] = count
            self._waiting, self._beat = waiting, self._clock()
        self.metrics.waiting.set(waiting)
        self.metrics.last_beat.set(self._beat)

    def _family(self, name: str) -> Any:
        if name in ("responses", "bytes", "pairs"):
            return getattr(self.metrics, name)
        return self.metrics.pages.labels(name)

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""
        return self.metrics.registry

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
