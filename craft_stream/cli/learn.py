"""`craft-stream learn`: the learner as a process of its own (`learner.mode = "separate"`)."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from typing import Annotated

import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import load_engine
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.service import LogLevel, begin, serve
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, UnavailableError
from craft_stream.observe.recorder import Recorder
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_owner
from craft_stream.topics.signatures import Signatures
from craft_stream.worker.learner_service import LearnerService
from craft_stream.worker.retry import retry
from craft_stream.worker.stream_follower import StreamFollower

app = typer.Typer(add_completion=False)

log = logging.getLogger(__name__)


@app.command(epilog="Example: craft-stream learn --config craft.toml --set learner.mode=separate")
def learn(
    config: Config = None,
    overrides: Overrides = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Publish onto topics that `run --rebuild` takes over from another group."
        ),
    ] = False,
    log_level: LogLevel = None,
) -> None:
    """Learn from target, crawl and accepted topics and publish versions until told to stop (SIGTERM)."""
    settings = load_settings(config, overrides, observe__log_level=log_level)
    stop = begin(settings)
    if settings.learner.mode != "separate":
        raise ConfigurationError(
            f'learner.mode is "{settings.learner.mode}": set it to "separate" for the workers and for this process'
        )
    serve(settings, "learn", lambda recorder: _follow(settings, recorder, rebuild, stop), stop)


def _check_owner(settings: Settings, transport: KafkaTransport) -> None:
    with closing(transport.reader()) as reader:
        store = ModelStore(reader, settings.kafka.model_topic, Signatures.of(settings))
        store.refresh()
        check_owner(reader, settings.kafka, store)


def _follow(settings: Settings, recorder: Recorder, rebuild: bool, stop: threading.Event) -> None:
    transport = KafkaTransport(settings.kafka)
    parameters, encoder = load_engine(settings)
    recorder.started(
        settings.kafka.group_id,
        settings.kafka.input_topic,
        parameters.digest,
        settings.budget.rate,
    )
    recorder.joined(frozenset())
    if not rebuild:
        retry(
            lambda: _check_owner(settings, transport),
            settings.kafka.unavailable_seconds,
            stop,
            recorder.beat,
        )
    service = LearnerService(settings, transport, encoder, recorder, load_encoder)
    service.start()
    reader = retry(transport.reader, settings.kafka.unavailable_seconds, stop, recorder.beat)
    follower = StreamFollower(reader, settings)
    reached = time.monotonic()
    try:
        while not stop.wait(0.2):
            recorder.beat()
            try:
                follower.turn(service)
                reached = time.monotonic()
            except UnavailableError as error:
                log.warning("%s", error)
                if time.monotonic() - reached > settings.kafka.unavailable_seconds:
                    raise
    finally:
        service.stop()
        reader.close()
        recorder.stopped()
