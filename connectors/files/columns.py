"""Columns of Arrow to records: the rows of a batch as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

_CONTROL = "[\x00-\x1f]"


def records(names: Sequence[str], columns: Sequence[Any]) -> Iterator[tuple[bytes, str | None]] | list[bytes]:
    """Rows as JSON objects.

    Returns:
        the objects; or, where the columns ask for a look at each row, pairs of an object and None, or of the row's text
        and what is wrong with it.
    """
    joined = _joined(names, columns)
    return _dumped(names, columns) if joined is None else joined


def _joined(names: Sequence[str], columns: Sequence[Any]) -> list[bytes] | None:
    """Rows put together by columns, in half the time that it takes by rows.

    None where a column is neither text nor whole numbers, or holds what JSON writes in another way.
    """
    parts: list[Any] = []
    for name, column in zip(names, columns, strict=True):
        if pa.types.is_integer(column.type):
            value = column.cast(pa.string())
        elif _is_sound(column) and not pc.any(pc.match_substring_regex(column, _CONTROL)).as_py():
            escaped = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
            value = pc.binary_join_element_wise('"', escaped.cast(pa.string()), '"', "")
        else:
            return None
        parts += [f"{',' if parts else '{'}{orjson.dumps(name).decode()}:", pc.fill_null(value, "null")]
    return list(pc.binary_join_element_wise(*parts, "}", "").cast(pa.binary()).to_pylist())


def _dumped(names: Sequence[str], columns: Sequence[Any]) -> Iterator[tuple[bytes, str | None]]:
    bare = [_is_text(column) and not _is_sound(column) for column in columns]
    cells = [
        (column.cast(pa.large_binary()) if unsound else column).to_pylist()
        for unsound, column in zip(bare, columns, strict=True)
    ]
    for row in zip(*cells, strict=True):
        try:
            fields = zip(names, map(_decoded, bare, row) if any(bare) else row, strict=True)
            yield orjson.dumps(dict(fields), str), None
        except UnicodeDecodeError as error:
            text = b"\t".join(cell for cell in row if isinstance(cell, bytes))
            yield text, f"byte {error.start} of a column is not valid UTF-8"


def _decoded(unsound: bool, cell: Any) -> Any:
    return cell.decode() if unsound and cell is not None else cell


def _is_text(column: Any) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_sound(column: Any) -> bool:
    """Whether a column is text, and all of it UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return _is_text(column)
