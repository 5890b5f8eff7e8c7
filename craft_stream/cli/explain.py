"""`craft-stream explain`: every part of a pair's score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.stream import load_model
from craft_stream.encoders import load_encoder
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector

app = typer.Typer()


@app.command()
def explain(
    source: Annotated[str, typer.Argument(help="The source sentence.")],
    target: Annotated[str, typer.Argument(help="Its translation.")],
    model: Annotated[Path, typer.Option(metavar="FILE", help="A version kept by `select --save-model`.")],
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say why a pair would be accepted or rejected at the start of a stream, part by part.

    Later in a stream gate and threshold follow what has come and what was accepted; the decisions that `select` and
    `run` write hold those that each pair met.
    """
    settings = load_settings(config, overrides)
    parameters, version = settings.parameters(), load_model(model)
    selector = Selector(parameters, load_encoder(settings.encoder.kind, **settings.encoder.options))
    ledger = Ledger(selector.parameters)
    ledger.begin_epoch(0, version)
    parts = selector.explain(source, target, version, ledger)
    if as_json:
        print(orjson.dumps(parts).decode())
    else:
        _print(parts, Console(highlight=False))


def _print(parts: dict[str, Any], console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, meaning in (
        ("domain", "nearness to the target, in deviations of the stream"),
        ("quota", "help for the cluster, where it is behind the target's share"),
        ("gate", "domain and quota together must reach it"),
        ("quality", "log P(the sides are translations)"),
        ("score", "domain, quota and weighted quality"),
        ("threshold", "the score must reach it"),
    ):
        table.add_row(name, f"{parts[name]:.3f}", meaning)
    table.add_row("cluster", str(parts["cluster"]), "of the target, the nearest")
    if "fault" in parts:
        table.add_row("fault", str(parts["fault"]), "what makes it no good translation")
    for name, value in parts["features"].items():
        table.add_row(f"  {name}", f"{value:.3f}", "")
    console.print(table)
