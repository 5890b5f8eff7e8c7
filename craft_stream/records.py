"""Records: the bytes of one JSON object in, a pair out; and the one form in which decisions are written.

A record that is no pair is refused with a reason from a closed list. Work is bounded: bytes by
`RecordSettings.max_bytes`, nesting by the parser (1,024 levels). Only the two texts, the id and the URLs are read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from craft_stream.errors import RecordError
from craft_stream.selection.decisions import Decisions, Reason
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


def decode(
    value: bytes | None, settings: RecordSettings, default_id: str, problem: str | None = None
) -> Pair:
    """Decode the value of one record.

    Args:
        value: its bytes; None is a tombstone.
        settings: the names of the fields and the largest size.
        default_id: the id of a record that carries none.
        problem: what a connector said when it could not make a record of its input (`Message.problem`).

    Raises:
        RecordError: with a `DecodeReason` and a message that names the field.
    """
    if problem is not None:
        raise RecordError(DecodeReason.UNREADABLE, problem)
    if value is None:
        raise RecordError(DecodeReason.TOMBSTONE, "the record has no value")
    if len(value) > settings.max_bytes:
        raise RecordError(
            DecodeReason.TOO_LARGE, f"{len(value)} bytes; record.max_bytes allows {settings.max_bytes}"
        )
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _undecodable(value, error) from None
    if type(record) is not dict:
        raise RecordError(
            DecodeReason.NOT_OBJECT, f"a JSON {_json_type(record)} where an object was expected"
        )
    source = _side(record, settings.source_field)
    target = _side(record, settings.target_field)
    identifier = record.get(settings.id_field)
    if type(identifier) is int:
        identifier = str(identifier)
    urls = tuple(url for field in settings.url_fields if type(url := record.get(field)) is str)
    return Pair(identifier if type(identifier) is str and identifier else default_id, source, target, urls)


def _side(record: dict[str, Any], field: str) -> str:
    text = record.get(field)
    if type(text) is str:
        if text and not text.isspace():
            return text
        raise RecordError(DecodeReason.EMPTY_SIDE, f'"{field}" is empty')
    if field not in record:
        raise RecordError(DecodeReason.MISSING_SIDE, f'"{field}" is missing')
    raise RecordError(DecodeReason.NOT_TEXT, f'"{field}" is a JSON {_json_type(text)}, not a string')


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _undecodable(value: bytes, error: orjson.JSONDecodeError) -> RecordError:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return RecordError(DecodeReason.INVALID_UTF8, f"byte {wrong.start} is not valid UTF-8")
    return RecordError(DecodeReason.NOT_JSON, f"not JSON: {error.msg} at character {error.pos}")


def decision_json(
    decisions: Decisions, index: int, decision_id: str, identifier: str, parameters: str
) -> bytes:
    """One decision as the JSON object that is written to the decisions topic and by `--decisions`.

    Args:
        decisions: decisions on a batch.
        index: which of them.
        decision_id: `topic/partition/offset` of its record.
        identifier: the pair's id.
        parameters: digest of the parameters in force.

    Returns:
        A JSON object without newline: `decision_id`, `id`, `outcome` (`accepted` or `rejected`), `reason`,
        `score`, `threshold`, `cluster`, `domain`, `quality`, `quota`, `model_version`, `parameters`. Numbers
        are the shortest that give back the float32; what is not finite (`quality` of a pair that did not pass
        the gate) is null, as is the `cluster` of a pair that was not embedded.
    """
    reason = Reason(int(decisions.reason[index]))
    return orjson.dumps(
        {
            "decision_id": decision_id,
            "id": identifier,
            "outcome": "accepted" if reason is Reason.ACCEPTED else "rejected",
            "reason": reason.label,
            "score": decisions.score[index],
            "threshold": decisions.threshold[index],
            "cluster": int(decisions.cluster[index]) if decisions.cluster[index] >= 0 else None,
            "domain": decisions.domain[index],
            "quality": decisions.quality[index],
            "quota": decisions.quota[index],
            "model_version": int(decisions.model_version[index]),
            "parameters": parameters,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
