"""`craft-stream replay`: a log decided again under other parameters or another model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from connectors.files.open import OutputFile
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.audit import From, To, parse_offsets
from craft_stream.cli.engine import load_model, load_selector
from craft_stream.cli.files import protect_inputs
from craft_stream.cli.lists import read_lists
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.presence import require
from craft_stream.recomputation import Recomputation, changed, look
from craft_stream.selection.decisions import Reason
from craft_stream.settings.versioned import differences, with_named
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from craft_stream.writing.decisions import decision_lines

app = typer.Typer(add_completion=False)


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
    from_: From = None,
    to: To = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print what would change, by reason.")] = True,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the other decisions, one JSON object a line.")
    ] = None,
) -> None:
    """Decide the log again with `--set`, `--model` or `--version` and say what would have been different.

    Recomputed beside the decisions as they were made: with the settings that were in force, but for those that `--set`
    names. It says what `craft-stream settings apply` with the same `--set` would change. Nothing is written to any topic.
    """
    before, after = load_settings(config, None), load_settings(config, overrides)
    for settings in (before, after):
        protect_inputs([str(output) if output else None], [str(model) if model else None], settings, config)
    lists = read_lists(before), read_lists(after)
    change = partial(
        with_named, named=[text.partition("=")[0].strip() for text in overrides or []], settings=after
    )
    transport = KafkaTransport(before.kafka)
    readers = [transport.reader() for _ in range(3)]
    moves: Counter[tuple[int, int]] = Counter()
    total = accepted_before = accepted_after = 0
    with ExitStack() as opened:
        for reader in readers:
            opened.enter_context(closing(reader))
        file = opened.enter_context(OutputFile(str(output))) if output else None
        kafka = before.kafka
        require(readers[2], kafka.input_topic, kafka.ledger_topic, kafka.model_topic)
        store = ModelStore(readers[2], before.kafka.model_topic, Signatures.of(before))
        store.refresh()
        other = (
            load_model(model, after.parameters().learning)
            if model
            else store.load(version)
            if version
            else None
        )
        for partition in readers[2].partitions(before.kafka.input_topic):
            stretch = look(readers[2], before, partition)
            start = parse_offsets(from_, partition, 0)
            stop = min(parse_offsets(to, partition, stretch.committed), stretch.committed)
            runs = (
                Recomputation(
                    readers[0], before, load_selector(before, store), store, stretch, None, lists[0]
                ),
                Recomputation(
                    readers[1], after, load_selector(after, store), store, stretch, other, lists[1], change
                ),
            )
            begun = runs[0].begin(start)
            if begun is None:
                continue
            runs[1].begin(start)
            for line in differences(runs[0].ledger.parameters, change(runs[0].ledger.parameters)):
                print(line)
            told = f", compared from {start}" if start > begun else ""
            print(
                f"{before.kafka.input_topic}/{partition}: decided again from offset {begun} to {stop}{told}"
            )
            # The same log in the same chunks, so the two go side by side.
            both = zip(runs[0].run(stop), runs[1].run(stop), strict=True)
            for (_, old), (chunk, new) in both:
                rows = np.flatnonzero(new.positions >= start)
                old, within = old.take(rows), new.take(rows)
                moves.update(changed(old, within))
                total += len(within)
                accepted_before += int(old.accepted.sum())
                accepted_after += int(within.accepted.sum())
                if file is not None:
                    lines = decision_lines(chunk, new, rows)
                    file.write(b"\n".join([*lines, b""]))
    if diff:
        for line in _table(moves):
            print(line)
    print(f"{total} decisions, {sum(moves.values())} differ; accepted {accepted_before} -> {accepted_after}")


def _table(moves: Counter[tuple[int, int]]) -> Iterator[str]:
    for (old, new), count in moves.most_common():
        yield f"{count:10,d}  {Reason(old).label} -> {Reason(new).label}"
