"""Which fields of a row are the two sides, and options that a path may carry: `pairs.tsv?src=3&tgt=4`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from urllib.parse import parse_qsl

import orjson

from craft_stream.errors import ConfigurationError, DataError
from craft_stream.settings import RecordSettings

# names that tools give the two sides, in the order in which they are looked for
SIDES = (
    ("src", "tgt"),
    ("source", "target"),
    ("src_text", "trg_text"),
    ("text1", "text2"),
    ("sent1", "sent2"),
    ("sentence1", "sentence2"),
    ("source_text", "target_text"),
    ("src", "trg"),
)


def split_options(path: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """A path and the options behind its question mark.

    Raises:
        ConfigurationError: an option is not among `known`.
    """
    name, _, query = path.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in known:
            raise ConfigurationError(
                f'{path}: unknown option "{option}"; known are {", ".join(sorted(known))}'
            )
    return name, options


def sides(columns: Sequence[str], fields: RecordSettings) -> tuple[int, int] | None:
    """Numbers of the two sides among named columns: the record's own names, else those in `SIDES`."""
    lower = [column.strip().lower() for column in columns]
    for source, target in ((fields.source_field.lower(), fields.target_field.lower()), *SIDES):
        if source in lower and target in lower:
            return lower.index(source), lower.index(target)
    return None


def text_fields(values: Iterable[bytes], names: tuple[str, ...], path: str) -> Iterable[tuple[str, ...]]:
    """The named fields of JSON records, as text on one line each; what is missing is empty.

    Raises:
        DataError: a record is no JSON object.
    """
    for value in values:
        record = decoded(value, path)
        yield tuple(
            " ".join(field.split())
            if isinstance(field, str)
            else ""
            if field is None
            else orjson.dumps(field).decode()
            for field in map(record.get, names)
        )


def decoded(value: bytes, path: str) -> dict[str, object]:
    """A record to be written, as a dictionary.

    Raises:
        DataError: it is no JSON object.
    """
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: a record to be written is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: a record to be written is no JSON object")
    return record
