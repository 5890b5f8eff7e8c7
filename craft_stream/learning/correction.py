"""The per-cluster correction of the wide regression, fitted to the target reservoir.

With e = y - yhat the residual of the wide regression and z = [1, x - xbar_c], for each cluster

    Theta_c = (Z'Z + diag(1, lam, ..., lam))^-1 Z'E,   lam = 5,

a ridge towards no correction, intercept included, so that a cluster of one pair is safe (plain leave-one-out would choose
lam of .3 to 1, which is too small on unseen text; 3 to 10 is flat). It is solved in its dual form,
R^-1 Z' (I + Z R^-1 Z')^-1 E, a matrix as wide as the cluster has pairs (30) instead of D + 1 (129); the inverse's diagonal is
1 - h_i. Where reservoir pairs train the classifier their residuals are leave-one-out, r_i / (1 - h_i) with h_i the leverage,
and a corruption of pair p is predicted without p: else the classifier learns that a tiny residual means the reservoir, and
rejects the stream.

With yhat = 0 and a nearly free intercept the same fit is the paper's own clustered regression: each cluster's alone, so that
its residual tells the domain. The residual above the wide regression, which the stream has taught, tells translations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from craft_stream.scoring.prediction import Correction, correct

# A cluster's variance is shrunk to that of all clusters with the weight of eight pairs.
_VARIANCE_PAIRS = 8.0
# Steps that a Model's weights are rounded to, about 1 % of their root mean square (.005): unrounded, they are 6.9 MB of a
# published Model of 27.7 MB, rounded 3.0.
_WEIGHT_STEPS = np.float32(16384)


@dataclass(frozen=True)
class CorrectionFit:
    """A correction and what is needed to predict without one of its pairs.

    Attributes:
        correction: the fit.
        clusters: int16 [n], cluster of each reservoir pair.
        gains: float32 [n, 1 + D], z_i' (Z'Z + R)^-1 / (1 - h_i).
        residuals: float32 [n, D], in-sample residuals of the reservoir.
    """

    correction: Correction
    clusters: NDArray[np.int16]
    gains: NDArray[np.float32]
    residuals: NDArray[np.float32]

    @property
    def rounded(self) -> Correction:
        """The correction as a Model holds it."""
        steps = np.round(self.correction.weights * _WEIGHT_STEPS)
        return replace(self.correction, weights=np.asarray(steps / _WEIGHT_STEPS, np.float32))

    def without(
        self, x: NDArray[np.float32], clusters: NDArray[np.int16], parents: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Corrections for x [m, D], each as if its reservoir pair `parents` [m] had not been fitted; float32 [m, D].

        Leaving pair p out changes Theta by -(Z'Z + R)^-1 z_p r_p' / (1 - h_p).
        """
        corrections = correct(x, clusters, self.correction)
        same = np.flatnonzero(self.clusters[parents] == clusters)
        p = parents[same]
        z = np.concatenate(
            [np.ones((len(same), 1), np.float32), x[same] - self.correction.means[clusters[same]]], axis=1
        )
        corrections[same] -= np.einsum("ij,ij->i", z, self.gains[p])[:, None] * self.residuals[p]
        return corrections


def fit_correction(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    predicted: NDArray[np.float32],
    clusters: NDArray[np.int16],
    count: int,
    intercept: float,
    slope: float,
) -> CorrectionFit:
    """Fit the correction of each of `count` clusters.

    Args:
        x, y: source and target embeddings of the reservoir, float32 [n, D].
        predicted: y as the wide regression predicts it, float32 [n, D].
        clusters: int16 [n].
        count: K.
        intercept, slope: ridge on the intercept and on the slopes; infinity: no correction.
    """
    n, dimensions = x.shape
    weights = np.zeros((count, 1 + dimensions, dimensions), np.float32)
    means = np.zeros((count, dimensions), np.float32)
    gains = np.zeros((n, 1 + dimensions), np.float32)
    residuals = np.zeros((n, dimensions), np.float32)
    squared = np.zeros(n)
    ridge = np.r_[intercept, np.full(dimensions, slope)]
    errors = (y - predicted).astype(np.float64)
    for cluster in range(count):
        members = np.flatnonzero(clusters == cluster)
        if not len(members):
            continue
        means[cluster] = x[members].mean(axis=0)
        z = np.concatenate([np.ones((len(members), 1)), x[members] - means[cluster]], axis=1)
        scaled = z / ridge
        inverse = np.linalg.inv(np.eye(len(members)) + scaled @ z.T)
        gain = inverse @ scaled
        rest = inverse @ errors[members]
        keep = np.diagonal(inverse)
        weights[cluster], residuals[members] = gain.T @ errors[members], rest
        gains[members] = gain / keep[:, None]
        squared[members] = (rest * rest).sum(axis=1) / (keep * keep)
    overall = float(squared.mean())
    sums = np.bincount(clusters, squared, count)
    sizes = np.bincount(clusters, minlength=count)
    variances = ((sums + _VARIANCE_PAIRS * overall) / (sizes + _VARIANCE_PAIRS)).astype(np.float32)
    return CorrectionFit(
        Correction(weights, means, np.maximum(variances, np.float32(1e-6))), clusters, gains, residuals
    )
