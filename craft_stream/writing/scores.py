"""Scores beside text: records with what was found of them in fields of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.writing.decisions import numbers

FIELDS = ("score", "domain", "quality", "cluster", "reason")


def scored_records(
    chunk: Chunk, decisions: Decisions, pairs: NDArray[np.int64], fields: Sequence[str] = FIELDS
) -> list[bytes]:
    """Records of a chunk as they came, with fields added.

    A field of the record's own that has the same name is kept as `NAME_`.

    Args:
        chunk: that was decided.
        decisions: on its pairs.
        pairs: int64 [n], which of them.
        fields: of `FIELDS`, in the order in which they are written; numbers are the shortest that give back the float32; what
            is not finite, and the cluster of a pair that was not embedded, is null.
    """
    labels = {reason: orjson.dumps(Reason(reason).label) for reason in set(decisions.reason[pairs].tolist())}
    columns = {
        "score": lambda: numbers(decisions.score[pairs]),
        "domain": lambda: numbers(decisions.domain[pairs]),
        "quality": lambda: numbers(decisions.quality[pairs]),
        "cluster": lambda: [
            b"%d" % found if found >= 0 else b"null" for found in decisions.cluster[pairs].tolist()
        ],
        "reason": lambda: [labels[reason] for reason in decisions.reason[pairs].tolist()],
    }
    names = [b'"%b":' % field.encode() for field in fields]
    added = zip(*(columns[field]() for field in fields), strict=True)
    return [
        _free(chunk.message(pair).value or b"{}", fields)[:-1]
        + b"".join(b",%b%b" % field for field in zip(names, values, strict=True))
        + b"}"
        for pair, values in zip(pairs.tolist(), added, strict=True)
    ]


def _free(value: bytes, fields: Sequence[str]) -> bytes:
    """A record, which has both sides at least, in which no field has one of these names."""
    record = orjson.loads(value)
    taken = [field for field in fields if field in record]
    if not taken:
        return value.rstrip()
    for field in taken:
        name = f"{field}_"
        while name in record:
            name += "_"
        record[name] = record.pop(field)
    return orjson.dumps(record)
