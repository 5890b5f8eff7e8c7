"""`craft-stream publish`: pairs of files onto the crawl topic."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer

from connectors.files import open_source
from connectors.files.fields import split_query
from connectors.files.open import STANDARD
from connectors.kafka.publisher import MarkedPublisher
from craft_stream.cli.faults import Faults
from craft_stream.cli.options import Config, Overrides, load_settings
from craft_stream.cli.progress import Progress
from craft_stream.cli.tell import counted, tell
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.reading.records import Refusal, examine
from craft_stream.settings import RecordSettings, Settings

BATCH = 5_000  # records of one transaction

app = typer.Typer(add_completion=False)


@dataclass(slots=True)
class Count:
    """Pairs of all files: sent by this call, sent by an earlier one, and records that are no pairs."""

    sent: int = 0
    there: int = 0
    refused: int = 0


@app.command(epilog="Example: craft-stream publish crawl.jsonl.zst --config craft.toml")
def publish(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Files of pairs, of any format; `-` is standard input."),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What the file is known by on the topic, in place of its path; standard input needs one.",
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Another topic than kafka.input_topic.")
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Put the pairs of files on the crawl topic, each once: called again, it goes on where it stopped.

    Each batch is one transaction with a mark of how far the file is, so nothing is there twice however it ended; of a file
    that has grown only what is new is sent. Pairs are keyed by their source side: copies share a partition. Exit codes: 0;
    1 some records are no pairs (the others were sent); 2 usage or configuration; 75 brokers out of reach.
    """
    settings = load_settings(config, overrides)
    if name is not None and len(files) != 1:
        raise ConfigurationError("--name is for one file: call `craft-stream publish` once for each")
    if name is None and any(split_query(path)[0] == STANDARD for path in files):
        raise ConfigurationError("standard input has no name to know it by: give --name NAME")
    topic = topic or settings.kafka.input_topic
    count, faults = Count(), Faults()
    with Progress("connecting") as progress:
        for path in files:
            known = name or str(Path(split_query(path)[0]).resolve())
            with closing(MarkedPublisher(settings.kafka, topic, known, settings.record.source_field)) as into:
                _publish(path, into, settings, count, faults, progress)
    for line in faults.lines():
        tell(line)
    there = f", {count.there:,} were there already" if count.there else ""
    print(f"published {counted(count.sent, 'pairs')} ({topic}){there}")
    if count.refused:
        are, were = ("is no pair", "was") if count.refused == 1 else ("are no pairs", "were")
        raise DataError(f"{counted(count.refused, 'records')} {are} and {were} not published")


def _publish(
    path: str, into: MarkedPublisher, settings: Settings, count: Count, faults: Faults, progress: Progress
) -> None:
    """One file. The digest in its mark covers all records before, so that another file is not taken for this one."""
    mark = into.mark or {"records": 0}
    done, records, digest = int(mark["records"]), 0, blake2b(digest_size=16)
    source = open_source(path, settings.record)
    try:
        # Up to the mark exactly, then on in batches.
        while messages := source.read(min(BATCH, done - records) if records < done else BATCH):
            records += len(messages)
            pairs = _pairs(messages, settings.record, count, faults)
            for pair in pairs:
                digest.update(len(pair).to_bytes(8, "little") + pair)
            if records <= done:
                count.there += len(pairs)
                if records == done and digest.hexdigest() != mark["digest"]:
                    break
                continue
            if not pairs:  # a mark over these alone would refuse the file once its owner has mended them
                continue
            into.publish(pairs, {"records": records, "digest": digest.hexdigest()})
            count.sent += len(pairs)
            progress.stage(f"published from {path}", count.sent, None)
    finally:
        source.close()
    if records < done or (records == done and done and digest.hexdigest() != mark["digest"]):
        raise ConfigurationError(
            f"{path} is not the file that was published under this name ({done} records): "
            "give it another by --name"
        )


def _pairs(messages: Sequence[Message], fields: RecordSettings, count: Count, faults: Faults) -> list[bytes]:
    pairs = []
    for message in messages:
        found = examine(message, fields)
        if isinstance(found, Refusal):
            count.refused += 1
            faults.count(message, found)
        elif message.value is not None:
            pairs.append(message.value)
    return pairs
