"""`craft-stream explain`: every part of a pair's score, and the target pairs that it is nearest to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from craft_stream import meanings
from craft_stream.cli.decided import Decided, find
from craft_stream.cli.engine import load_engine, load_model
from craft_stream.cli.lists import read_lists
from craft_stream.cli.many_values import ManyValues
from craft_stream.cli.nearest import nearest, pairs_of_files, pairs_of_topic
from craft_stream.cli.options import Config, Json, Overrides, load_settings, refuse_without_effect
from craft_stream.errors import ConfigurationError
from craft_stream.ports.messages import Message
from craft_stream.reading.records import Refusal, examine
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

app = typer.Typer(add_completion=False)

_NO_TARGET = (
    "give --target FILE, or --target-topic, to see the nearest target pairs: the model does not keep them"
)


@app.command(
    cls=ManyValues,
    epilog=(
        "Example: craft-stream explain 'Close the ticket' 'Fermer le ticket' --model model.bin --target domain.jsonl\n\n"
        "Example: craft-stream explain --offset crawl.pairs/3/1045 --config craft.toml"
    ),
)
def explain(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="The source sentence.")] = None,
    target_side: Annotated[str | None, typer.Argument(metavar="TARGET", help="Its translation.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The model of `select --save-model`, or with --id and --offset of `run --model`.",
        ),
    ] = None,
    identifier: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Explain what `run` decided on this record.")
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC/PARTITION/OFFSET", help="Explain what `run` decided on the record at this place."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="The pairs that describe the domain, to show the nearest."),
    ] = None,
    target_topic: Annotated[
        bool, typer.Option("--target-topic", help="Take the target from kafka.target_topic.")
    ] = False,
    nearest_pairs: Annotated[
        int,
        typer.Option("--nearest", metavar="NUMBER", min=1, max=100, help="How many target pairs to show."),
    ] = 3,
    every: Annotated[
        bool, typer.Option("--all", help="Show every feature that quality is computed from.")
    ] = False,
    signal: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A signal of the pair that the model weighs. Repeatable."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say why a pair is accepted or rejected: each part of its score, with what it means.

    With SOURCE, TARGET and --model the pair is judged as if it came first in a stream: nothing was accepted before it, so it
    repeats nothing. What it met in a selection stands in the file of `select --decisions`.

    With --id or --offset it is a record on Kafka: its decision is made again from the log as `run` made it (`run --model FILE`:
    with that --model), also where it was not written.
    """
    if target and target_topic:
        raise ConfigurationError("give --target or --target-topic, not both")
    settings = load_settings(config, overrides)
    if identifier is not None or offset is not None:
        if source is not None or (identifier is not None and offset is not None):
            raise ConfigurationError("give a pair, or --id, or --offset")
        refuse_without_effect(
            {
                "--target": (target, "SOURCE and TARGET", None),
                "--target-topic": (target_topic, "SOURCE and TARGET", None),
                "--signal": (signal, "SOURCE and TARGET", None),
            }
        )
        _explain_decided(
            find(settings, identifier, offset, load_model(model) if model else None), settings, every, as_json
        )
        return
    if source is None or target_side is None or model is None:
        raise ConfigurationError("give SOURCE, TARGET and --model, or --id, or --offset")
    if (refusal := _refusal(source, target_side, settings)) is not None:
        _print_refusal(refusal, as_json)
        return
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
        _print(parts, every, Console(highlight=False))


def _refusal(source: str, target_side: str, settings: Settings) -> Refusal | None:
    """Why a record with these sides holds no pair; None: it holds one."""
    fields = settings.record
    sides = {fields.source_field: source, fields.target_field: target_side}
    value = json.dumps(sides, ensure_ascii=False).encode("utf-8", "surrogateescape")
    found = examine(Message(value, 0), fields)
    return found if isinstance(found, Refusal) else None


def _print_refusal(refusal: Refusal, as_json: bool) -> None:
    reason = refusal.reason.value
    if as_json:
        print(orjson.dumps({"refused": reason, "why_refused": refusal.text}).decode())
    else:
        print(f"This is no pair: {reason}. {meanings.REFUSALS[reason]} ({refusal.text})")


def _explain_decided(found: Decided, settings: Settings, every: bool, as_json: bool) -> None:
    """A record that a group has decided on: with the ledger, the version and the settings that it met."""
    if as_json:
        print(orjson.dumps(found.described()).decode())
        return
    console = Console(highlight=False)
    if found.refusal is not None:
        reason = found.refusal.reason.value
        console.print(
            f"{escape(found.place)} holds no pair: {reason}. {meanings.REFUSALS[reason]} ({escape(found.refusal.text)})"
        )
        console.print(f"It is kept on {settings.kafka.dead_letter_topic}: `craft-stream dlq ls`.")
        return
    parts: dict[str, Any] = found.parts or {}
    pair_id = found.pair.id if found.pair else ""
    _print_outcome(f"{escape(found.place)} (id {escape(pair_id)}) was", parts, console)
    console.print(
        f"Version {parts['model_version']} of the model was in force, since offset {found.version_since}, with a budget of "
        f"{found.rate:g} (parameters {found.parameters})."
    )
    if found.written is None:
        share = settings.decisions.rejected_sample
        console.print(
            f"No decision is written, as {share:.0%} of the rejected are; it was made again from offset {found.begun} on."
        )
    elif found.disagrees:
        console.print(
            f"[bold]The decision that was written differs[/] in {', '.join(found.disagrees)}: it says "
            f"{found.written.get('reason')}, parameters {found.written.get('parameters')}. Were the settings others then? "
            "`craft-stream audit` compares all of them."
        )
    else:
        console.print(
            f"The decision that was written says the same; made again from offset {found.begun} on."
        )
    console.print()
    if found.pair is not None:
        console.print(f"  {escape(found.pair.source)}")
        console.print(f"  {escape(found.pair.target)}")
    console.print()
    _print_parts(parts, every, console)


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


def _print(parts: dict[str, Any], every: bool, console: Console) -> None:
    _print_outcome("At the start of a stream this pair is", parts, console)
    console.print()
    _print_parts(parts, every, console)
    _print_nearest(parts["nearest"], console)
    console.print()
    console.print(
        "In a selection a pair may also be refused because it repeats one that was accepted before it, and more or less may be "
        "needed by then. What this pair met stands in the file of `select --decisions`."
    )


def _print_outcome(beginning: str, parts: dict[str, Any], console: Console) -> None:
    reason = parts["reason"]
    outcome = "accepted" if reason == Reason.ACCEPTED.label else f"rejected as {reason}"
    console.print(f"{beginning} [bold]{outcome}[/]. {meanings.REASONS[reason]}")
    if "fault" in parts and parts["fault"] != reason:
        console.print(
            f"It is no good translation either: {parts['fault']}. {meanings.REASONS[parts['fault']]}"
        )


def _print_parts(parts: dict[str, Any], every: bool, console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for side in ("left", "right", "left"):
        table.add_column(justify=side)
    for name in meanings.EXPLAINED:
        title, meaning = meanings.PARTS[name]
        table.add_row(title, meanings.figure(parts[name]), meaning)
    title, meaning = meanings.PARTS["cluster"]
    table.add_row(title, str(parts["cluster"]), meaning)
    console.print(table)
    console.print()
    _print_features(parts, every, console)


def _print_features(parts: dict[str, Any], every: bool, console: Console) -> None:
    weights: dict[str, float] = parts["contributions"]
    names = meanings.telling(weights)
    names += [name for name in parts["features"] if name not in (names if every else weights)]
    if not names:
        return
    console.print(
        "What its quality comes from; the weight is in log-odds, 0 for what is usual in good pairs:"
    )
    table = Table("feature", "value", "weight", "", box=None, pad_edge=False)
    for name in names:
        weight = f"{weights[name]:+.2f}" if name in weights else ""
        meaning = meanings.FEATURES.get(name, "a signal of yours")
        table.add_row(name, f"{parts['features'][name]:.3f}", weight, meaning)
    console.print(table)
    if len(names) < len(parts["features"]):
        console.print(f"--all shows all {len(parts['features'])}.")


def _print_nearest(pairs: Sequence[dict[str, Any]] | None, console: Console) -> None:
    console.print()
    if pairs is None:
        console.print(_NO_TARGET)
        return
    table = Table("source alike", "target alike", "target pair", box=None, pad_edge=False)
    for near in pairs:
        similarities = f"{near['similarity']:.3f}", f"{near['target_similarity']:.3f}"
        table.add_row(*similarities, escape(near["id"]), end_section=False)
        for side in ("source", "target"):
            table.add_row("", "", escape(near[side]))
    console.print(
        "Nearest pairs of the target; 1 is alike, 0 unrelated (cosine of embeddings):"
        if len(pairs)
        else "the target is empty"
    )
    console.print(table)
