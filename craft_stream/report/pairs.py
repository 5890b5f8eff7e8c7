"""A pair as the page shows it."""

from __future__ import annotations

import math
from typing import Any

from craft_stream.report.gathered import Example
from craft_stream.report.shown import parts, visible
from craft_stream.selection.decisions import Reason


def pair(example: Example, at: float = 0.0) -> dict[str, Any]:
    """A pair as the template shows it."""
    return {
        "id": visible(example.id, 80),
        "host": visible(example.host, 60),
        "source": parts(example.source, example.target, example.reason),
        "target": parts(example.target, example.source, example.reason),
        "longer": [
            length
            for length in (example.source_length, example.target_length)
            if length > len(example.source) + 240
        ],
        "reason": example.reason.label,
        "accepted": example.reason is Reason.ACCEPTED,
        "score": _known(example.score),
        "at": at,
        "domain": _known(example.domain),
        "clean": math.exp(min(example.quality, 0.0)) if math.isfinite(example.quality) else None,
        "cluster": example.cluster if example.cluster >= 0 else None,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
