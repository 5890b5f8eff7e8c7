"""`craft-stream run`: the long-running consumer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import load_model
from craft_stream.cli.interpreter import lighten
from craft_stream.cli.lists import read_lists
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.questions import WorkerQuestions
from craft_stream.cli.service import LogLevel, begin, serve
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.events import Observer
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from craft_stream.worker.model_follower import FixedModel, ModelFollower
from craft_stream.worker.retry import retry
from craft_stream.worker.worker import Worker

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: craft-stream run --config craft.toml")
def run(
    config: Config = None,
    overrides: Overrides = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Decide with this version and learn nothing.", exists=True, dir_okay=False
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Go on although a ledger is lost or the log has a gap: begin a new one there."
        ),
    ] = False,
    log_level: LogLevel = None,
) -> None:
    """Select from the crawl topic into the training topic until told to stop (SIGTERM)."""
    mode = "off" if model is not None else None
    settings = load_settings(config, overrides, learner__mode=mode, observe__log_level=log_level)
    stop = begin(settings)
    if settings.budget.count is not None:
        raise ConfigurationError("budget.count needs a stream that ends; a topic does not: set budget.rate")
    questions = WorkerQuestions(config, overrides, model)
    serve(
        settings,
        "run",
        lambda recorder: work(settings, model, recorder, rebuild, stop, questions),
        stop,
        questions,
    )


def work(
    settings: Settings,
    path: Path | None,
    observer: Observer,
    rebuild: bool,
    stop: threading.Event,
    questions: WorkerQuestions,
) -> None:
    """Run a worker in this thread until `stop` is set; it answers questions meanwhile."""
    transport = KafkaTransport(settings.kafka)
    encoder = load_encoder(settings.encoder.kind, **settings.encoder.options)
    seconds = settings.kafka.unavailable_seconds
    reader = retry(transport.reader, seconds, stop, observer.beat)
    store = ModelStore(reader, settings.kafka.model_topic, Signatures.of(settings))
    models = ModelFollower(store, observer, learning=settings.parameters().learning)
    if path is not None:
        fixed = load_model(path, settings.parameters().learning)
        models = FixedModel(store, observer, fixed, path.stat().st_size)
    elif settings.learner.mode == "off":
        retry(store.refresh, seconds, stop, observer.beat)
        if not store.newest:
            raise ConfigurationError(
                'learner.mode is "off" and there is no model on '
                f"{settings.kafka.model_topic}: give one with --model, or run `craft-stream learn` once"
            )
    lists = read_lists(settings)
    worker = Worker(settings, transport, encoder, models, observer, stop, rebuild, lists, load_encoder)
    questions.worker = worker
    lighten()
    try:
        worker.run()
    finally:
        reader.close()
