"""What is known of every record of a stream that is read again, by its position."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from craft_stream.ranking.contexts import ContextMeans
from craft_stream.ranking.spool import Spool
from craft_stream.selection.decisions import Reason
from craft_stream.text.tokenized import TokenizedPairs

# A record that holds no pair.
NO_PAIR = np.uint8(255)
# Records that arrays are gone through at a time.
_SLICE = 1 << 20

G = TypeVar("G", bound=np.generic)


class Scored(NamedTuple):
    """A run, scored: arrays by record, [records], so that a position finds its values.

    Attributes:
        reason: uint8, `LISTED`, `OFF_DOMAIN` as long as nothing else is known, or `NO_PAIR`.
        gate: float32, what the gate looks at; domain: float32, the domain score in it.
        cluster: int16.
        page, host: uint32, places of their contexts.
        like_target: int64 [1], how many pairs score as the upper fifth of the target does.
    """

    reason: NDArray[np.uint8]
    gate: NDArray[np.float32]
    domain: NDArray[np.float32]
    cluster: NDArray[np.int16]
    page: NDArray[np.uint32]
    host: NDArray[np.uint32]
    like_target: NDArray[np.int64]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        return self._asdict()


class Judged(NamedTuple):
    """Pairs of a run, held against every bar.

    Attributes:
        pairs: the pairs, n.
        reason: uint8 [n], `Reason`.
        scores: float32 [n], by gate and quality.
        domain: float32 [n], the domain score in them.
        quality: float32 [n], log P(clean); NaN where it was not asked for.
        cluster: int16 [n].
    """

    pairs: TokenizedPairs
    reason: NDArray[np.uint8]
    scores: NDArray[np.float32]
    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    cluster: NDArray[np.int16]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is said of the pairs, by name."""
        return {name: value for name, value in self._asdict().items() if name != "pairs"}


class Columns:
    """Arrays over all records, [records], in spools of 35 bytes each; after `seal` they can be read and written.

    Attributes:
        records, pairs, like_target: counts.
        reason, gate, domain, cluster: as in `Scored`.
        context: float32, what page and host tell.
        score: float32, of gate and context, later what was compared with the others'.
        quality: float32, log P(clean); NaN where it was not asked for.
        dual: float32, what the balance has added to `score`.
    """

    def __init__(self) -> None:
        self.records = self.pairs = self.like_target = 0
        self._spools = {
            "reason": Spool(np.uint8),
            "gate": Spool(np.float32),
            "domain": Spool(np.float32),
            "cluster": Spool(np.int16),
            "page": Spool(np.uint32),
            "host": Spool(np.uint32),
        }
        self._context, self._quality, self._score = Spool(np.float32), Spool(np.float32), Spool(np.float32)
        self._dual = Spool(np.float32)
        self._pages, self._hosts = ContextMeans(), ContextMeans()

    def add(self, scored: Scored) -> None:
        """Add the next run."""
        for name, spool in self._spools.items():
            spool.append(getattr(scored, name))
        held = scored.reason != NO_PAIR
        self._pages.add(scored.page[held], scored.gate[held])
        self._hosts.add(scored.host[held], scored.gate[held])
        self.records += len(held)
        self.pairs += int(held.sum())
        self.like_target += int(scored.like_target[0])

    def seal(self, page_weight: float, host_weight: float) -> None:
        """All records are known: what their contexts tell follows."""
        self.reason, self.gate, self.domain, self.cluster, page, host = (
            spool.values() for spool in self._spools.values()
        )
        self._pages.seal()
        self._hosts.seal()
        for start in range(0, self.records, _SLICE):
            part = slice(start, start + _SLICE)
            gate = self.gate[part]
            context = np.float32(page_weight) * self._pages.others(page[part], gate)
            context += np.float32(host_weight) * self._hosts.others(host[part], gate)
            self._context.append(context)
            self._score.append(gate + context)
            self._quality.append(np.full(len(gate), np.nan, np.float32))
            self._dual.append(np.zeros(len(gate), np.float32))
        self.context, self.score = self._context.values(), self._score.values()
        self.quality, self.dual = self._quality.values(), self._dual.values()

    def of(self, reason: Reason) -> NDArray[np.int64]:
        """Positions, ascending, of pairs with that reason by now."""
        return np.flatnonzero(self.reason == reason)

    def best(self, count: float) -> NDArray[np.int64]:
        """Positions, ascending, of so many pairs with the best scores at the gate among those not judged yet."""
        rows = self.of(Reason.OFF_DOMAIN)
        most = int(np.ceil(count))
        if len(rows) > most:
            scores = self.score[rows]
            least = np.partition(scores, len(rows) - most)[len(rows) - most]
            rows = rows[scores >= least]
        return rows


def spread(values: NDArray[G], rows: NDArray[np.int64], records: int, other: G) -> NDArray[G]:
    """Values of pairs, by record."""
    out = np.full(records, other, values.dtype)
    out[rows] = values
    return out
