"""Accepted records as they go to the training topic."""

from __future__ import annotations

import numpy as np

from craft_stream.ports.transport import Record
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason


def accepted_records(chunk: Chunk, decisions: Decisions) -> list[Record]:
    """Accepted messages as they go to the training topic, with what was decided in their headers.

    Args:
        chunk: that was decided.
        decisions: on its pairs.
    """
    pairs = np.flatnonzero(decisions.accepted)
    reason = ("craft-reason", Reason.ACCEPTED.label.encode())
    columns = (decisions.score, decisions.cluster, decisions.model_version, decisions.parameters)
    records = []
    for pair, score, cluster, version, parameters in zip(
        pairs.tolist(), *(column[pairs].tolist() for column in columns), strict=True
    ):
        message = chunk.message(pair)
        headers = [item for item in message.headers if not item[0].startswith("craft-")]
        headers += (
            ("craft-decision-id", message.location.encode()),
            ("craft-score", repr(score).encode()),
            ("craft-cluster", str(cluster).encode()),
            ("craft-model-version", str(version).encode()),
            reason,
            ("craft-params", b"%016x" % parameters),
        )
        records.append(Record(message.value, message.key, headers))
    return records
