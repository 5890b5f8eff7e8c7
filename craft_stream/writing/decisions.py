"""Decisions as they are written, to the decisions topic as by `--decisions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream import __version__
from craft_stream.ports.transport import Record
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason

# Of a decision's form: the first had no `settings_version`, `release` and `format`.
FORMAT = 2

# What a decision had not from the beginning, and what is not of the decision itself.
_LATER = frozenset({"settings_version", "release", "format"})


def release_of(decision: Mapping[str, Any]) -> str:
    """Release of craft_stream that made a decision, as it was written."""
    return str(decision.get("release", "0.1.0"))


def unlike(written: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Names of what is different in a decision as it was written and as it is made here.

    Of another release's, what says how it was made is not compared: the digest of its parameters covers what that knew.
    """
    other = release_of(written) != release_of(made) or written.get("format", 1) != FORMAT
    passed = _LATER | {"parameters"} if other else frozenset[str]()
    return [name for name in made if name not in passed and made[name] != written.get(name)]


def decision_records(chunk: Chunk, decisions: Decisions, pairs: NDArray[np.int64]) -> list[Record]:
    """Decisions as they go to their topic, under the places of their records; arguments as for `decision_lines`."""
    lines = decision_lines(chunk, decisions, pairs)
    return [
        Record(line, chunk.message(pair).location.encode())
        for line, pair in zip(lines, pairs.tolist(), strict=True)
    ]


def decision_lines(chunk: Chunk, decisions: Decisions, pairs: NDArray[np.int64]) -> list[bytes]:
    """Decisions as the JSON objects that are written to the decisions topic and by `--decisions`.

    Args:
        chunk: that was decided.
        decisions: on its pairs.
        pairs: int64 [n], which of them.

    Returns:
        JSON objects without newline: `decision_id`, `id`, `outcome` (`accepted` or `rejected`), `reason`, `score`, `threshold`,
        `cluster`, `domain`, `quality`, `dual`, `context`, `model_version`, `settings_version`, `parameters` (digest of those
        that it was made under), `release` (of craft_stream, that made it) and `format`. Numbers are the shortest that give back
        the float32; what is not finite (`quality` of a pair that did not pass the gate) is null, as is the `cluster` of a pair
        that was not embedded.
    """
    reasons = {reason: _outcome(Reason(reason)) for reason in set(decisions.reason[pairs].tolist())}
    tail = b',"release":%b,"format":%d}' % (orjson.dumps(__version__), FORMAT)
    columns = zip(
        decisions.reason[pairs].tolist(),
        (_string(chunk.message(pair).location) for pair in pairs.tolist()),
        map(_string, chunk.identifiers(pairs.tolist())),
        numbers(decisions.score[pairs]),
        numbers(decisions.threshold[pairs]),
        (b"%d" % cluster if cluster >= 0 else b"null" for cluster in decisions.cluster[pairs].tolist()),
        numbers(decisions.domain[pairs]),
        numbers(decisions.quality[pairs]),
        numbers(decisions.dual[pairs]),
        numbers(decisions.context[pairs]),
        decisions.model_version[pairs].tolist(),
        decisions.settings_version[pairs].tolist(),
        decisions.parameters[pairs].tolist(),
        strict=True,
    )
    return [
        b'{"decision_id":%b,"id":%b,%b,"score":%b,"threshold":%b,"cluster":%b,"domain":%b,"quality":%b,"dual":%b,'
        b'"context":%b,"model_version":%d,"settings_version":%d,"parameters":"%016x"%b'
        % (decision, name, reasons[reason], *parts, tail)
        for reason, decision, name, *parts in columns
    ]


def with_texts(lines: Iterable[bytes], chunk: Chunk, pairs: NDArray[np.int64]) -> list[bytes]:
    """Lines of `decision_lines` with the two sides and the URLs of their records, under the names that these have there."""
    fields = chunk.fields
    names = (fields.source_field, fields.target_field, *fields.url_fields)
    records = (orjson.loads(chunk.message(pair).value or b"{}") for pair in pairs.tolist())
    return [
        line[:-1] + b"," + orjson.dumps({name: record[name] for name in names if name in record})[1:]
        for line, record in zip(lines, records, strict=True)
    ]


def _outcome(reason: Reason) -> bytes:
    outcome = "accepted" if reason is Reason.ACCEPTED else "rejected"
    return orjson.dumps({"outcome": outcome, "reason": reason.label})[1:-1]


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:  # the name of a file may be no UTF-8
        return orjson.dumps(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def numbers(column: NDArray[np.float32]) -> list[bytes]:
    """Each number of float32 [n] as orjson writes it, all in one call; what is not finite is null."""
    if not len(column):
        return []
    text = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")
