"""`craft-stream learn`: the learner as a process of its own (`learner.mode = "separate"`)."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from dataclasses import replace

import typer

from connectors.kafka import admin as kafka_admin
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.run import Verbose, leave, logs
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, CraftError, UnavailableError
from craft_stream.observe.http import Server
from craft_stream.observe.recorder import Recorder
from craft_stream.runtime.learning import LearnerService
from craft_stream.runtime.stream_log import StreamFollower
from craft_stream.settings import Settings

app = typer.Typer()

log = logging.getLogger(__name__)


@app.command()
def learn(config: Config = None, overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Learn from target, crawl and accepted topics and publish versions until told to stop (SIGTERM)."""
    logs(verbose)
    settings = load_settings(config, overrides)
    if settings.learner.mode != "separate":
        raise ConfigurationError(
            f'learner.mode is "{settings.learner.mode}": set it to "separate" for the workers and for this process'
        )
    with kafka_admin.connect(settings.kafka) as admin:
        kafka_admin.check(admin, settings.kafka, settings.record)
    recorder = Recorder()
    server = Server(recorder, settings.observe.host, settings.observe.port)
    print(f"metrics and health on http://{settings.observe.host}:{server.port}", file=sys.stderr)
    code = 0
    try:
        _follow(settings, recorder)
    except CraftError as error:
        print(f"craft-stream: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        server.close()
    leave(code)


def _follow(settings: Settings, recorder: Recorder) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    transport = KafkaTransport(settings.kafka)
    encoder = load_encoder(settings.encoder.kind, **settings.encoder.options)
    recorder.started(
        settings.kafka.group_id,
        settings.kafka.input_topic,
        replace(settings.parameters(), encoder=encoder.digest).digest,
        settings.budget.rate,
    )
    recorder.joined(frozenset())
    service = LearnerService(settings, transport, encoder, recorder)
    service.start()
    reader = transport.reader()
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
