"""Accepted records as they go to the training topic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from craft_stream.ports.messages import Message
from craft_stream.ports.transport import (
    Record,
)
from craft_stream.selection.decisions import Decisions, Reason


def accepted_records(
    messages: Sequence[Message],
    decisions: Decisions,
    rows: NDArray[np.int64],
    identities: Sequence[str],
    parameters: str,
) -> list[Record]:
    """Accepted messages of those at `rows` as they go to the training topic, with what was decided in their headers.

    Args:
        messages: of the decisions.
        decisions: on a batch.
        rows: int64 [n], ascending.
        identities: decision id of each of `rows`.
        parameters: digest of the parameters in force.
    """
    fixed = (
        ("craft-reason", Reason.ACCEPTED.label.encode()),
        ("craft-params", parameters.encode()),
    )
    columns = (decisions.accepted, decisions.score, decisions.cluster, decisions.model_version)
    records = []
    for row, identity, accepted, score, cluster, version in zip(
        rows.tolist(), identities, *(column[rows].tolist() for column in columns), strict=True
    ):
        if not accepted:
            continue
        message = messages[row]
        headers = [item for item in message.headers if not item[0].startswith("craft-")]
        headers += (
            ("craft-decision-id", identity.encode()),
            ("craft-score", repr(score).encode()),
            ("craft-cluster", str(cluster).encode()),
            ("craft-model-version", str(version).encode()),
            *fixed,
        )
        records.append(Record(message.value, message.key, headers))
    return records
