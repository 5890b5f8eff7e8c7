"""Records: the bytes of one JSON object in, a pair out; and the one form in which decisions are written.

A record that is no pair is refused with a reason from a closed list. Work is bounded: bytes by
`RecordSettings.max_bytes`, nesting by the parser (1,024 levels). Only the two texts, the id and the URLs are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

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


def decision_lines(
    decisions: Decisions,
    rows: NDArray[np.int64],
    decision_ids: Sequence[str],
    identifiers: Sequence[str],
    parameters: str,
) -> list[bytes]:
    """Decisions as the JSON objects that are written to the decisions topic and by `--decisions`.

    Args:
        decisions: decisions on a batch.
        rows: int64 [n], which of them.
        decision_ids: `topic/partition/offset` of the record of each.
        identifiers: id of the pair of each.
        parameters: digest of the parameters in force.

    Returns:
        JSON objects without newline: `decision_id`, `id`, `outcome` (`accepted` or `rejected`), `reason`,
        `score`, `threshold`, `cluster`, `domain`, `quality`, `quota`, `model_version`, `parameters`. Numbers
        are the shortest that give back the float32; what is not finite (`quality` of a pair that did not pass
        the gate) is null, as is the `cluster` of a pair that was not embedded.
    """
    reasons = {reason: _outcome(Reason(reason)) for reason in set(decisions.reason[rows].tolist())}
    tail = b',"parameters":' + orjson.dumps(parameters) + b"}"
    columns = zip(
        decisions.reason[rows].tolist(),
        map(orjson.dumps, decision_ids),
        map(orjson.dumps, identifiers),
        _numbers(decisions.score[rows]),
        _numbers(decisions.threshold[rows]),
        (b"%d" % cluster if cluster >= 0 else b"null" for cluster in decisions.cluster[rows].tolist()),
        _numbers(decisions.domain[rows]),
        _numbers(decisions.quality[rows]),
        _numbers(decisions.quota[rows]),
        decisions.model_version[rows].tolist(),
        strict=True,
    )
    return [
        b'{"decision_id":%b,"id":%b,%b,"score":%b,"threshold":%b,"cluster":%b,"domain":%b,"quality":%b,"quota":%b,'
        b'"model_version":%d%b'
        % (decision, name, reasons[reason], score, threshold, cluster, domain, quality, quota, version, tail)
        for reason, decision, name, score, threshold, cluster, domain, quality, quota, version in columns
    ]


def decision_json(
    decisions: Decisions, row: int, decision_id: str, identifier: str, parameters: str
) -> bytes:
    """One of `decision_lines`."""
    return decision_lines(decisions, np.array([row]), [decision_id], [identifier], parameters)[0]


def _outcome(reason: Reason) -> bytes:
    outcome = "accepted" if reason is Reason.ACCEPTED else "rejected"
    return orjson.dumps({"outcome": outcome, "reason": reason.label})[1:-1]


def _numbers(column: NDArray[np.float32]) -> list[bytes]:
    """Each number as orjson writes it, all in one call."""
    if not len(column):
        return []
    text = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")
