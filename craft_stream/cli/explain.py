"""`craft-stream explain`: every part of a pair's score, and the target pairs that it is nearest to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from craft_stream.cli.engine import load_engine, load_model
from craft_stream.cli.lists import read_lists
from craft_stream.cli.nearest import nearest, pairs_of_files, pairs_of_topic
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.select import ManyValues
from craft_stream.errors import ConfigurationError
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

app = typer.Typer(add_completion=False)

_NO_TARGET = (
    "give --target FILE, or --target-topic, to see the nearest target pairs: the model does not keep them"
)

# Of features, what their names do not say.
_MEANINGS = {
    "human_judgement": "log-odds that people would call it a translation",
    "linked": "share of the words of both sides that have a partner on the other",
    "linked_least": "the same of the longer side",
    "crossing": "how far apart partners stand, as a share of their sides",
    "digit_mismatch": "share of the digits that the other side does not have",
}


@app.command(
    cls=ManyValues,
    epilog="Example: craft-stream explain 'Close it.' 'Fermez-le.' --model model.bin --target domain.jsonl",
)
def explain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source sentence.")],
    target_side: Annotated[str, typer.Argument(metavar="TARGET", help="Its translation.")],
    model: Annotated[Path, typer.Option(metavar="FILE", help="A version kept by `select --save-model`.")],
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="The pairs that describe the domain, to show the nearest."),
    ] = None,
    target_topic: Annotated[
        bool, typer.Option("--target-topic", help="Take them from kafka.target_topic.")
    ] = False,
    nearest_pairs: Annotated[
        int, typer.Option("--nearest", min=1, max=100, help="How many target pairs to show.")
    ] = 3,
    signal: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A signal of the pair that the model weighs. Repeatable."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say why a pair would be accepted or rejected at the start of a stream, part by part.

    Later in a stream gate and threshold follow what has come and what was accepted; the decisions that `select` and
    `run` write hold those that each pair met.

    For example:

    craft-stream explain "Close the ticket" "Fermer le ticket" --model model.bin --target target.jsonl
    """
    if target and target_topic:
        raise ConfigurationError("give --target or --target-topic, not both")
    settings = load_settings(config, overrides)
    parameters, encoder = load_engine(settings)
    version = load_model(model, parameters.learning)
    selector = Selector(parameters, encoder)
    lists, pair = read_lists(settings), TokenizedPairs.of(PairBatch.pack([source], [target_side]))
    blocked = lists is not None and bool(lists.matches(pair, lambda: [("", ())])[0])
    parts = selector.explain(
        source,
        target_side,
        Ledger(parameters),
        version,
        blocked=blocked,
        signals=_signals(signal or [], version),
    )
    parts["nearest"] = None
    if target or target_topic:
        held = pairs_of_topic(settings) if target_topic else pairs_of_files(target or [], settings.record)
        found = nearest(source, target_side, held, version, encoder, nearest_pairs)
        parts["nearest"] = [near._asdict() for near in found]
    if as_json:
        print(orjson.dumps(parts).decode())
    else:
        _print(parts, Console(highlight=False))


def _signals(texts: Sequence[str], model: Model) -> dict[str, float]:
    """What `--signal` says."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or name not in model.signals.names:
            known = ", ".join(model.signals.names) or "none"
            raise ConfigurationError(
                f"--signal {text} is no NAME=VALUE of a signal that the model weighs ({known})"
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigurationError(f"--signal {text}: {value} is no number") from None
    return found


def _print(parts: dict[str, Any], console: Console) -> None:
    outcome = "accepted" if parts["reason"] == Reason.ACCEPTED.label else f"rejected: {parts['reason']}"
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("outcome", outcome, "at the start of a stream")
    for name, meaning in (
        ("domain", "nearness to the target, in deviations of the stream"),
        ("dual", "of the cluster: above 0 where it is behind the target's share, below where ahead"),
        ("gate", "domain and dual together must reach it"),
        ("quality", "log P(the sides are translations)"),
        ("distance", "of the target side from what the cluster's regression predicts, squared"),
        ("score", "domain, dual and weighted quality"),
        ("threshold", "the score must reach it"),
        ("margin", "what is left where it is least; below 0 the pair is rejected"),
    ):
        table.add_row(name, f"{parts[name]:.3f}", meaning)
    table.add_row("cluster", str(parts["cluster"]), "of the target, the nearest")
    if "fault" in parts:
        table.add_row("fault", str(parts["fault"]), "what makes it no good translation")
    for name, value in parts["features"].items():
        table.add_row(f"  {name}", f"{value:.3f}", _MEANINGS.get(name, ""))
    console.print(table)
    _print_nearest(parts["nearest"], console)


def _print_nearest(pairs: Sequence[dict[str, Any]] | None, console: Console) -> None:
    console.print()
    if pairs is None:
        console.print(_NO_TARGET)
        return
    table = Table("source side", "target side", "target pair", box=None, pad_edge=False)
    for near in pairs:
        similarities = f"{near['similarity']:.3f}", f"{near['target_similarity']:.3f}"
        table.add_row(*similarities, escape(near["id"]), end_section=False)
        for side in ("source", "target"):
            table.add_row("", "", escape(near[side]))
    console.print(
        "nearest target pairs, by the cosine of embeddings:" if len(pairs) else "the target is empty"
    )
    console.print(table)
