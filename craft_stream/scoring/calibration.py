"""A sample of the stream as a Model scores it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

# Pairs that a cluster's mean and spread are shrunk with to those of all.
_SHRINKAGE = 8.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A sample of the stream as the Model scores it: what a selector expects before it has seen anything.

    With an expensive encoder only a part is embedded, the nearest to the domain and a sample of the others, and stands for
    the rest.

    Attributes:
        domain: float32 [S], standardised domain scores.
        quality: float32 [S], log P(clean); NaN where it cannot be accepted whatever that is, and where it is not embedded.
        cluster: int16 [S]; `NO_CLUSTER` where it is not embedded.
        distance: float32 [S], CRAFT's conditional expected distance, negated; 0 where it is not embedded.
        weight: float32 [S], the pairs of the sample that an embedded one stands for; 0 where it is not embedded.
    """

    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    cluster: NDArray[np.int16]
    distance: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def embedded(self) -> Calibration:
        """Those that are embedded."""
        rows = self.weight > 0
        return Calibration(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def standardised(
        self, distance: NDArray[np.float32], cluster: NDArray[np.int16], clusters: int
    ) -> NDArray[np.float32]:
        """CRAFT's negated distances in units of their spread over the stream within each cluster, float32 [n].

        A cluster's mean and spread are shrunk to those of all with the weight of eight pairs; without a sample distances
        stay as they are.
        """
        sample = self.embedded
        if not len(sample.distance):
            return distance
        sizes = np.bincount(sample.cluster, minlength=clusters) + _SHRINKAGE
        overall, spread = float(sample.distance.mean()), float(sample.distance.std()) + 1e-6
        mean = (np.bincount(sample.cluster, sample.distance, clusters) + _SHRINKAGE * overall) / sizes
        squares = np.bincount(sample.cluster, (sample.distance - mean[sample.cluster]) ** 2, clusters)
        deviation = np.sqrt((squares + _SHRINKAGE * spread**2) / sizes)
        return np.asarray((distance - mean[cluster]) / deviation[cluster], np.float32)
