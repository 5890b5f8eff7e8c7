"""Records: the bytes of one JSON object in, a pair out; and the one form in which decisions are written.

A record that is no pair is refused with a reason from a closed list. Work is bounded: bytes by
`RecordSettings.max_bytes`, nesting by the parser (1,024 levels). Only the two texts, the id and the URLs are read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, TypeGuard

import orjson

from craft_stream.errors import RecordError
from craft_stream.settings import RecordSettings


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


def decode(value: bytes | None, fields: RecordSettings, default_id: str, problem: str | None = None) -> Pair:
    """Decode the value of one record; arguments as for `examine`.

    Raises:
        RecordError: with a `DecodeReason` and a message that names the field.
    """
    found = examine(value, fields, default_id, problem)
    if isinstance(found, Refusal):
        raise RecordError(found.reason, found.text)
    return found


def examine(
    value: bytes | None, fields: RecordSettings, default_id: str, problem: str | None = None
) -> Pair | Refusal:
    """What the value of one record holds.

    Args:
        value: its bytes; None is a tombstone.
        fields: the names of the fields and the largest size.
        default_id: the id of a record that carries none.
        problem: what a connector said when it could not make a record of its input (`Message.problem`).
    """
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
    source, target = record.get(fields.source_field), record.get(fields.target_field)
    if not _is_side(source):
        return _no_side(record, fields.source_field)
    if not _is_side(target):
        return _no_side(record, fields.target_field)
    identifier = record.get(fields.id_field)
    if type(identifier) is int:
        identifier = str(identifier)
    urls = tuple(url for field in fields.url_fields if type(url := record.get(field)) is str)
    return Pair(identifier if type(identifier) is str and identifier else default_id, source, target, urls)


def not_utf8(place: int) -> Refusal:
    """Bytes that are no UTF-8 from `place` on."""
    return Refusal(DecodeReason.INVALID_UTF8, f"byte {place} is not valid UTF-8")


def not_json(like: bytes, place: int) -> Refusal:
    """No JSON, for the parser's reason why `like` is none, at the character `place`."""
    try:
        orjson.loads(like)
    except orjson.JSONDecodeError as error:
        return _not_json(error.msg, place)
    raise ValueError(f"{like!r} is JSON")


def _not_json(why: str, place: int) -> Refusal:
    return Refusal(DecodeReason.NOT_JSON, f"not JSON: {why} at character {place}")


def _is_side(text: Any) -> TypeGuard[str]:
    return type(text) is str and text != "" and not text.isspace()


def _no_side(record: dict[str, Any], field: str) -> Refusal:
    text = record.get(field)
    if type(text) is str:
        return Refusal(DecodeReason.EMPTY_SIDE, f'"{field}" is empty')
    if field not in record:
        return Refusal(DecodeReason.MISSING_SIDE, f'"{field}" is missing')
    return Refusal(DecodeReason.NOT_TEXT, f'"{field}" is a JSON {_json_type(text)}, not a string')


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _undecodable(value: bytes, error: orjson.JSONDecodeError) -> Refusal:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return not_utf8(wrong.start)
    return _not_json(error.msg, error.pos)
