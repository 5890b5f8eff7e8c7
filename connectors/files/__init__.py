"""Files of pairs, in and out: the format is told by the name's ending, compression (.gz, .zst) apart.

What stands behind a question mark is for the format: `pairs.tsv?src=3&tgt=4`. `corpus.en-fr` is two Moses files.

A source is made by `CLASS(path, fields)`, a sink by `CLASS(path)`. Other packages add endings by
entry points of the groups `craft_stream.sources` and `craft_stream.sinks`, named as the ending without dot.
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import Any, cast

from craft_stream.errors import ConfigurationError
from craft_stream.ports.files import Sink, Source
from craft_stream.settings import RecordSettings

JSON_LINES = "jsonl"
_TWINS = re.compile(r"[a-z]{2,3}(_[a-z]+)?-[a-z]{2,3}(_[a-z]+)?")  # corpus.en-fr: two files, see `moses`
SOURCES = {
    "arrow": "connectors.files.parquet:ParquetSource",
    "json": "connectors.files.jsonl:JsonlSource",
    "jsonl": "connectors.files.jsonl:JsonlSource",
    "mo": "connectors.gettext:GettextSource",
    "moses": "connectors.files.moses:MosesSource",
    "ndjson": "connectors.files.jsonl:JsonlSource",
    "parquet": "connectors.files.parquet:ParquetSource",
    "po": "connectors.gettext:GettextSource",
    "raw": "connectors.files.tsv:TsvSource",
    "sent": "connectors.files.tsv:TsvSource",
    "tmx": "connectors.files.tmx:TmxSource",
    "tsv": "connectors.files.tsv:TsvSource",
    "txt": "connectors.files.tsv:TsvSource",
}
SINKS = {
    "json": "connectors.files.jsonl:JsonlSink",
    "jsonl": "connectors.files.jsonl:JsonlSink",
    "ndjson": "connectors.files.jsonl:JsonlSink",
    "parquet": "connectors.files.parquet:ParquetSink",
    "tmx": "connectors.files.tmx:TmxSink",
    "tsv": "connectors.files.tsv:TsvSink",
}


def ending(path: str) -> str:
    """The format that a name tells: its last suffix, compression apart; JSON lines where it tells none."""
    suffixes = [suffix.lower() for suffix in PurePath(path.partition("?")[0]).suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    name = suffixes[-1].removeprefix(".") if suffixes else JSON_LINES
    return "moses" if _TWINS.fullmatch(name) else name


def open_source(path: str, fields: RecordSettings) -> Source:
    """Open a file of pairs, `-` for JSON lines from standard input.

    Raises:
        ConfigurationError: the format is not known, or its package is not installed.
        DataError: the file cannot be read.
    """
    return cast(Source, _load("craft_stream.sources", SOURCES, path)(path, fields))


def open_sink(path: str) -> Sink:
    """Open a file to write records to, `-` for JSON lines on standard output.

    Raises:
        ConfigurationError: the format is not known, its package is missing, or the file cannot be written.
    """
    return cast(Sink, _load("craft_stream.sinks", SINKS, path)(path))


def _load(group: str, known: dict[str, str], path: str) -> Any:
    name = ending(path)
    try:
        if name in known:
            return EntryPoint(name, known[name], group).load()
        for entry in entry_points(group=group, name=name):
            return entry.load()
    except ImportError as error:
        raise ConfigurationError(f"{path}: the format {name} needs a package: {error}") from None
    raise ConfigurationError(f'{path}: unknown format "{name}"; known are {", ".join(sorted(known))}')
