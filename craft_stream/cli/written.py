"""Scored pairs and decisions, as they were written, as the rows of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.reading.records import DecodeReason
from craft_stream.report.rows import Rows
from craft_stream.selection.decisions import Reason

_REASONS = {reason.label: reason for reason in Reason}


def written_rows(messages: Sequence[Message], start: int) -> Rows:
    """Records as rows, at positions from `start` on.

    Of what was decided the reason says what became of it, of what was only scored what speaks against it.

    Raises:
        DataError: a record names a reason that there is none.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    refused = []
    for place, message in enumerate(messages):
        record = _object(message)
        if isinstance(record, DecodeReason):
            refused.append(str(record))
        else:
            found.append((place, record))
    records = [record for _, record in found]
    return Rows(
        records=len(messages),
        refused=refused,
        positions=np.array([start + place for place, _ in found], np.int64),
        reason=np.array([_reason(record) for record in records], np.uint8),
        score=np.array([number(record.get("score")) for record in records], np.float32),
        threshold=np.array([number(record.get("threshold")) for record in records], np.float32),
        domain=np.array([number(record.get("domain")) for record in records], np.float32),
        quality=np.array([number(record.get("quality")) for record in records], np.float32),
        cluster=np.array([_cluster(record.get("cluster")) for record in records], np.int16),
        record=lambda row: records[row],
        place=lambda row: str(records[row].get("decision_id") or messages[found[row][0]].location),
    )


def _object(message: Message) -> dict[str, Any] | DecodeReason:
    if message.problem is not None or message.value is None:
        return DecodeReason.UNREADABLE
    try:
        record = orjson.loads(message.value)
    except orjson.JSONDecodeError:
        return DecodeReason.NOT_JSON
    return record if isinstance(record, dict) else DecodeReason.NOT_OBJECT


def _reason(record: dict[str, Any]) -> Reason:
    """Of what was not decided, nothing has been taken."""
    found = reason_of(record)
    return Reason.OVER_BUDGET if found is Reason.ACCEPTED and "outcome" not in record else found


def reason_of(record: dict[str, Any]) -> Reason:
    """The reason that a record names; `ACCEPTED` where it names none: nothing speaks against it.

    Raises:
        DataError: there is no such reason.
    """
    label = record.get("reason") or Reason.ACCEPTED.label
    if not isinstance(label, str) or label not in _REASONS:
        raise DataError(f'"reason" is {label!r}, which is none of {", ".join(_REASONS)}')
    return _REASONS[label]


def number(value: Any) -> float:
    """A number, or what can be read as one; NaN where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _cluster(value: Any) -> int:
    found = number(value)
    return int(found) if 0 <= found < 1 << 15 else -1
