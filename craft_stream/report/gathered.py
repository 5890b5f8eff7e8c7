"""What a report knows of a stream: counts of everything, and a few pairs of each kind."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from craft_stream.reading.addresses import origin
from craft_stream.report.origins import Origins
from craft_stream.report.pairs import Example
from craft_stream.report.rows import Rows
from craft_stream.report.samples import Samples, priorities
from craft_stream.report.stretches import Stretches
from craft_stream.report.vocabulary import Vocabulary
from craft_stream.selection.decisions import Reason
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import TextBatch
from craft_stream.text.tokens import tokenize

# Bins of scores, of domain scores and of margins (score - threshold), from which on a bin is counted, and how wide one is.
BINS, LOWEST, WIDTH = 600, -10.0, 0.05
QUALITY_BINS = 50  # of P(clean)
LONGEST = 60  # words of a side, and above
CLUSTERS = 1024
OF_REASON, OF_CLUSTER = 24, 7
# Examples by margin: one for each of so many clusters (of more, some share) and bins, so many bins of scores wide.
_NEAR_CLUSTERS, _NEAR_WIDE = 128, 4
# Rows of an outcome that are looked at one by one, for hosts, pages, lengths and words, before only each second one is, and
# so on. Of 150,000 rows 9,000 are, and a report takes 8 % more of `select`'s time; with 1 << 13 and all lengths 14 %.
_LOOKED = 1 << 10
_NAME = 500  # characters of a page's or a host's name that are kept


class Gathered:
    """Takes in decided pairs and forgets all but counts and samples: some 20 MB, however many there are.

    Args:
        fields: where records have their texts, ids and URLs.

    Attributes:
        records: of the stream; refused: those that hold no pair, by why.
        reasons: int64 [reasons], decisions.
        domain: int64 [2, BINS], pairs by domain score, rejected and accepted.
        quality: int64 [2, QUALITY_BINS], the same by P(clean), where that was asked for.
        lengths: float64 [2, 2, LONGEST + 1], by side and words, rejected and accepted, estimated where not all were looked at.
        margins: int32 [2, clusters + 1, BINS], pairs that passed all other bars, over budget and accepted, by cluster (the
            last: not known) and by how far they are above the threshold.
        clusters: int64 [2, clusters + 1], all pairs, rejected and accepted, by cluster.
        thresholds: least and greatest that was in force; NaN where none was.
        stretches, hosts, pages, vocabulary: see their classes.
        languages: pairs by the languages that records name, rejected and accepted.
        of_reason, of_cluster: samples; of clusters even numbers are accepted.
    """

    def __init__(self, fields: RecordSettings) -> None:
        self._fields = fields
        self.records = 0
        self.refused: Counter[str] = Counter()
        self.reasons = np.zeros(len(Reason), np.int64)
        self.domain = np.zeros((2, BINS), np.int64)
        self.quality = np.zeros((2, QUALITY_BINS), np.int64)
        self.lengths = np.zeros((2, 2, LONGEST + 1))
        self.margins = np.zeros((2, CLUSTERS + 1, BINS), np.int32)
        self.clusters = np.zeros((2, CLUSTERS + 1), np.int64)
        self.thresholds = (np.nan, np.nan)
        self.stretches, self.hosts, self.pages = Stretches(), Origins(), Origins()
        self.vocabulary = Vocabulary()
        self.languages: Counter[tuple[str, bool]] = Counter()
        self.of_reason: Samples[Example] = Samples(len(Reason), OF_REASON)
        self.of_cluster: Samples[Example] = Samples(2 * CLUSTERS, OF_CLUSTER)
        self._by_margin: Samples[Example] = Samples(_NEAR_CLUSTERS * BINS // _NEAR_WIDE, 1)
        self._strides, self._looked = [1, 1], [0, 0]  # of the rejected and of the accepted

    @property
    def accepted(self) -> int:
        """Accepted pairs."""
        return int(self.reasons[Reason.ACCEPTED])

    def add(self, rows: Rows) -> None:
        """Take in the next run."""
        self.records += rows.records
        self.refused.update(rows.refused)
        if not len(rows.positions):
            return
        accepted = rows.reason == Reason.ACCEPTED
        outcome = accepted.astype(np.int64)
        able = accepted | (rows.reason == Reason.OVER_BUDGET)
        cluster = np.where((rows.cluster >= 0) & (rows.cluster < CLUSTERS), rows.cluster, CLUSTERS).astype(
            np.int64
        )
        at = _bin(rows.score - np.where(np.isfinite(rows.threshold), rows.threshold, np.float32(0)))
        self.reasons += np.bincount(rows.reason, minlength=len(Reason))
        _count(self.domain, outcome, _bin(rows.domain), np.isfinite(rows.domain))
        asked = np.isfinite(rows.quality)
        clean = np.exp(np.minimum(np.where(asked, rows.quality, 0), 0))
        _count(
            self.quality, outcome, np.minimum(clean * QUALITY_BINS, QUALITY_BINS - 1).astype(np.int64), asked
        )
        _count(self.clusters, outcome, cluster)
        places = outcome[able] * (CLUSTERS + 1) * BINS + cluster[able] * BINS + at[able]
        np.add.at(self.margins.reshape(-1), places, 1)
        self.stretches.add(rows.positions, rows.reason, rows.domain)
        finite = rows.threshold[np.isfinite(rows.threshold)]
        if len(finite):
            low, high = self.thresholds
            self.thresholds = float(np.fmin(low, finite.min())), float(np.fmax(high, finite.max()))
        even = priorities(rows.positions)
        self._sample(rows, able, cluster, at, even)
        for side in (0, 1):
            self._look(rows, np.flatnonzero((outcome == side) & (even < 1 / self._strides[side])), side)

    def _sample(
        self,
        rows: Rows,
        able: NDArray[np.bool_],
        cluster: NDArray[np.int64],
        at: NDArray[np.int64],
        even: NDArray[np.float64],
    ) -> None:
        positions, reason = rows.positions, rows.reason.astype(np.int64)
        accepted = reason == Reason.ACCEPTED
        made: dict[int, Example] = {}

        def make(row: int) -> Example:
            found = made.get(row)
            if found is None:
                found = made[row] = Example.of(rows, row, self._fields)
            return found

        self.of_reason.offer(reason, even, positions, make)
        known = np.where(cluster < CLUSTERS, 2 * cluster + ~accepted, -1)
        # of those that are not accepted, first those that something else than their domain speaks against
        dull = (reason == Reason.OFF_DOMAIN) + 0.5 * (reason == Reason.OVER_BUDGET)
        self.of_cluster.offer(known, even + dull, positions, make)
        near = cluster % _NEAR_CLUSTERS * (BINS // _NEAR_WIDE) + at // _NEAR_WIDE
        self._by_margin.offer(np.where(able, near, -1), even, positions, make)

    def by_margin(self) -> list[Example]:
        """Pairs that passed all other bars, spread over clusters and margins."""
        return [
            kept for group in range(_NEAR_CLUSTERS * BINS // _NEAR_WIDE) for kept in self._by_margin.of(group)
        ]

    def _look(self, rows: Rows, chosen: NDArray[np.int64], outcome: int) -> None:
        """Look at rows of an outcome one by one; each stands for as many as the stride says."""
        weight = self._strides[outcome]
        sides: list[list[str]] = [[], []]
        for row in chosen.tolist():
            record, reason = rows.record(row), int(rows.reason[row])
            page, host = origin(record, self._fields.url_fields)
            if page:
                self.pages.add(page[:_NAME], reason, weight)
            if host:
                self.hosts.add(host[:_NAME], reason, weight)
            texts = [record.get(name) for name in (self._fields.source_field, self._fields.target_field)]
            for side, text in zip(sides, texts, strict=True):
                if isinstance(text, str):
                    side.append(text)
            if rows.cluster[row] >= 0 and isinstance(texts[0], str):
                self.vocabulary.add(int(rows.cluster[row]), texts[0])
            named = [record.get(name) for name in ("src_lang", "tgt_lang")]
            if any(isinstance(tag, str) for tag in named):
                tags = " - ".join(str(tag)[:20] if isinstance(tag, str) else "?" for tag in named)
                self.languages[tags, bool(outcome)] += weight
        for number, side in enumerate(sides):
            words = np.diff(tokenize(TextBatch.pack(side)).offsets)
            self.lengths[outcome, number] += weight * np.bincount(
                np.minimum(words, LONGEST), minlength=LONGEST + 1
            )
        self._looked[outcome] += len(chosen)
        if self._looked[outcome] >= _LOOKED:
            self._looked[outcome], self._strides[outcome] = 0, 2 * weight


def _bin(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bins of scores, int64 [n]; what is not known falls into the lowest, which callers leave out."""
    # a score that equals the threshold belongs to the bin above it, whatever its last bit
    place = (np.nan_to_num(values, nan=LOWEST).astype(np.float64) - LOWEST) / WIDTH + 1e-6
    return np.clip(place, 0, BINS - 1).astype(np.int64)


def _count(
    into: NDArray[np.int64],
    outcome: NDArray[np.int64],
    place: NDArray[np.int64],
    known: NDArray[np.bool_] | None = None,
) -> None:
    """Add pairs to counts by outcome and place."""
    if known is not None:
        outcome, place = outcome[known], place[known]
    width = into.shape[1]
    into += np.bincount(outcome * width + place, minlength=2 * width).reshape(2, width)
