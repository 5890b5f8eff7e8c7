"""The target reservoir: a bottom-k sample of the target log.

Each pair has a priority from a hash of its identifier alone, log(-log u) with u uniform in (0, 1): the k smallest are a
sample without replacement, the same whatever order the log came in. As many spares as samples are kept, so that a withdrawn
pair is replaced by the one that would have been there without it: exact, until more than k have been withdrawn after larger
ones were let go; `incomplete` then says that the target must be read again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from craft_stream.errors import TargetError
from craft_stream.text.batch import PairBatch, Side


@dataclass(frozen=True, slots=True)
class TargetPair:
    """A pair of the target.

    Attributes:
        identifier: unique in the target.
        source, target: its sides; one is empty where the target is texts of the other alone.
        priority: smaller is kept longer.
    """

    identifier: str
    source: str
    target: str
    priority: float


@dataclass(frozen=True)
class Sample:
    """The k pairs in force, in the order of their identifiers: pairs of one document stay together if identifiers do."""

    pairs: tuple[TargetPair, ...]

    @cached_property
    def batch(self) -> PairBatch:
        """Their texts."""
        return PairBatch.pack([pair.source for pair in self.pairs], [pair.target for pair in self.pairs])

    @cached_property
    def side(self) -> Side | None:
        """The one side that it is texts of; None: it is pairs.

        Raises:
            TargetError: some are pairs and some texts, or texts of different sides.
        """
        kinds = {_side(pair) for pair in self.pairs}
        if len(kinds) > 1:
            raise TargetError(
                "a part of the target is texts of one side alone: give pairs, or texts of one side, not both"
            )
        return kinds.pop() if kinds else None

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits of SHA-256 over identifiers and texts."""
        sha = hashlib.sha256()
        for pair in self.pairs:
            for text in (pair.identifier, pair.source, pair.target):
                encoded = text.encode("utf-8", "surrogatepass")
                sha.update(len(encoded).to_bytes(8, "little") + encoded)
        return sha.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.pairs)


class Reservoir:
    """Bottom-k sample with exact deletions.

    Attributes:
        size: k.
        incomplete: deletions have used up the spares after larger pairs were let go.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.incomplete = False
        self._seed = seed
        self._pairs: dict[str, TargetPair] = {}
        # The smallest priority that was ever let go: beyond it nothing is known.
        self._horizon = math.inf
        self._sample: Sample | None = None  # until something changes

    def __len__(self) -> int:
        return min(len(self._pairs), self.size)

    def priority(self, identifier: str) -> float:
        """log(-log u), u from a hash of the identifier."""
        seed = self._seed.to_bytes(8, "little", signed=True)
        hashed = hashlib.blake2b(
            identifier.encode("utf-8", "surrogatepass"), digest_size=8, key=seed
        ).digest()
        u = ((int.from_bytes(hashed, "little") >> 11) + 0.5) / (1 << 53)
        return math.log(-math.log(u))

    def insert(self, identifier: str, source: str, target: str) -> None:
        """Add or replace a pair."""
        pair = TargetPair(identifier, source, target, self.priority(identifier))
        self._sample = None
        self._pairs.pop(identifier, None)
        if pair.priority >= self._horizon:
            return
        self._pairs[identifier] = pair
        # Trimmed at four times k, to two: each trim sorts, so rarely.
        if len(self._pairs) > 4 * self.size:
            self._trim()

    def delete(self, identifier: str) -> None:
        """Withdraw a pair; one that is not kept is no error."""
        self._sample = None
        self._pairs.pop(identifier, None)
        if len(self._pairs) < self.size and self._horizon < math.inf:
            self.incomplete = True

    def sample(self) -> Sample:
        """The k pairs of smallest priority."""
        if self._sample is None:
            kept = self._ordered()[: self.size]
            self._sample = Sample(tuple(sorted(kept, key=lambda pair: pair.identifier)))
        return self._sample

    def _ordered(self) -> Sequence[TargetPair]:
        return sorted(self._pairs.values(), key=lambda pair: (pair.priority, pair.identifier))

    def _trim(self) -> None:
        ordered = self._ordered()
        self._horizon = ordered[2 * self.size].priority
        self._pairs = {pair.identifier: pair for pair in ordered[: 2 * self.size]}


def _side(pair: TargetPair) -> Side | None:
    if pair.source and pair.target:
        return None
    return "source" if pair.source else "target"
