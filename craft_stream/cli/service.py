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
from craft_stream.cli.stopping import stop_event
from craft_stream.errors import CraftError, UnavailableError
from craft_stream.observe.http import Server
from craft_stream.observe.recorder import Recorder
from craft_stream.settings import Settings
from craft_stream.worker.retry import retry

Verbose = Annotated[bool, typer.Option("--verbose", help="Log what the Kafka client does, too.")]


def begin(verbose: bool) -> threading.Event:
    """Log to stderr, one line an event; the event that is given is set by SIGTERM and SIGINT."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kafka").setLevel(logging.INFO if verbose else logging.ERROR)
    return stop_event()


def serve(settings: Settings, work: Callable[[Recorder], None], stop: threading.Event) -> None:
    """Check the client and the topics, serve metrics and health while `work` runs, and end the process with its exit code.

    A process that is told to end (`stop`) while it waits for brokers ends with 0: nobody need start it again.
    """
    check_client()
    try:
        retry(lambda: _check(settings), settings.kafka.unavailable_seconds, stop)
    except UnavailableError:
        if not stop.is_set():
            raise
        _leave(0)
    recorder = Recorder()
    server = Server(recorder, settings.observe.host, settings.observe.port)
    print(f"metrics and health on http://{settings.observe.host}:{server.port}", file=sys.stderr)
    code = 0
    try:
        work(recorder)
    except CraftError as error:
        print(f"craft-stream: {error}", file=sys.stderr)
        code = 0 if stop.is_set() and isinstance(error, UnavailableError) else error.exit_code
    finally:
        server.close()
    _leave(code)


def _check(settings: Settings) -> None:
    with kafka_admin.connect(settings.kafka) as admin:
        kafka_admin.check(admin, settings.kafka, settings.record)


def _leave(code: int) -> None:
    """End the process; at once where a thread is left, as a learner that embeds.

    A client library's would keep the process, and one inside torch aborts it on the interpreter's way out (exit code -6).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code or threading.active_count() > 1:
        os._exit(code)
    raise typer.Exit(code)
