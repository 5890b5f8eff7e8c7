"""What long-running commands have in common: logs, signals, metrics and health, exit codes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from connectors.kafka import admin as kafka_admin
from connectors.kafka.internals import check_client
from connectors.kafka.rights import NEEDS, Rights
from craft_stream.cli.config import toml
from craft_stream.cli.logs import begin_logging, last_troubles, tell_end
from craft_stream.cli.stopping import stop_event
from craft_stream.errors import AccessError, CraftError, UnavailableError
from craft_stream.observe.http import Server
from craft_stream.observe.page import Page, Questions
from craft_stream.observe.recorder import Recorder
from craft_stream.settings import Settings
from craft_stream.worker.retry import retry

log = logging.getLogger(__name__)

LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error: observe.log_level."),
]


def begin(settings: Settings) -> threading.Event:
    """Log as the settings say; the event that is given is set by SIGTERM and SIGINT."""
    begin_logging(settings)
    return stop_event()


def serve(
    settings: Settings,
    command: str,
    work: Callable[[Recorder], None],
    stop: threading.Event,
    questions: Questions | None = None,
) -> None:
    """Check client, rights and topics, serve health and page while `work` runs, and end the process with its exit code.

    A process that is told to end (`stop`) while it waits for brokers ends with 0: nobody need start it again.
    """
    troubles = last_troubles(settings)
    try:
        check_client()
        retry(lambda: _check(settings, command), settings.kafka.unavailable_seconds, stop)
    except CraftError as error:
        stopped = isinstance(error, UnavailableError) and stop.is_set()
        if not stopped:
            tell_end(settings, error)
        leave(0 if stopped else error.exit_code)
    recorder, observe = Recorder(), settings.observe
    page = Page(recorder, toml(settings), observe.page == "everyone", troubles, questions)
    server = Server(recorder, observe.host, observe.port, page)
    print(
        f"metrics and health, and a page for people, on http://{observe.host}:{server.port}", file=sys.stderr
    )
    code = 0
    try:
        work(recorder)
        log.info("stopped, as it was told to")
    except CraftError as error:
        tell_end(settings, error)
        code = 0 if stop.is_set() and isinstance(error, UnavailableError) else error.exit_code
    finally:
        server.close()
    leave(code)


def _check(settings: Settings, command: str) -> None:
    with kafka_admin.connect(settings.kafka) as admin:
        if missing := Rights(admin, settings.kafka).missing(command):
            raise AccessError(f"this user lacks {', '.join(missing)}")
        kafka_admin.check(admin, settings.kafka, settings.record, NEEDS[command])


def leave(code: int) -> None:
    """End the process at once.

    A client library's thread would keep it, and one inside torch aborts it on the interpreter's way out (exit code -6), which
    takes a second beside it that nothing needs (2.3 s at a load of 40).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
