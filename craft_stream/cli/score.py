"""`craft-stream score`: every pair of files with its scores beside it, whatever becomes of the others."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer

from connectors.files import open_sink
from connectors.files.fields import split_query
from connectors.files.open import is_standard_output
from connectors.files.places import is_pipe
from craft_stream.cli.engine import load_engine, load_model
from craft_stream.cli.faults import Faults
from craft_stream.cli.files import named_paths, protect_inputs, read_runs
from craft_stream.cli.interpreter import keep_memory, lighten
from craft_stream.cli.lists import matching
from craft_stream.cli.options import Config, Jobs, Json, OutputFormat, Overrides, load_settings
from craft_stream.cli.outputs import leaving, remarks
from craft_stream.cli.progress import Progress
from craft_stream.cli.tell import tell
from craft_stream.ranking.ranking import Options, Ranking
from craft_stream.reading.chunk import Chunk
from craft_stream.writing.scores import scored_records

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: craft-stream score crawl.jsonl --model model.bin --output scored.jsonl")
def score(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE", help="Pairs; `-` is standard input.")],
    model: Annotated[Path, typer.Option(metavar="FILE", help="The model that `select --save-model` kept.")],
    output: Annotated[
        str,
        typer.Option(metavar="FILE", help="The same records, with score, domain, quality, cluster, reason."),
    ],
    input_format: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Format of FILE where its name does not tell: tsv, tmx, ..."),
    ] = None,
    output_format: OutputFormat = None,
    jobs: Jobs = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Score every pair of files, so that rows can be compared, sorted and taken from (`craft-stream take`).

    The score is what `select --model` compares: nearness to the domain, what page and site tell, and weighted quality. `reason`
    says what is wrong with a pair whatever its score, or `accepted` where nothing is; duplicates are found when pairs are
    taken. A pipe is scored without page and site, which need a second reading. Records that hold no
    pair are left out and counted.
    """
    settings = load_settings(config, overrides)
    stream = named_paths("FILE", inputs, None, None, input_format)
    (written,) = named_paths("--output", [output], None, None, output_format)
    protect_inputs([written], [*stream, str(model)], settings, config)
    keep_memory()
    version = load_model(model, settings.parameters().learning)
    parameters, encoder = load_engine(settings)
    if pipe := next(filter(is_pipe, stream), None):
        selection = replace(parameters.selection, page_weight=0.0, host_weight=0.0)
        if selection != parameters.selection:
            tell(f"{pipe} can be read once only: pages and hosts are left out of the scores")
        parameters = replace(parameters, selection=selection)
    options = Options(
        matching(settings),
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    ranking: Ranking[Chunk] = Ranking(parameters, encoder, version, options)
    faults, read, pairs = Faults(), 0, 0
    added = settings.record.score_fields
    lighten()
    with Progress() as progress, ExitStack() as opened:
        sink = open_sink(written)
        opened.push(leaving(sink))
        for chunk, decisions in ranking.score(lambda: read_runs(stream, settings.record), progress.stage):
            sink.write(scored_records(chunk, decisions, np.arange(len(decisions)), added))
            faults.add(chunk)
            read, pairs = read + len(chunk.messages), pairs + len(decisions)
    for line in faults.lines():
        tell(line)
    for line in remarks(written, sink):
        tell(line)
    to_stderr = is_standard_output(split_query(written)[0])
    counts = {"read": read, "scored": pairs, "undecidable": read - pairs, "model_digest": version.digest}
    told = orjson.dumps(counts).decode() if as_json else f"{pairs:,} of {read:,} records scored"
    typer.echo(told, err=to_stderr)
