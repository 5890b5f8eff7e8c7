"""Columns of Arrow to records: the rows of a batch as JSON objects."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

_SIDES = 2
_CONTROL = "[\x00-\x1f]"


def records(names: Sequence[str], columns: Sequence[Any]) -> Iterator[tuple[bytes, str | None]] | list[bytes]:
    """Rows as JSON objects.

    Args:
        names: of the fields, those of the two sides first.
        columns: as many.

    Returns:
        the objects; or, where the columns ask for a look at each row, pairs of an object and None, or of the row's text
        and what is wrong with it.
    """
    plain = [_plain(column) for column in columns]
    joined = _joined(names, plain)
    return _dumped(names, plain) if joined is None else joined


def _plain(column: Any) -> Any:
    """A column without encodings of its own; bytes that are UTF-8 become text, as writers without a string type mean them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary).take(column.indices)  # which Arrow does not do for views of text
    if kind in (pa.string_view(), pa.binary_view()):
        column = column.cast(pa.large_string() if kind == pa.string_view() else pa.large_binary())
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        text = pa.string() if pa.types.is_binary(column.type) else pa.large_string()
        return column.cast(text, safe=False)  # unchecked: `_is_sound` looks
    return column


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
    numbers = range(len(cells))
    for row in zip(*cells, strict=True):
        try:
            fields = zip(names, map(_decoded, bare, row, numbers) if any(bare) else row, strict=True)
            yield orjson.dumps(dict(fields), _other, orjson.OPT_NON_STR_KEYS), None
        except (UnicodeDecodeError, orjson.JSONEncodeError) as error:
            text = b"\t".join(cell for cell in row if isinstance(cell, bytes)) or repr(row).encode(
                "utf-8", "replace"
            )
            wrong = error if isinstance(error, UnicodeDecodeError) else error.__cause__
            if isinstance(wrong, UnicodeDecodeError):
                yield text, f"byte {wrong.start} of a column is not valid UTF-8"
            else:
                yield text, f"a column cannot be written as JSON: {error}"


def _decoded(unsound: bool, cell: Any, number: int) -> Any:
    """A cell as it is, or its bytes as text: of the two sides, which stand first, whatever they hold."""
    if not unsound or cell is None:
        return cell
    return cell.decode() if number < _SIDES else _as_text(cell)


def _as_text(value: bytes) -> str:
    """Bytes as the text that they are, else, as of pictures and digests, in base 64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")


def _other(value: Any) -> Any:
    """A value that JSON has no form for: bytes as text, dates and decimals as they are written."""
    return _as_text(value) if isinstance(value, bytes) else str(value)


def _is_text(column: Any) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_sound(column: Any) -> bool:
    """Whether a column is text, and all of it UTF-8."""
    if not _is_text(column):
        return False
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
