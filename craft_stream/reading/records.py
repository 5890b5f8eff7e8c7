"""Records: the bytes of one JSON object in, a pair out, or why it is none.

A record that is no pair is refused with a reason from a closed list. Work is bounded: bytes by
`RecordSettings.max_bytes`, nesting by the parser (1,024 levels). Only the two texts, the id and the URLs are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeGuard

import orjson

from craft_stream.errors import RecordError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

# what Python's json writes for numbers that JSON has not
_NO_NUMBER = re.compile("NaN|-?Infinity")
TEXT = "text"  # what tools call the field of a text that has no other side
_SHOWN = 200  # characters of names that a message quotes


class DecodeReason(StrEnum):
    """Why a record is no pair; a closed list, fit for a metric label."""

    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    MISSING_SIDE = "missing_side"
    NOT_TEXT = "not_text"
    EMPTY_SIDE = "empty_side"
    INVALID_UTF8 = "invalid_utf8"
    TOO_LARGE = "too_large"
    TOMBSTONE = "tombstone"
    UNREADABLE = "unreadable"


class Pair(NamedTuple):
    """A sentence pair.

    Attributes:
        id: the record's own, else where it was: `topic/partition/offset`.
        source, target: the two sides as they came.
        urls: where they are from, as far as the record says.
    """

    id: str
    source: str
    target: str
    urls: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """Why a record is no pair; no exception, since a stream may hold nothing else: 1 us a record less, and no traces kept.

    Attributes:
        reason: the kind.
        text: what is wrong; it names the field.
    """

    reason: DecodeReason
    text: str


def read_pair(message: Message, fields: RecordSettings) -> Pair:
    """What a message holds; its id is where it was unless it carries one.

    Raises:
        RecordError: it holds no pair: with a `DecodeReason` and a text that names the field.
    """
    found = examine(message, fields)
    if isinstance(found, Refusal):
        raise RecordError(found.reason, found.text)
    return found


def examine(message: Message, fields: RecordSettings) -> Pair | Refusal:
    """The same, without an exception where it holds no pair."""
    record = _parsed(message, fields)
    return record if isinstance(record, Refusal) else _pair(record, message, fields)


def examine_sides(message: Message, fields: RecordSettings) -> tuple[str, str] | Refusal:
    """The same, the two sides alone."""
    record = _parsed(message, fields)
    return record if isinstance(record, Refusal) else _sides(record, fields)


def examine_described(message: Message, fields: RecordSettings) -> Pair | Refusal:
    """The same of the target, which may be texts of one side: where a record has not the field of the other, that is empty."""
    record = _parsed(message, fields)
    if isinstance(record, Refusal):
        return record
    found = [name for name in (fields.source_field, fields.target_field) if name in record]
    if len(found) != 1:
        return _pair(record, message, fields)
    text = record[found[0]]
    if not _is_side(text):
        return _no_side(record, found[0])
    name = read_id(record, fields) or message.location
    return Pair(name, text, "") if found[0] == fields.source_field else Pair(name, "", text)


def examine_text(message: Message, fields: RecordSettings, field: str) -> tuple[str, str] | Refusal:
    """Id and text of a message of which one field is wanted; where it has not that one, of `text`."""
    record = _parsed(message, fields)
    if isinstance(record, Refusal):
        return record
    text = record.get(field if field in record else TEXT)
    if not _is_side(text):
        return _no_side(record, field if field in record or TEXT not in record else TEXT)
    return read_id(record, fields) or message.location, text


def _pair(record: dict[str, Any], message: Message, fields: RecordSettings) -> Pair | Refusal:
    found = _sides(record, fields)
    if isinstance(found, Refusal):
        return found
    urls = tuple(url for field in fields.url_fields if type(url := record.get(field)) is str)
    return Pair(read_id(record, fields) or message.location, *found, urls)


def _sides(record: dict[str, Any], fields: RecordSettings) -> tuple[str, str] | Refusal:
    source, target = record.get(fields.source_field), record.get(fields.target_field)
    if not _is_side(source):
        return _no_side(record, fields.source_field)
    if not _is_side(target):
        return _no_side(record, fields.target_field)
    return source, target


def _parsed(message: Message, fields: RecordSettings) -> dict[str, Any] | Refusal:
    value, problem = message.value, message.problem
    if problem is not None:
        return Refusal(DecodeReason.UNREADABLE, problem)
    if value is None:
        return Refusal(DecodeReason.TOMBSTONE, "the record has no value")
    if len(value) > fields.max_bytes:
        return Refusal(
            DecodeReason.TOO_LARGE, f"{len(value)} bytes; record.max_bytes allows {fields.max_bytes}"
        )
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _undecodable(value, error)
    if type(record) is not dict:
        return Refusal(DecodeReason.NOT_OBJECT, f"a JSON {_json_type(record)} where an object was expected")
    return record


def read_id(record: Mapping[str, Any], fields: RecordSettings) -> str:
    """The id that a record carries, a text or a whole number; empty where it carries none."""
    found = record.get(fields.id_field)
    if type(found) is int:
        return str(found)
    return found if type(found) is str else ""


def _is_side(text: Any) -> TypeGuard[str]:
    return type(text) is str and text != "" and not text.isspace()


def _no_side(record: dict[str, Any], field: str) -> Refusal:
    text = record.get(field)
    if type(text) is str:
        return Refusal(DecodeReason.EMPTY_SIDE, f'"{field}" is empty')
    if field not in record:
        return Refusal(DecodeReason.MISSING_SIDE, f'"{field}" is missing, the record has {_names(record)}')
    return Refusal(DecodeReason.NOT_TEXT, f'"{field}" is a JSON {_json_type(text)}, not a string')


def _names(record: dict[str, Any]) -> str:
    """The names of a record's fields, as many as a line holds."""
    return ", ".join(record)[:_SHOWN] or "no fields"


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _undecodable(value: bytes, error: orjson.JSONDecodeError) -> Refusal:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return Refusal(DecodeReason.INVALID_UTF8, f"byte {wrong.start} is not valid UTF-8")
    found = _NO_NUMBER.match(error.doc, error.pos)
    why = f"{found[0]} is no number of JSON, write null" if found else error.msg
    return Refusal(DecodeReason.NOT_JSON, f"not JSON: {why} at character {error.pos}")
