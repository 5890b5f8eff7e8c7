"""Decisions as they are written, to the decisions topic as by `--decisions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.selection.decisions import Decisions, Reason


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
