"""CRAFT as published (arXiv 2604.22693), in batch: our reference implementation of the paper, for comparison.

k-means of the target set's source embeddings; the budget divided among the clusters as the target set is, by
largest remainders; inside a cluster the pairs win whose target embedding y has the smallest conditional
expected distance E[|y - Y|^2 | x, c] = |y - E[Y | x, c]|^2 + a constant. The conditional mean is the
cluster's mean of Y, or, with cluster regression, the ridge regression of Y on X inside the cluster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus, nearest, spherical_kmeans
from bench.scenarios import Scenario
from bench.selection import Selection


def select(
    corpus: Corpus,
    scenario: Scenario,
    regression: bool,
    clusters: int = 64,
    ridge: float = 3.0,
) -> Selection:
    """Select the budget from the whole stream at once.

    Args:
        corpus: the corpus; its evaluation embedding is the encoder here, which favours CRAFT's KL divergence.
        scenario: the stream and the budget.
        regression: condition on x by a regression inside the cluster.
        clusters: K of the k-means.
        ridge: penalty of the regression's slope (the intercept has none).
    """
    result = Selection()
    with result.stage("embed"):
        texts = corpus.target(scenario.domain)
        target_x, target_y = corpus.source_embedding(texts.sources), corpus.target_embedding(texts.targets)
        x, y = corpus.source_vectors[scenario.order], corpus.target_vectors[scenario.order]
    with result.stage("cluster"):
        centroids = spherical_kmeans(target_x, clusters)
        owners, assigned = nearest(target_x, centroids), nearest(x, centroids)
    with result.stage("select"):
        quotas = apportion(np.bincount(owners, minlength=len(centroids)), scenario.budget)
        chosen = []
        for cluster, quota in enumerate(quotas):
            own, members = np.flatnonzero(owners == cluster), np.flatnonzero(assigned == cluster)
            if not len(own) or not len(members):
                continue
            expected = _expected(target_x[own], target_y[own], x[members], ridge if regression else None)
            distance = ((y[members] - expected) ** 2).sum(1)
            chosen.append(members[np.argsort(distance, kind="stable")[:quota]])
    result.chosen = np.sort(np.concatenate(chosen))
    return result


def apportion(counts: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """`budget` divided in proportion to `counts`, whole numbers by largest remainders."""
    exact: NDArray[np.float64] = counts * budget / counts.sum()
    quotas: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    quotas[np.argsort(quotas - exact, kind="stable")[: budget - int(quotas.sum())]] += 1
    return quotas


def _expected(
    target_x: NDArray[np.float32], target_y: NDArray[np.float32], x: NDArray[np.float32], ridge: float | None
) -> NDArray[np.float32]:
    """E[Y | x] inside one cluster, float32 [n, d]: the mean, or with `ridge` the ridge regression on x."""
    mean_y = target_y.mean(0)
    if ridge is None:
        return np.broadcast_to(mean_y, x.shape)
    mean_x = target_x.mean(0)
    centred = target_x - mean_x
    # the dual form: a cluster has far fewer target pairs than dimensions
    gram = centred @ centred.T + ridge * np.eye(len(centred), dtype=np.float32)
    slope = centred.T @ np.linalg.solve(gram, target_y - mean_y)
    expected: NDArray[np.float32] = mean_y + (x - mean_x) @ slope
    return expected
