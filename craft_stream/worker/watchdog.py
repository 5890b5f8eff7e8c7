"""When a worker must end so that a successor can do better."""

from __future__ import annotations

import logging
import time

from craft_stream.errors import UnavailableError
from craft_stream.ports.transport import Group
from craft_stream.settings import KafkaSettings
from craft_stream.worker.committer import Committer
from craft_stream.worker.trouble import Trouble

TELL_SECONDS = 3.0  # a connection that ends is made anew within
HANG_SECONDS = 60.0  # beyond a transaction's time-out nothing can come of it any more

log = logging.getLogger(__name__)


class Watchdog:
    """Looks for brokers that are gone and transactions that hang."""

    def __init__(self, kafka: KafkaSettings, group: Group, committer: Committer) -> None:
        self._kafka, self._group, self._committer = kafka, group, committer
        self._reached = time.monotonic()
        self._trouble = Trouble(log, "brokers")

    def check(self) -> None:
        """Look.

        Raises:
            UnavailableError: no broker for too long, or a transaction hangs.
        """
        now, kafka = time.monotonic(), self._kafka
        if self._group.reachable():
            self._reached = now
            self._trouble.over()
        elif now - self._reached > TELL_SECONDS:
            self._trouble.tell(
                UnavailableError(f"none of {kafka.bootstrap_servers} is reachable; trying again")
            )
        if now - self._reached > kafka.unavailable_seconds:
            raise UnavailableError(
                f"no broker of {kafka.bootstrap_servers} has been reachable for {kafka.unavailable_seconds:.0f} s"
            )
        since = self._committer.transaction_since
        if since is not None and now - since > kafka.transaction_timeout_ms / 1000 + HANG_SECONDS:
            raise UnavailableError(
                f"a transaction has been hanging for {now - since:.0f} s: the process must end, and its successor "
                "will restore"
            )
