"""`craft-stream select`: files in, files out, no broker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from connectors.files.fields import split_query
from connectors.files.open import is_standard_output
from connectors.files.places import is_pipe
from craft_stream.cli.budget import capped, one_budget, paced
from craft_stream.cli.engine import load_engine, load_model
from craft_stream.cli.files import named_paths, protect_inputs, read_chunks, read_runs
from craft_stream.cli.first_look import LOOKED, FirstLook
from craft_stream.cli.interpreter import keep_memory, lighten
from craft_stream.cli.lists import list_digests, matching
from craft_stream.cli.many_values import ManyValues
from craft_stream.cli.options import (
    Config,
    Jobs,
    Json,
    OutputFormat,
    Overrides,
    Rejected,
    load_settings,
    refuse_without_effect,
    share,
)
from craft_stream.cli.outputs import Outputs
from craft_stream.cli.progress import Progress
from craft_stream.cli.reporting import ReportFile
from craft_stream.cli.resumption import resumable, stamps, state_of, subject
from craft_stream.cli.summary import Summary
from craft_stream.cli.target_files import TargetFiles
from craft_stream.cli.tell import tell
from craft_stream.concurrency import prefetch
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.journal import Journal
from craft_stream.learning.even_sample import EvenSample
from craft_stream.parameters import lists_digest
from craft_stream.ports.messages import size as message_bytes
from craft_stream.ranking.ranking import Options, Ranking
from craft_stream.reading.chunk import Chunk, Run
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import EPOCH
from craft_stream.session import SelectionSession
from craft_stream.settings import RecordSettings, Settings

# Records that are read, scored and judged together where files are read again: cuts do not matter there, and of 1,024 the calls
# of kernels take a fifth of the time.
_RUN_RECORDS = 4096
# Of the stream, read while chunks before it are decided: reading is twice as fast, so that little is enough.
_AHEAD_BYTES = 1 << 21


app = typer.Typer(add_completion=False)


@app.command(
    cls=ManyValues,
    epilog=(
        "Example: craft-stream select --input corpora/*.tmx --target domain.tmx --output best.tmx --budget-rate 0.02\n\n"
        "Example: craft-stream select --input crawl.tsv.gz --target domain.tsv --output best.tsv --budget-count 50000\n\n"
        "Example: craft-stream select --input crawl.jsonl.zst --target domain.jsonl --output best.jsonl --report report.html"
    ),
)
def select(
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="FILE...", help="The pairs to select from; `-` is standard input."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Accepted records, unchanged and in order.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="FILE...", help="Pairs that describe the domain.")
    ] = None,
    target_source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...", help="Texts of the domain in the language of the sources, instead of --target."
        ),
    ] = None,
    target_target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Texts of the domain in the language of the translations, instead of --target.",
        ),
    ] = None,
    input_source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...", help="The sources, a line each, with --input-target; instead of --input."
        ),
    ] = None,
    input_target: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="Their translations, a line each."),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Format of --input where its name does not tell: tsv, tmx, ..."),
    ] = None,
    output_source: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Accepted sources, a line each, with --output-target; instead of --output."
        ),
    ] = None,
    output_target: Annotated[
        str | None, typer.Option(metavar="FILE", help="Their translations, a line each.")
    ] = None,
    output_format: OutputFormat = None,
    rejected: Rejected = None,
    decisions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Every decision, one JSON object a line.")
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="Write both sides and their URLs into --decisions.")
    ] = False,
    scores: Annotated[
        bool,
        typer.Option("--scores", help="Add score, domain, quality, cluster and reason to accepted records."),
    ] = False,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="A page for a browser that shows what was selected.")
    ] = None,
    budget_rate: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            parser=share,
            help="Share of the input's pairs to accept, such as 0.02; 0.05 unless settings say otherwise.",
        ),
    ] = None,
    budget_count: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Number of pairs to accept, instead.")
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=1, help="Records in the stream, for --budget-count; else they are counted."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Decide by this model, learned before, instead of learning."),
    ] = None,
    save_model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keep the model that decided, for --model, `explain` and `score`."),
    ] = None,
    one_pass: Annotated[
        bool, typer.Option("--one-pass", help="Decide each pair as it comes, as on a topic and from a pipe.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where this very command was interrupted; what has ended is left as it is."
        ),
    ] = False,
    jobs: Jobs = None,
    config: Config = None,
    overrides: Overrides = None,
    seed: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Seed of every hash and random number.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take from files the pairs that are worth training on: near the target's domain, good translations, and new.

    --input is what to select from, --target is pairs that show the domain, --budget-rate or --budget-count says how many to
    take. Files are read more than once: a sample teaches, every pair is scored, the best are taken. A pipe is read once: each
    pair is decided as it comes.

    The ending of a file's name says its format, or --input-format does: JSON lines (where nothing says otherwise), TSV, CSV,
    TMX, Parquet, Moses, compressed or not.

    Exit codes: 0; 2 usage or configuration; 1 input that cannot be read, or too many records that hold no pair
    (errors.dead_letter_limit; the outputs are written all the same).
    """
    described = TargetFiles.named(target, target_source, target_target)
    if not described.paths and not model:
        raise ConfigurationError(
            "nothing says what to select: give --target FILE, texts of one side by --target-source FILE, or --model FILE"
        )
    settings = load_settings(
        config, overrides, budget__rate=budget_rate, budget__count=budget_count, learner__seed=seed
    )
    stream = named_paths("--input", inputs, input_source, input_target, input_format)
    pipe = next(filter(is_pipe, stream), None)
    settings = one_budget(settings, budget_rate, budget_count, overrides, pipe, length)
    refuse_without_effect(
        {
            "--texts": (texts, "--decisions FILE", decisions),
            "--length": (length, "--budget-count NUMBER", settings.budget.count),
            "--input-format": (input_format, "--input FILE", inputs),
            "--output-format": (output_format, "--output FILE", output),
        }
    )
    one, source, side = ([name] if name else None for name in (output, output_source, output_target))
    accepted, *more = named_paths("--output", one, source, side, output_format)
    if more:
        raise ConfigurationError("give --output, or --output-source and --output-target, not both")
    read = [*stream, *described.paths, str(model) if model else None]
    state = state_of(accepted, rereads=not (pipe or any(map(is_pipe, described.paths))))
    written = [accepted, rejected, decisions, save_model, report]
    protect_inputs([*written, state], read, settings, config)
    if budget_rate is None:
        settings = paced(settings, stream, pipe, length)
    look = FirstLook(settings, stream, described.paths)
    keep_memory()
    pinned = load_model(model, settings.parameters().learning) if model else None
    about = subject(
        settings,
        stream,
        described.paths,
        side=described.side,
        model=pinned.digest if pinned else None,
        lists=lists_digest(list_digests(settings)),
        one_pass=one_pass,
        runs=f"{_RUN_RECORDS} records",
    )
    with resumable(state, about, resume, written) as journal:
        engine: SelectionSession[Chunk] | Ranking[Chunk]
        if one_pass or pipe:
            if pipe and model is None:
                tell(f"{pipe} can be read once only: its head teaches, all is decided as it comes")
            engine = SelectionSession.threaded(*load_engine(settings), pinned, matching(settings), journal)
        else:
            engine = _open_ranking(settings, pinned, jobs or len(os.sched_getaffinity(0)), journal)
        if model is not None and described.paths:
            tell(
                "the target is not read, as --model has learned one: leave out --model to learn from this one"
            )
        if model is None:
            described.read(engine, settings.record, look)
        added = settings.record.score_fields if scores else ()
        page = ReportFile(report, stream, settings) if report else None
        outputs = Outputs(accepted, rejected, decisions, save_model, added, texts=texts, report=page)
        lighten()
        summary = _decide(engine, stream, settings, outputs, look)
    for line in summary.faults.lines():
        tell(line)
    for line in outputs.remarks():
        tell(line)
    summary.print(
        as_json, to_stderr=any(map(is_standard_output, (split_query(accepted)[0], rejected, decisions)))
    )
    summary.check(settings.errors.dead_letter_limit)


def _open_ranking(settings: Settings, model: Model | None, jobs: int, journal: Journal) -> Ranking[Chunk]:
    """What decides by settings what is read again; `model` pins a version."""
    rate, count = settings.budget.rate, settings.budget.count

    def budget(pairs: int) -> int:
        return round(rate * pairs) if count is None else count

    options = Options(matching(settings), budget, jobs, journal)
    return Ranking(*load_engine(settings), model, options)


def _decide(
    engine: SelectionSession[Chunk] | Ranking[Chunk],
    inputs: Sequence[str],
    settings: Settings,
    outputs: Outputs,
    look: FirstLook,
) -> Summary:
    """Decide all records of files and write the outputs.

    Args:
        engine: with its target, or a pinned version.
        inputs: paths, read one after the other as one stream.
        settings: `record`, and `budget.count`, above which nothing is accepted.
        outputs: are finished.
        look: sees what comes first.
    """
    summary = Summary(settings.budget.count)
    with outputs, Progress() as progress:
        began = time.perf_counter()
        for chunk, decisions in _decided(engine, inputs, settings.record, look, progress):
            decisions = capped(decisions, settings.budget.count, summary.accepted)
            outputs.write(chunk, decisions)
            summary.add(chunk, decisions)
            progress.show(summary.read, summary.accepted)
        outputs.save(engine.model)
        summary.finish(engine, time.perf_counter() - began)
        outputs.report(summary.facts(), engine.model)
    return summary


def _decided(
    engine: SelectionSession[Chunk] | Ranking[Chunk],
    inputs: Sequence[str],
    fields: RecordSettings,
    look: FirstLook,
    progress: Progress,
) -> Iterator[tuple[Chunk, Decisions]]:
    """The records of files with their decisions, in order."""
    if isinstance(engine, SelectionSession):
        if engine.primes and not any(map(is_pipe, inputs)):
            _prime(engine, inputs, fields, progress)
        chunks = look.over(read_chunks(inputs, fields))
        return engine.decide(prefetch(chunks, attrgetter("size"), _AHEAD_BYTES))
    for _ in look.over(islice(read_chunks(inputs, fields), LOOKED // EPOCH)):
        pass

    before = list(map(stamps, inputs))

    def runs() -> Iterator[Run]:
        yield from prefetch(read_runs(inputs, fields, _RUN_RECORDS), _bytes, _AHEAD_BYTES)
        for path, known in zip(inputs, before, strict=True):
            if stamps(path) != known:  # what was scored is not what is written
                raise DataError(
                    f"{path} was written to while it was read: select from a file that nobody writes to, or "
                    "--one-pass, which decides a stream as it comes"
                )

    return engine.decide(runs, progress.stage)


def _prime(
    session: SelectionSession[Chunk], inputs: Sequence[str], fields: RecordSettings, progress: Progress
) -> None:
    """Teach a session by pairs from all over the files: the head of a crawl is one site."""
    sample = EvenSample(session.ledger.parameters.learning.prime_pairs)
    end = 0
    for run in prefetch(read_runs(inputs, fields, _RUN_RECORDS), _bytes, _AHEAD_BYTES):
        sample.read(run)
        end = run.start + len(run)
        progress.stage("sampled", end, None)
    session.prime(sample.batch(), end)


def _bytes(run: Run) -> int:
    return message_bytes(run.messages)
