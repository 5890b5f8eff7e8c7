"""`craft-stream run`: the long-running consumer."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from connectors.kafka import admin as kafka_admin
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.lists import read_lists
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, CraftError
from craft_stream.model import Model
from craft_stream.observe.http import Server
from craft_stream.observe.recorder import Recorder
from craft_stream.runtime.model_log import ModelStore
from craft_stream.runtime.models import FixedModel, ModelFollower
from craft_stream.runtime.observer import Observer
from craft_stream.runtime.worker import Worker
from craft_stream.settings import Settings

app = typer.Typer()

Verbose = Annotated[bool, typer.Option("--verbose", help="Log what the Kafka client does, too.")]


def logs(verbose: bool) -> None:
    """Log to stderr, one line an event."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kafka").setLevel(logging.INFO if verbose else logging.ERROR)


def lighten() -> None:
    """Set the interpreter for many short-lived objects and threads that come back from kernels.

    The garbage collector looks through young objects at every 700th new one: with tens of thousands of records in flight
    that took a sixth of a consumer's time. A thread that wants the lock back waits 5 ms for it while another computes: a
    kernel of .3 ms would often wait longer than it works.
    """
    gc.set_threshold(50_000, 50, 100)
    sys.setswitchinterval(0.0005)


@app.command()
def run(
    config: Config = None,
    overrides: Overrides = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Decide with this version and learn nothing.", exists=True, dir_okay=False),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Go on although a ledger is lost or the log has a gap: begin a new one there."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Select from the crawl topic into the training topic until told to stop (SIGTERM)."""
    logs(verbose)
    lighten()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings(config, overrides, learner__mode="off" if model is not None else None)
    if settings.budget.count is not None:
        raise ConfigurationError("budget.count needs a stream that ends; a topic does not: set budget.rate")
    with kafka_admin.connect(settings.kafka) as admin:
        kafka_admin.check(admin, settings.kafka, settings.record)
    recorder = Recorder()
    server = Server(recorder, settings.observe.host, settings.observe.port)
    print(f"metrics and health on http://{settings.observe.host}:{server.port}", file=sys.stderr)
    code = 0
    try:
        work(settings, model, recorder, rebuild, stop)
    except CraftError as error:
        print(f"craft-stream: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        server.close()
    leave(code)


def work(
    settings: Settings, path: Path | None, observer: Observer, rebuild: bool, stop: threading.Event
) -> None:
    """Run a worker in this thread until `stop` is set."""
    transport = KafkaTransport(settings.kafka)
    encoder = load_encoder(settings.encoder.kind, **settings.encoder.options)
    reader = transport.reader()
    store = ModelStore(reader, settings.kafka.model_topic)
    models = ModelFollower(store, observer)
    if path is not None:
        data = path.read_bytes()
        models = FixedModel(store, observer, Model.decode(data), len(data))
    elif settings.learner.mode == "off":
        store.refresh()
        if not store.newest:
            raise ConfigurationError(
                'learner.mode is "off" and there is no model on '
                f"{settings.kafka.model_topic}: give one with --model, or run `craft-stream learn` once"
            )
    worker = Worker(settings, transport, encoder, models, observer, stop, rebuild, read_lists(settings))
    try:
        worker.run()
    finally:
        reader.close()


def leave(code: int) -> None:
    """End the process; at once where a client library holds a thread that would keep it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if (
        any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate())
        or code
    ):
        os._exit(code)
    raise typer.Exit(code)
