"""`craft-stream replay`: a log decided again under other parameters or another model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace as with_values
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from connectors.files.open import OutputFile
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import give_model, load_model, load_selector
from craft_stream.cli.files import protect_inputs
from craft_stream.cli.lists import OlderLists, known_lists
from craft_stream.cli.options import Config, Overrides, RunModel, load_settings
from craft_stream.cli.presence import require
from craft_stream.cli.stretches import From, To, asked
from craft_stream.cli.tell import tell
from craft_stream.recomputation import Recomputation, Stretch, changed
from craft_stream.selection.decisions import Reason
from craft_stream.settings.versioned import LISTS, SECTIONS, differences, with_named
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from craft_stream.writing.decisions import decision_lines

app = typer.Typer(add_completion=False)

FEW = 400  # accepted pairs, of which chance moves the number by 5 %


@app.command(
    epilog="Example: craft-stream replay --config craft.toml --set budget.rate=0.02 --output other.jsonl"
)
def replay(
    config: Config = None,
    overrides: Overrides = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Decide with this version instead.", exists=True, dir_okay=False),
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Decide with this version of the topic.")
    ] = None,
    run_model: RunModel = None,
    from_: From = None,
    to: To = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print what would change, by reason.")] = True,
    older_lists: OlderLists = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the other decisions, one JSON object a line.")
    ] = None,
) -> None:
    """Decide the log again with `--set`, `--model` or `--version` and say what would have been different.

    Recomputed beside the decisions as they were made: with the settings that were in force, but for those that `--set`
    names. It says what `craft-stream settings apply` with the same `--set` would change, how much of the log that was compared
    on, and when that is too little. Nothing is written to any topic.
    """
    # What no version of the settings holds is not compared: how to reach the brokers, and the like.
    common = [text for text in overrides or [] if text.strip().partition(".")[0] not in (*SECTIONS, "record")]
    before, after = load_settings(config, common), load_settings(config, overrides)
    reads = [str(path) for path in (model, run_model) if path]
    for settings in (before, after):
        protect_inputs([str(output) if output else None], reads, settings, config)
    lists = known_lists(before, older_lists), known_lists(after, older_lists)
    named = [text.partition("=")[0].strip() for text in overrides or []]
    if not {*LISTS}.isdisjoint(named):
        lists = lists[0], with_values(lists[1], always=True)
    change = partial(with_named, named=named, settings=after)
    transport = KafkaTransport(before.kafka)
    readers = [transport.reader() for _ in range(3)]
    moves: Counter[tuple[int, int]] = Counter()
    total = accepted_before = accepted_after = held = compared = young = 0

    def found(stretch: Stretch) -> None:
        nonlocal held
        if stretch.first is not None:
            held += max(0, stretch.committed - max(stretch.first, stretch.retained))

    with ExitStack() as opened:
        for reader in readers:
            opened.enter_context(closing(reader))
        file = opened.enter_context(OutputFile(str(output))) if output else None
        kafka = before.kafka
        require(readers[2], kafka.input_topic, kafka.ledger_topic, kafka.model_topic)
        store = ModelStore(readers[2], before.kafka.model_topic, Signatures.of(before))
        store.refresh()
        if run_model is not None:
            give_model(store, load_model(run_model))
        settling = before.learner.prime_pairs // len(readers[2].partitions(kafka.input_topic))
        other = (
            load_model(model, after.parameters().learning)
            if model
            else store.load(version)
            if version
            else None
        )
        for part in asked(readers[2], before, from_, to, found):
            stretch, start, stop = part.stretch, part.start, part.stop
            runs = (
                Recomputation(
                    readers[0], before, load_selector(before, store), store, stretch, None, lists[0]
                ),
                Recomputation(
                    readers[1], after, load_selector(after, store), store, stretch, other, lists[1], change
                ),
            )
            begun, _ = (run.begin(start) for run in runs)
            assert begun is not None  # noqa: S101  # something is decided
            compared += max(0, stop - max(start, begun))
            for line in differences(runs[0].ledger.parameters, change(runs[0].ledger.parameters)):
                print(line)
            told = f", compared from {start}" if start > begun else ""
            print(
                f"{before.kafka.input_topic}/{stretch.partition}: decided again from offset {begun} to {stop}{told}"
            )
            # The same log in the same chunks, so the two go side by side.
            both = zip(runs[0].run(stop), runs[1].run(stop), strict=True)
            for (_, old), (chunk, new) in both:
                rows = np.flatnonzero(new.positions >= start)
                old, within = old.take(rows), new.take(rows)
                moves.update(changed(old, within))
                total += len(within)
                young += int((within.positions < (stretch.first or 0) + settling).sum())
                accepted_before += int(old.accepted.sum())
                accepted_after += int(within.accepted.sum())
                if file is not None:
                    lines = decision_lines(chunk, new, rows)
                    file.write(b"\n".join([*lines, b""]))
    if diff:
        for line in _table(moves):
            print(line)
    print(
        f"{total} decisions, {sum(moves.values())} differ; accepted {accepted_before} -> {accepted_after}; "
        f"compared {_share(compared, held, 'offsets')} of what is decided and still in the log"
    )
    for line in [*_not_replayed(named), *_too_little(total, young, min(accepted_before, accepted_after))]:
        tell(line)


def _share(part: int, whole: int, what: str = "records") -> str:
    return f"{part / max(whole, 1):.0%} ({part:,} of {whole:,} {what})"


def _not_replayed(named: Sequence[str]) -> Iterator[str]:
    """What of `--set` no replay can show."""
    if learned := [name for name in named if name.startswith(("learner.", "encoder."))]:
        yield (
            f"{', '.join(learned)}: not shown here, as it changes decisions through the versions of the model that are "
            "learned with it; `craft-stream select` on a file of the crawl shows it"
        )


def _too_little(compared: int, young: int, accepted: int) -> Iterator[str]:
    """Why what was compared says little of what would change from now on.

    Args:
        compared: decisions.
        young: of these, among the first of the group, which the learner is primed with.
        accepted: the smaller number of both.
    """
    if accepted < FEW:
        yield (
            f"too little to go by: {accepted} were accepted, a number that moves by {100 / math.sqrt(max(accepted, 1)):.0f} % "
            f"by chance alone; compare a stretch with {FEW} or more"
        )
    if young > compared / 2:
        yield (
            f"too young to go by: {_share(young, compared)} are among the first that the group decided, while its model knew "
            "little of the stream (learner.prime_pairs) and its budget had not settled; later ones (--from) tell more"
        )


def _table(moves: Counter[tuple[int, int]]) -> Iterator[str]:
    for (old, new), count in moves.most_common():
        yield f"{count:10,d}  {Reason(old).label} -> {Reason(new).label}"
