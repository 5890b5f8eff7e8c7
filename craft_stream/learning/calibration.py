"""Scores of recent pairs by a Model that is being made: what its selectors expect of the stream."""

from __future__ import annotations

import numpy as np

from craft_stream.learning.quality import QualityModel
from craft_stream.learning.signals import fit_signals
from craft_stream.scoring.calibration import Calibration
from craft_stream.scoring.domain import DomainModel
from craft_stream.scoring.signals import SignalModel
from craft_stream.text.tokenized import TokenizedPairs

# Of the recent pairs: how many of those nearest to the domain are embedded, and one of how many others.
_EMBEDDED = (2048, 4)
_EXPENSIVE_EMBEDDED = (512, 16)


def calibrate(
    quality: QualityModel, domain: DomainModel, recent: TokenizedPairs
) -> tuple[Calibration, SignalModel]:
    """Score recent pairs, and weigh the signals that come with them on the way."""
    scorer, n = quality.scorer, len(recent)
    scores, _ = domain.score(recent.ngrams)
    cluster = scorer.clusters(recent)
    top, every = _EXPENSIVE_EMBEDDED if scorer.translation.cascade else _EMBEDDED
    others = np.sort(np.argsort(-scores, kind="stable")[top:])
    chosen = others[::every]
    weight = np.ones(n, np.float32)
    weight[others] = 0
    weight[chosen] = len(others) / max(len(chosen), 1)
    rows = np.flatnonzero(weight)
    log_clean, distance = np.full(n, np.nan, np.float32), np.zeros(n, np.float32)
    signals = SignalModel.none()
    if len(rows):
        embeddings = scorer.embed(recent, rows, cluster)
        cluster[rows] = embeddings.cluster
        features = scorer.features(recent, rows, embeddings)
        columns = recent.batch.columns.take(rows)
        signals = fit_signals(columns, np.exp(quality.of_features(features)), weight[rows])
        log_clean[rows] = quality.of_features(features, signals.evidence(columns.values))
        log_clean[rows[scorer.foreign(recent, rows)]] = np.nan
        distance[rows] = scorer.distance(embeddings)
    return Calibration(scores, log_clean, cluster, distance, weight), signals
