"""Pairs as pages show them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from craft_stream.reading.addresses import origin
from craft_stream.report.rows import Rows
from craft_stream.report.shown import parts, visible
from craft_stream.selection.decisions import Reason
from craft_stream.settings import RecordSettings

_TEXT = 1_000  # characters of a text that are kept


@dataclass(frozen=True, slots=True)
class Example:
    """A pair that is shown.

    Attributes:
        id: the record's own, else where it stood.
        place: where it stood.
        source, target: as much of the texts as is ever shown; source_length, target_length: characters of all of it.
        host: where it is from.
        reason: of `Reason`.
        score, threshold, domain, quality: NaN where they are not known.
        cluster: -1 where it is not known.
    """

    id: str
    place: str
    source: str
    target: str
    source_length: int
    target_length: int
    host: str
    reason: Reason
    score: float
    threshold: float
    domain: float
    quality: float
    cluster: int

    @classmethod
    def of(cls, rows: Rows, row: int, fields: RecordSettings) -> Example:
        """A row, whose record has its texts where `fields` say."""
        record, place = rows.record(row), rows.place(row)[:200]
        source, target = (_text(record.get(name)) for name in (fields.source_field, fields.target_field))
        name = record.get(fields.id_field)
        return cls(
            id=str(name)[:200] if isinstance(name, (str, int)) and name != "" else place,
            place=place,
            source=source[:_TEXT],
            target=target[:_TEXT],
            source_length=len(source),
            target_length=len(target),
            host=origin(record, fields.url_fields)[1][:250],
            reason=Reason(int(rows.reason[row])),
            score=float(rows.score[row]),
            threshold=float(rows.threshold[row]),
            domain=float(rows.domain[row]),
            quality=float(rows.quality[row]),
            cluster=int(rows.cluster[row]),
        )

    @property
    def margin(self) -> float:
        """Score above the threshold, or above 0 where there was none."""
        return self.score - (self.threshold if math.isfinite(self.threshold) else 0.0)


def pair(example: Example, at: float = 0.0) -> dict[str, Any]:
    """A pair as templates show it."""
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
