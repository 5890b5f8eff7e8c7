"""The cascade: with an expensive encoder, only what everything else has not decided is embedded.

In the order of their costs, and each for good:

1. the gate, on the domain score alone: `off_domain`. (The clusters' help, which otherwise counts at the gate, needs a cluster
   and so an embedding; it counts in the score.)
2. lists and languages, see the selector.
3. what the words say. P(clean) is a sum over features, of which those of prediction are bounded: a pair that no embedding
   could lift over the floor is rejected, with the reason that its words give.
4. pairs that have been accepted already, exactly or nearly.

What is left is embedded, judged and compared with the threshold as always.

A duplicate goes before what an embedding could say, so a pair's outcome is the same whether it was recognised before
embedding (its twin stood in an earlier batch) or after (it stands in this one), and its decision shows no embedding either
way: decisions, and the histograms that later thresholds come from, depend on the log alone. For the same reason nothing is
left out because its best score would not reach the threshold: the scores of all that could be accepted make the next
epoch's threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import SelectionParameters
from craft_stream.scoring.embedding import NO_CLUSTER
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Reason
from craft_stream.selection.duplicates import Fingerprint
from craft_stream.selection.faults import MOJIBAKE, faults
from craft_stream.selection.ledger import Ledger
from craft_stream.text.tokenized import TokenizedPairs


class Cascade:
    """Judges pairs of one run inside an epoch.

    Args:
        scorer: of the Model in force.
        pairs: the run.
        cluster: int16 [n], of the run; changed where it is embedded.
        ledger: of the partition; accepted pairs are remembered in it.
        scores, quality: float32 [n], of the run; changed: what is compared with the threshold, log P(clean).
        reasons: uint8 [n], of the run; changed.
    """

    def __init__(
        self,
        scorer: Scorer,
        pairs: TokenizedPairs,
        cluster: NDArray[np.int16],
        ledger: Ledger,
        scores: NDArray[np.float32],
        quality: NDArray[np.float32],
        reasons: NDArray[np.uint8],
    ) -> None:
        self._scorer, self._pairs, self._cluster, self._ledger = scorer, pairs, cluster, ledger
        self._scores, self._quality, self._reasons = scores, quality, reasons
        self._gate_scores = scores.copy()
        self._selection: SelectionParameters = ledger.parameters.selection

    def judge(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Judge the pairs at `rows`, which have passed the gate and are neither listed nor of another language.

        Returns:
            int64, int64: rows that could be accepted, whose scores make the next threshold; and those that were.
        """
        text = self._scorer.text_features(self._pairs, rows)
        most = self._scorer.without_embedding(text)[:, 1]
        hopeless = (most < self._selection.quality_floor) | (text[:, MOJIBAKE] > 0)
        self._reasons[rows[hopeless]] = faults(text[hopeless])
        rows, text = rows[~hopeless], text[~hopeless]
        footprints = [Fingerprint(self._ledger.seen_pairs, self._pairs, row) for row in rows.tolist()]
        known = np.array([footprint.twin(self._selection) is not None for footprint in footprints], np.bool_)
        self._embed(rows[~known], text[~known])
        able: list[int] = []
        accepted: list[int] = []
        for place, (row, footprint) in enumerate(zip(rows.tolist(), footprints, strict=True)):
            reason = footprint.twin(self._selection)
            if reason is not None:
                self._forget(row, reason)
                continue
            if known[place]:  # its twin has just been forgotten: a generation of accepted pairs ended
                self._embed(rows[place : place + 1], text[place : place + 1])
            if self._quality[row] < self._selection.quality_floor:
                self._reasons[row] = faults(text[place : place + 1])[0]
                continue
            able.append(row)
            self._reasons[row] = Reason.OVER_BUDGET
            if self._scores[row] >= self._ledger.threshold and len(accepted) < self._ledger.room(row + 1):
                self._reasons[row] = Reason.ACCEPTED
                footprint.remember()
                accepted.append(row)
        return np.array(able, np.int64), np.array(accepted, np.int64)

    def _embed(self, rows: NDArray[np.int64], text: NDArray[np.float32]) -> None:
        if not len(rows):
            return
        scorer, cluster = self._scorer, self._cluster
        embeddings = scorer.embed(self._pairs, rows, cluster)
        cluster[rows] = embeddings.cluster
        self._quality[rows] = scorer.quality(scorer.features(self._pairs, rows, embeddings, text))
        self._scores[rows] = self._ledger.scores(
            self._gate_scores[rows], self._quality[rows], cluster[rows], scorer.model
        )

    def _forget(self, row: int, reason: Reason) -> None:
        """A duplicate, and nothing that its embedding said."""
        self._reasons[row] = reason
        self._scores[row] = self._gate_scores[row]
        self._quality[row] = np.nan
        self._cluster[row] = NO_CLUSTER
