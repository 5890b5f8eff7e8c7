"""The best of pairs that were scored before: as `Ranking` takes them, without learning in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import SelectionParameters
from craft_stream.ranking.candidates import Candidates
from craft_stream.ranking.portions import Portions
from craft_stream.ranking.rereading import Rereading, Run
from craft_stream.ranking.spool import Spool
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.session import Chunk

# Candidates beside as many as are to be taken: duplicates among them.
_MORE = 8192

C = TypeVar("C", bound=Chunk)


class Scores(NamedTuple):
    """What was said of the pairs of a chunk.

    Attributes:
        reason: uint8 [n], what speaks against each; `ACCEPTED` where nothing does.
        score: float32 [n], by which they are compared.
        domain, quality: float32 [n], parts of it; NaN where they are not known.
        cluster: int16 [n]; -1 where it is not known.
    """

    reason: NDArray[np.uint8]
    score: NDArray[np.float32]
    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    cluster: NDArray[np.int16]


class Taking(Generic[C]):
    """Takes the best of a stream that can be read again, each pair once, within the bounds of clusters.

    Args:
        selection: which pairs are duplicates, and `relaxation`.
        shares: float64 [K], of the target in each cluster; of one cluster: there are no bounds.
        scores: what was said of a chunk's pairs.

    Attributes:
        threshold: score of the last pair that was taken; infinity before.
        missing: pairs that were asked for and are not there.
    """

    def __init__(
        self,
        selection: SelectionParameters,
        shares: NDArray[np.float64],
        scores: Callable[[C], Scores],
    ) -> None:
        bounded = len(shares) > 1
        self._selection = selection if bounded else replace(selection, relaxation=1.0)
        self._shares, self._scores, self._bounded = shares, scores, bounded
        self.threshold = np.inf
        self.missing = 0

    def take(
        self, stream: Callable[[], Iterable[Run[C]]], count: int | None, lowest: float = -np.inf
    ) -> Iterator[tuple[C, Decisions]]:
        """Every chunk, in order, with what became of its pairs: what is able and was not taken is `over_budget`.

        Args:
            stream: begins to read the stream; called three times, and more often where many are duplicates.
            count: pairs to take; None: all that reach `lowest`.
            lowest: score that a pair must reach.

        Raises:
            DataError: the stream is not as long as it was when it was read before.
        """
        again = Rereading(stream)
        score = self._able(again, lowest)
        able = np.flatnonzero(np.isfinite(score))
        budget = len(able) if count is None else min(count, len(able))
        candidates, portions = Candidates(), Portions(self._selection, self._shares, budget)
        asked, known = 2 * budget + _MORE, 0
        order = able[np.argsort(-score[able], kind="stable")]
        while portions.missing > 0 and known < len(order):
            self._add(candidates, np.sort(order[known : known + asked]), again)
            known += asked
            portions.take(candidates, None)
        portions.fill(candidates)
        self.threshold = float(portions.lowest)
        self.missing = 0 if count is None else count - budget + portions.missing
        reason = np.full(len(score), Reason.OVER_BUDGET, np.uint8)
        reason[candidates.positions] = portions.reasons
        yield from self._decisions(again, reason)

    def _able(self, stream: Rereading[C], lowest: float) -> NDArray[np.float32]:
        """Scores by position of what can be taken, minus infinity of the rest."""
        spool = Spool(np.float32)
        for run in stream.runs():
            chunk = run.read()
            said, score = self._scores(chunk), np.full(len(run), -np.inf, np.float32)
            able = (said.reason == Reason.ACCEPTED) & (said.score >= lowest)
            score[(chunk.pairs.batch.positions - run.start)[able]] = said.score[able]
            spool.append(score)
        return spool.values()

    def _add(self, candidates: Candidates, positions: NDArray[np.int64], stream: Rereading[C]) -> None:
        for run, wanted in stream.runs_at(positions):
            chunk = run.read()
            said = self._scores(chunk)
            rows = np.flatnonzero(np.isin(chunk.pairs.batch.positions, wanted))
            cluster = said.cluster[rows] if self._bounded else np.zeros(len(rows), np.int16)
            candidates.add(chunk.pairs, rows, said.score[rows], said.domain[rows], cluster)
        candidates.seal()

    def _decisions(self, stream: Rereading[C], taken: NDArray[np.uint8]) -> Iterator[tuple[C, Decisions]]:
        for run in stream.runs():
            chunk = run.read()
            said, at = self._scores(chunk), chunk.pairs.batch.positions
            decisions = Decisions.of(
                at,
                reason=np.where(said.reason == Reason.ACCEPTED, taken[at], said.reason),
                score=said.score,
                threshold=self.threshold,
                cluster=said.cluster,
                domain=said.domain,
                quality=said.quality,
            )
            yield chunk, decisions
