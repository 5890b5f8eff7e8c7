"""The target reservoir: a bottom-k sample of the target log.

Each pair has a priority from a hash of its identifier alone, log(-log u) - log(weight) - decay x time with u uniform in
(0, 1): the k smallest are a weighted sample without replacement (Efraimidis and Spirakis 2006, exponential order
statistics; forward decay: Cormode et al. 2009). So the sample is the same whatever order the log came in. As many spares
as samples are kept, so that a withdrawn pair is replaced by the one that would have been there without it: exact, until
more than k have been withdrawn after larger ones were let go; `incomplete` then says that the target must be read again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from craft_stream.text.batch import PairBatch


@dataclass(frozen=True, slots=True)
class TargetPair:
    """A pair of the target.

    Attributes:
        identifier: unique in the target.
        source, target: its sides.
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

    def __init__(self, size: int, seed: int = 0, decay: float = 0.0) -> None:
        self.size = size
        self.incomplete = False
        self._seed = seed
        self._decay = decay
        self._pairs: dict[str, TargetPair] = {}
        # The smallest priority that was ever let go: beyond it nothing is known.
        self._horizon = math.inf
        self._sample: Sample | None = None  # until something changes

    def __len__(self) -> int:
        return min(len(self._pairs), self.size)

    def priority(self, identifier: str, weight: float = 1.0, time: float = 0.0) -> float:
        """log(-log u) - log(weight) - decay x time, u from a hash of the identifier."""
        seed = self._seed.to_bytes(8, "little", signed=True)
        hashed = hashlib.blake2b(
            identifier.encode("utf-8", "surrogatepass"), digest_size=8, key=seed
        ).digest()
        u = ((int.from_bytes(hashed, "little") >> 11) + 0.5) / (1 << 53)
        return math.log(-math.log(u)) - math.log(weight) - self._decay * time

    def insert(
        self, identifier: str, source: str, target: str, weight: float = 1.0, time: float = 0.0
    ) -> None:
        """Add or replace a pair."""
        pair = TargetPair(identifier, source, target, self.priority(identifier, weight, time))
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

    def merge(self, other: Reservoir) -> None:
        """Take over what another reservoir of the same size, seed and decay has seen; of one identifier, its pair.

        Exact: what is among the k smallest of a union is among the k smallest of its part, and of both parts all is known
        that is smaller than the smaller horizon. A withdrawal must have reached both.
        """
        if (self.size, self._seed, self._decay) != (other.size, other._seed, other._decay):
            raise ValueError("only reservoirs of the same size, seed and decay have a union")
        self._sample = None
        self._horizon = min(self._horizon, other._horizon)
        self.incomplete |= other.incomplete
        union = self._pairs | other._pairs
        self._pairs = {name: pair for name, pair in union.items() if pair.priority < self._horizon}
        if len(self._pairs) > 4 * self.size:
            self._trim()

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
