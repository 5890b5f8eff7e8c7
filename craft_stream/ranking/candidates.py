"""Candidates: pairs that passed all bars of the rule, with what ranking them again and again needs."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.ranking.spool import Spool
from craft_stream.scoring.domain import DomainModel
from craft_stream.selection.generation import Words
from craft_stream.text.ngrams import NGrams
from craft_stream.text.tokenized import TokenizedPairs


class Candidates:
    """Some 600 bytes each, in spools.

    Attributes:
        positions: int64 [n], in the stream.
        scores: float32 [n], of domain, context and quality, before any correction.
        domain: float32 [n], the domain score that is a part of it.
        cluster: int16 [n].
    """

    def __init__(self) -> None:
        self._columns = {
            "positions": Spool(np.int64),
            "scores": Spool(np.float32),
            "domain": Spool(np.float32),
            "cluster": Spool(np.int16),
        }
        self._ngrams, self._source, self._target = _Lists(np.uint32), _Lists(np.uint64), _Lists(np.uint64)
        self._source_ngrams = Spool(np.int32)
        self._read()

    def __len__(self) -> int:
        return len(self.positions)

    def add(
        self,
        pairs: TokenizedPairs,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        domain: NDArray[np.float32],
        cluster: NDArray[np.int16],
    ) -> None:
        """Add the pairs at `rows`, with what is said of each of these."""
        values: dict[str, NDArray[Any]] = {
            "positions": pairs.batch.positions[rows],
            "scores": scores,
            "domain": domain,
            "cluster": cluster,
        }
        for name, column in self._columns.items():
            column.append(values[name])
        ngrams = pairs.ngrams
        self._ngrams.append(ngrams.indices, ngrams.offsets, rows)
        self._source_ngrams.append((ngrams.middles - ngrams.offsets[:-1])[rows])
        for words, tokens in ((self._source, pairs.source), (self._target, pairs.target)):
            words.append(tokens.words, tokens.offsets, rows)

    def seal(self) -> None:
        """All were added: they can be read, until more are added and sealed."""
        self._read()

    def _read(self) -> None:
        self.positions, self.scores, self.domain, self.cluster = (
            column.values() for column in self._columns.values()
        )

    def domain_scores(self, domain: DomainModel) -> NDArray[np.float32]:
        """Their domain scores by another model, float32 [n]."""
        indices, offsets = self._ngrams.all()
        return domain.score(NGrams(indices, offsets, offsets[:-1] + self._source_ngrams.values()))[0]

    def ngrams(self, rows: NDArray[np.int64]) -> NGrams:
        """N-grams of the candidates at `rows`."""
        indices, offsets = self._ngrams.take(rows)
        return NGrams(indices, offsets, offsets[:-1] + self._source_ngrams.values()[rows])

    def words(self, rows: NDArray[np.int64]) -> tuple[Words, Words]:
        """Words of both sides of the candidates at `rows`."""
        return Words(*self._source.take(rows)), Words(*self._target.take(rows))


class _Lists:
    """Lists of numbers, end to end, spooled."""

    def __init__(self, dtype: type) -> None:
        self._dtype = dtype
        self._flat, self._lengths = Spool(dtype), Spool(np.int32)
        self._offsets = np.zeros(1, np.int64)

    def append(self, flat: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        found, places = _taken(flat, offsets, rows)
        self._flat.append(found)
        self._lengths.append(np.diff(places))

    def all(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """What they hold, and where each begins and ends."""
        if len(self._offsets) <= len(self._lengths):
            self._offsets = np.concatenate(
                [np.zeros(1, np.int64), np.cumsum(self._lengths.values(), dtype=np.int64)]
            )
        return self._flat.values(), self._offsets

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The same of some lists."""
        return _taken(*self.all(), rows)


def _taken(
    flat: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    places = np.concatenate([np.zeros(1, np.int64), np.cumsum(offsets[rows + 1] - offsets[rows])])
    out = np.empty(places[-1], flat.dtype)
    _gather(flat, offsets, rows, places, out)
    return out, places


@numba.njit(cache=True, nogil=True)
def _gather(
    flat: NDArray[Any],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    out: NDArray[Any],
) -> None:
    for i in range(len(rows)):
        start = offsets[rows[i]]
        for k in range(places[i + 1] - places[i]):
            out[places[i] + k] = flat[start + k]
