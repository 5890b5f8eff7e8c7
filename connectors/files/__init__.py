"""Files of pairs, in and out: the format is told by the name's ending, compression apart.

What stands behind a question mark is for the format: `pairs.tsv?src=3&tgt=4`; `?format=tsv` says which it is where the name
does not (`-?format=tsv`). `corpus.en-fr` is two files of Moses.

A source is made by `CLASS(path, fields)`, a sink by `CLASS(path)`. Other packages add endings by
entry points of the groups `craft_stream.sources` and `craft_stream.sinks`, named as the ending without dot.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from connectors.files.compression import ENDINGS, how_to_unpack, members
from connectors.files.fields import split_query
from connectors.files.moses import OTHER, twins_in
from craft_stream.errors import ConfigurationError, MissingExtraError
from craft_stream.language_tags import nearest_pair, parse_tag, split_pair
from craft_stream.ports.files import Sink, Source
from craft_stream.settings import RecordSettings

JSON_LINES = "jsonl"
SOURCES = {
    "arrow": "connectors.files.parquet:ParquetSource",
    "arrows": "connectors.files.parquet:ParquetSource",
    "csv": "connectors.files.csv:CsvSource",
    "feather": "connectors.files.parquet:ParquetSource",
    "json": "connectors.files.jsonl:JsonlSource",
    "ipc": "connectors.files.parquet:ParquetSource",
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
    "csv": "connectors.files.csv:CsvSink",
    "json": "connectors.files.jsonl:JsonlSink",
    "jsonl": "connectors.files.jsonl:JsonlSink",
    "moses": "connectors.files.moses:MosesSink",
    "ndjson": "connectors.files.jsonl:JsonlSink",
    "parquet": "connectors.files.parquet:ParquetSink",
    "tmx": "connectors.files.tmx_sink:TmxSink",
    "tsv": "connectors.files.tsv:TsvSink",
}


def ending(path: str) -> str:
    """The format of a path: as its options say, else its last suffix, compression apart; JSON lines where neither tells one."""
    name, query = split_query(path)
    options = dict(parse_qsl(query))
    if "format" in options:
        return options["format"].lower().removeprefix(".")
    if OTHER in options:
        return "moses"
    if name.lower().endswith(".zip"):
        inner = options.get("member")
        if inner is None:
            if twins_in(name):
                return "moses"
            found = members(name)
            inner = found[0] if len(found) == 1 else name[: -len(".zip")]
        name = inner
    bare = PurePath(name)
    while bare.suffix.lower() in ENDINGS:
        bare = bare.with_suffix("")
    suffix = bare.suffix.removeprefix(".")
    if split_pair(suffix):
        return "moses"
    return suffix.lower() or JSON_LINES


def open_source(path: str, fields: RecordSettings) -> Source:
    """Open a file of pairs, `-` for standard input.

    Raises:
        ConfigurationError: the format is not known, or its package is not installed.
        DataError: the file cannot be read.
    """
    return cast(Source, _load("craft_stream.sources", SOURCES, path)(_without_format(path), fields))


def open_sink(path: str) -> Sink:
    """Open a file to write records to, `-` for standard output.

    Raises:
        ConfigurationError: the format is not known, its package is missing, or the file cannot be written.
    """
    return cast(Sink, _load("craft_stream.sinks", SINKS, path)(_without_format(path)))


def with_format(path: str, format_: str | None) -> str:
    """A path that says its format, unless it does already or None is given."""
    query = split_query(path)[1]
    if format_ is None or "format" in dict(parse_qsl(query)):
        return path
    return f"{path}{'&' if query else '?'}format={format_}"


def _without_format(path: str) -> str:
    name, query = split_query(path)
    options = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != "format"]
    if "format=" not in query:
        return path
    return f"{name}?{urlencode(options, safe='/,*')}" if options else name


def _load(group: str, known: dict[str, str], path: str) -> Any:
    name = ending(path)
    try:
        if name in known:
            return EntryPoint(name, known[name], group).load()
        for entry in entry_points(group=group, name=name):
            return entry.load()
    except ImportError as error:
        if name in known:
            raise MissingExtraError(f"{path}: the format {name}", "parquet") from None
        raise ConfigurationError(f"{path}: the format {name} needs a package: {error}") from None
    if hint := how_to_unpack(name):
        raise ConfigurationError(f"{path}: {hint}")
    near = nearest_pair(name)
    also = f"; two languages are told by their codes, perhaps {near}" if near else ""
    if near or parse_tag(name):
        also += "; for two files that belong together give --input-source A --input-target B"
    raise ConfigurationError(f'{path}: unknown format "{name}"; known are {", ".join(sorted(known))}{also}')
