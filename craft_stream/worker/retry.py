"""A start that meets brokers out of reach tries again for as long as a worker at work would."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from craft_stream.errors import UnavailableError

AGAIN_SECONDS = 0.5  # a failed step has waited for its clients' own time-outs, or been refused at once

T = TypeVar("T")
log = logging.getLogger(__name__)


def retry(
    step: Callable[[], T], seconds: float, stop: threading.Event, beat: Callable[[], None] = lambda: None
) -> T:
    """What a step of a start gives, tried again while no broker answers as it should.

    Args:
        step: leaves nothing behind when it fails.
        seconds: after which its error is let through (`kafka.unavailable_seconds`).
        stop: when it is set the error is let through at once.
        beat: called between two tries.

    Raises:
        UnavailableError: the last one.
    """
    deadline, told = time.monotonic() + seconds, ""
    while True:
        try:
            return step()
        except UnavailableError as error:
            if time.monotonic() + AGAIN_SECONDS > deadline or stop.wait(AGAIN_SECONDS):
                raise
            if str(error) != told:  # once, not at each try
                told = str(error)
                log.warning("%s; trying again", error)
            beat()
