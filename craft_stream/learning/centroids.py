"""Online centroids of the target's source side.

Each cluster keeps the sum of its members' embeddings, S_k += x on insertion and S_k -= x on deletion, and its centroid is
S_k / |S_k| (spherical k-means). Sums are of integers (units of 2^-30), so a deletion undoes an insertion exactly. When a
quarter of the reservoir has changed since the last fit, the clustering is made anew by faiss's k-means, one cluster for
each 8 pairs up to K: KL(target || accepted) .051 against .076 for centroids fixed while a reservoir grows from 200 pairs.
Accepted pairs never move a centroid: measured, that is a slow leak away from the target (drift .13) which never helped.
"""

from __future__ import annotations

from collections.abc import Mapping

import faiss
import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.embedding import nearest

_UNIT = 1 << 30
_PAIRS_PER_CLUSTER = 8
_REFIT_SHARE = 0.25
_ROUNDS = 15


class Centroids:
    """Clusters of the reservoir.

    Attributes:
        clustering: counts fits; cluster indices mean the same while it stays. Set it to go on from another learner's.
        columns: float32 [D, K], unit centroids.
    """

    def __init__(self, dimensions: int, clusters: int, seed: int = 0) -> None:
        self.clustering = 0
        self._most = clusters
        self._seed = seed
        self._members: dict[str, tuple[int, NDArray[np.int64]]] = {}
        self._sums = np.zeros((1, dimensions), np.int64)
        self._fitted = 0
        self._changes = 0
        self.columns = np.zeros((dimensions, 1), np.float32)

    def update(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        """Make the members those of `embeddings` (identifier to unit vector [D]): delete, insert, refit if due."""
        gone = self._members.keys() - embeddings.keys()
        changed = [
            name
            for name, x in embeddings.items()
            if name not in self._members or not np.array_equal(self._members[name][1], _fixed(x))
        ]
        self._changes += len(gone) + len(changed)
        if self._fitted == 0 or self._changes > _REFIT_SHARE * self._fitted:
            self._fit(embeddings)
            return
        for name in gone:
            self._delete(name)
        for name in changed:
            if name in self._members:
                self._delete(name)
            self._insert(name, embeddings[name])

    def _insert(self, name: str, x: NDArray[np.float32]) -> None:
        cluster = int(nearest(x[None], self.columns)[0])
        self._sums[cluster] += _fixed(x)
        self._members[name] = (cluster, _fixed(x))
        self._normalise(cluster)

    def _delete(self, name: str) -> None:
        cluster, fixed = self._members.pop(name)
        self._sums[cluster] -= fixed
        self._normalise(cluster)

    def _normalise(self, cluster: int) -> None:
        total = self._sums[cluster].astype(np.float64)
        length = np.linalg.norm(total)
        # An emptied cluster keeps its centroid: its share is 0, and a pair may come back.
        if length > 0:
            self.columns[:, cluster] = total / length

    def _fit(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        names = list(embeddings)
        x = np.ascontiguousarray(np.stack([embeddings[name] for name in names]))
        clusters = min(self._most, max(len(names) // _PAIRS_PER_CLUSTER, 1))
        means = faiss.Kmeans(
            x.shape[1],
            clusters,
            niter=_ROUNDS,
            spherical=True,
            seed=self._seed + 1,
            min_points_per_centroid=1,
            max_points_per_centroid=len(names),
        )
        means.train(x)
        self.columns = np.ascontiguousarray(np.asarray(means.centroids, np.float32).T)
        self._sums = np.zeros((clusters, x.shape[1]), np.int64)
        assigned = nearest(x, self.columns)
        self._members = {}
        for name, cluster, row in zip(names, assigned, x, strict=True):
            self._sums[cluster] += _fixed(row)
            self._members[name] = (int(cluster), _fixed(row))
        for cluster in range(clusters):
            self._normalise(cluster)
        self.clustering += 1
        self._fitted = len(names)
        self._changes = 0


def _fixed(x: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.rint(x.astype(np.float64) * _UNIT).astype(np.int64)
