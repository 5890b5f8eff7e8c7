"""`craft-stream topics`: the topics, made and checked."""

from __future__ import annotations

from typing import Annotated

import typer

from connectors.kafka import admin as kafka_admin
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.tell import counted

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create and check the topics.")


@app.command(epilog="Example: craft-stream topics create --partitions 12 --replication-factor 3")
def create(
    config: Config = None,
    overrides: Overrides = None,
    partitions: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=10_000,
            help="Partitions of the input topic, if it is to be made, and of what belongs to it.",
        ),
    ] = 6,
    replication_factor: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", min=-1, max=16, help="Copies of each partition; -1: the brokers' default."
        ),
    ] = -1,
) -> None:
    """Make the topics that are missing, with the settings that they need, and add partitions where the input topic has more.

    What is there stays as it is.
    """
    settings = load_settings(config, overrides)
    with kafka_admin.connect(settings.kafka) as admin:
        present = admin.partitions()
        count = present.get(settings.kafka.input_topic, partitions)
        missing = [
            plan
            for plan in kafka_admin.plans(settings.kafka, settings.record, count)
            if plan.name not in present
        ]
        if missing:
            admin.create(missing, replication_factor)
        plans = kafka_admin.plans(settings.kafka, settings.record, count)
        small = {p.name: p.partitions for p in plans if present.get(p.name, p.partitions) < p.partitions}
        if small:
            admin.widen(small)
        for plan in plans:
            made = any(plan.name == other.name for other in missing)
            done = "created" if made else "widened" if plan.name in small else "exists "
            size = plan.partitions if made or plan.name in small else present[plan.name]
            print(f"{done}  {plan.name}  ({plan.role}, {counted(size, 'partitions')})")


@app.command(epilog="Example: craft-stream topics check --config craft.toml")
def check(config: Config = None, overrides: Overrides = None) -> None:
    """Say whether `craft-stream run` can work on the topics as they are; exit code 2 if not."""
    settings = load_settings(config, overrides)
    with kafka_admin.connect(settings.kafka) as admin:
        kafka_admin.check(admin, settings.kafka, settings.record)
    print("all topics are there and fit")
