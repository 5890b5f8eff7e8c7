"""`craft-stream take`: the best of files that were scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer

from connectors.files.fields import split_query
from connectors.files.open import is_standard_output
from connectors.files.places import is_pipe
from craft_stream.cli.engine import load_model
from craft_stream.cli.files import named_paths, protect_inputs, read_runs
from craft_stream.cli.kernels import announce_compiling
from craft_stream.cli.options import (
    Config,
    InputFormat,
    Json,
    OutputFormat,
    Overrides,
    Rejected,
    load_settings,
)
from craft_stream.cli.outputs import Outputs
from craft_stream.cli.summary import Summary
from craft_stream.cli.tell import tell
from craft_stream.cli.written import number, reason_of
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ranking.taking import Scores, Taking
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Reason

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: craft-stream take scored.jsonl --top 50000 --output best.jsonl\n\n"
    "Example: craft-stream take scored.jsonl --threshold 1.5 --model model.bin --output best.jsonl"
)
def take(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE", help="What `score` or `select --scores` wrote.")
    ],
    output: Annotated[str, typer.Option(metavar="FILE", help="What was taken, unchanged and in order.")],
    top: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Take this many pairs, the best.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Take all pairs that have this score or more.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="FIELD", help="Field that holds the score.")] = "score",
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep topics near the target's shares, as `select` does."),
    ] = None,
    rejected: Rejected = None,
    input_format: InputFormat = None,
    output_format: OutputFormat = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Take the best of scored files: by number, by a threshold, or by both.

    No pair is taken twice, and none whose `reason` says that something is wrong with it; files without that field are taken
    from by their scores alone. With --model the result is what `select --model` accepts of the same stream, but for pairs
    that are too far from the domain for it to ask for their quality (`selection.gate`).
    """
    if top is None and threshold is None:
        raise ConfigurationError("give --top N, or --threshold SCORE, or both")
    settings = load_settings(config, overrides)
    stream = named_paths("FILE", inputs, None, None, input_format)
    (written,) = named_paths("--output", [output], None, None, output_format)
    protect_inputs([written, rejected], [*stream, str(model) if model else None], settings, config)
    if pipe := next(filter(is_pipe, stream), None):
        raise ConfigurationError(
            f"{pipe} can be read once only, and the best are known at its end: give a file"
        )
    announce_compiling()
    shares = load_model(model).shares if model else np.ones(1)
    fields = ScoreFields(by, len(shares))
    taking: Taking[Chunk] = Taking(settings.parameters().selection, shares, fields.read)
    outputs, counts = Outputs(written, rejected), Summary()
    lowest = -np.inf if threshold is None else threshold
    with outputs:
        for chunk, decisions in taking.take(lambda: read_runs(stream, settings.record), top, lowest):
            outputs.write(chunk, decisions)
            counts.add(chunk, decisions)
        if counts.read and not fields.scored:
            raise DataError(
                f'no record of {", ".join(stream)} has a number "{by}": give what `craft-stream score` wrote, or --by FIELD'
            )
    for line in [*counts.faults.lines(), *outputs.remarks()]:
        tell(line)
    values = counts.values() | {
        "threshold": taking.threshold if np.isfinite(taking.threshold) else None,
        "missing": taking.missing,
    }
    to_stderr = any(map(is_standard_output, (split_query(written)[0], rejected)))
    if as_json:
        typer.echo(orjson.dumps(values).decode(), err=to_stderr)
        return
    typer.echo(
        f"{counts.accepted:,} of {counts.read:,} records taken"
        + (f", down to a score of {taking.threshold:.4g}" if counts.accepted else ""),
        err=to_stderr,
    )
    if taking.missing:
        tell(f"{taking.missing:,} pairs fewer than asked for can be taken")


class ScoreFields:
    """Fields of records that say what was found of their pairs.

    Args:
        by: name of the one that holds the score.
        clusters: of the Model whose clusters the records name; 1: of none.

    Attributes:
        scored: pairs that had a score.
    """

    def __init__(self, by: str, clusters: int) -> None:
        self._by, self._clusters = by, clusters
        self.scored = 0

    def read(self, chunk: Chunk) -> Scores:
        """What a chunk's records say; a pair without a score has minus infinity.

        Raises:
            DataError: a reason is none of `Reason`, or a cluster none of the Model's.
        """
        records = [orjson.loads(chunk.message(pair).value or b"{}") for pair in range(len(chunk.pairs))]
        score, domain, quality, cluster = (
            np.array([number(record.get(name)) for record in records], np.float32)
            for name in (self._by, "domain", "quality", "cluster")
        )
        self.scored += int(np.isfinite(score).sum())
        if self._clusters > 1 and not ((cluster >= 0) & (cluster < self._clusters)).all():
            raise DataError(
                f'{chunk.message(0).topic}: a record has no "cluster" of the --model: give the one that scored it, or none'
            )
        return Scores(
            np.array([_able(reason_of(record)) for record in records], np.uint8),
            np.nan_to_num(score, nan=-np.inf),
            domain,
            quality,
            np.nan_to_num(cluster, nan=-1).astype(np.int16),
        )


def _able(reason: Reason) -> Reason:
    """What speaks against a pair: what is over one budget may be within another."""
    return Reason.ACCEPTED if reason is Reason.OVER_BUDGET else reason
