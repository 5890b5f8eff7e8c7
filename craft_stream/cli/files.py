"""Files as one log: chunks of records out of many paths; and which files a command reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from connectors.files import open_source, with_format
from connectors.files.moses import pair_of
from connectors.files.places import refuse_overwriting
from connectors.files.texts import open_texts
from craft_stream.cli.faults import Faults
from craft_stream.errors import ConfigurationError
from craft_stream.ports.messages import Message, joined, size
from craft_stream.reading.chunk import Chunk, Run
from craft_stream.reading.records import Refusal, examine_text
from craft_stream.selection.ledger import EPOCH
from craft_stream.settings import RecordSettings, Settings

# Bytes at which a run of more than an epoch ends; it has an epoch at least, and grows by one at a time.
_RUN_BYTES = 1 << 20


def read_chunks(paths: Iterable[str], fields: RecordSettings) -> Iterator[Chunk]:
    """The records of files, one after the other: an epoch in each chunk, whatever file its records come from."""
    return (run.read() for run in read_runs(paths, fields))


def read_runs(paths: Iterable[str], fields: RecordSettings, records: int = EPOCH) -> Iterator[Run]:
    """The same, not read yet; at most so many records in each, and no more than an epoch after the first MiB."""
    start = 0
    for messages in read_messages(paths, fields, records):
        yield Run(messages, start, fields)
        start += len(messages)


def read_messages(
    paths: Iterable[str], fields: RecordSettings, records: int = EPOCH
) -> Iterator[Sequence[Message]]:
    """The same as messages, not read yet."""
    run: list[Sequence[Message]] = []
    count = held = 0  # of the run: messages, and their bytes
    for path in paths:
        source = open_source(path, fields)
        try:
            while messages := source.read(min(EPOCH - count % EPOCH, records - count)):
                run.append(messages)
                count += len(messages)
                held += size(messages)
                # Documents are long, and many are in memory.
                if count == records or (count >= EPOCH and held >= _RUN_BYTES):
                    yield joined(run)
                    run = []
                    count = held = 0
        finally:
            source.close()
    if run:
        yield joined(run)


def read_texts(
    paths: Iterable[str], field: str, fields: RecordSettings, faults: Faults
) -> Iterator[list[tuple[str, str]]]:
    """Ids and texts of files of which one side is wanted, some at a time; what holds none is counted."""
    for path in paths:
        source = open_texts(path, field, fields)
        try:
            while messages := source.read(EPOCH):
                texts: list[tuple[str, str]] = []
                for message in messages:
                    found = examine_text(message, fields, field)
                    if isinstance(found, Refusal):
                        faults.count(message, found)
                    else:
                        texts.append(found)
                yield texts
        finally:
            source.close()


def named_paths(
    option: str,
    paths: Sequence[str] | None,
    sources: Sequence[str] | None,
    targets: Sequence[str] | None,
    format_: str | None,
) -> list[str]:
    """Paths that a command was given, each with its format, and its pairs of files.

    Args:
        option: `--input` or `--output`, for messages.
        paths: its values.
        sources, targets: those of `--input-source` and `--input-target`, in the same order.
        format_: that of `--input-format`; None: names tell it.

    Raises:
        ConfigurationError: nothing was given, or one file of a pair is missing.
    """
    if len(sources or ()) != len(targets or ()):
        raise ConfigurationError(f"{option}-source and {option}-target belong together: give as many of each")
    found = [with_format(path, format_) for path in paths or ()]
    found += [pair_of(*pair) for pair in zip(sources or (), targets or (), strict=True)]
    if not found:
        raise ConfigurationError(f"give {option} FILE, or {option}-source FILE and {option}-target FILE")
    return found


def protect_inputs(
    written: Iterable[str | None], read: Iterable[str | None], settings: Settings, config: Path | None
) -> None:
    """Refuse, before anything is read, outputs that are files which are read, lists and configuration among them.

    Raises:
        ConfigurationError: naming both files.
    """
    listed = (*settings.selection.decontaminate, *settings.selection.takedown)
    refuse_overwriting(written, [*read, *listed, str(config) if config else None])
