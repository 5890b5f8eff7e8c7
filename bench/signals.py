"""What signals add to P(clean): made from the labels of the development stream, so that it is known what they are worth.

    python -m bench.signals --corpus CORPUS --domain finance

prints a Markdown table: the area under the ROC curve of each signal alone, of P(clean) without it and with it, on pairs that
nothing was learned from.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.scoring.model import Model
from craft_stream.scoring.scorer import Scorer
from craft_stream.text.batch import PairBatch
from craft_stream.text.columns import Columns
from craft_stream.text.tokenized import TokenizedPairs

_LEARNED, _JUDGED = 50_000, 20_000
_BATCH = 1024


def made(sound: NDArray[np.bool_], odds: NDArray[np.float64], seed: int) -> dict[str, NDArray[np.float64]]:
    """Signals of known worth.

    Args:
        sound: bool [n], the labels.
        odds: log-odds of P(clean) without any signal.
        seed: of the noise.
    """
    rng, n = np.random.default_rng(seed), len(sound)
    strong = sound + rng.normal(0, 0.7, n)
    return {
        "tells, error .7": strong,
        "the same of half the pairs": np.where(rng.random(n) < 0.5, strong, np.nan),
        "tells, error 2": sound + rng.normal(0, 2, n),
        "noise": rng.normal(0, 1, n),
        "P(clean) itself, error 1": odds + rng.normal(0, 1, n),
    }


def area(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(truth.sum())
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


def learn(corpus: Corpus, domain: str, signals: Columns | None) -> Model:
    """A Model of the head of the stream."""
    target, pairs = corpus.target(domain), corpus.pairs.slice(0, _LEARNED)
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target([str(i) for i in range(len(target.sources))], target.pairs())
    if signals is not None:
        pairs = replace(pairs, signals=signals.slice(0, _LEARNED))
    for start in range(0, _LEARNED, _BATCH):
        learner.observe(pairs.slice(start, min(start + _BATCH, _LEARNED)))
    return learner.publish()


def odds(model: Model, pairs: PairBatch) -> NDArray[np.float64]:
    """Log-odds of P(clean), float64 [n]."""
    scorer, read, rows = Scorer(model, load_encoder()), TokenizedPairs.of(pairs), np.arange(len(pairs))
    features = scorer.features(read, rows, scorer.embed(read, rows, scorer.clusters(read)))
    log_clean = np.minimum(scorer.quality(features).astype(np.float64), -1e-7)
    return np.asarray(log_clean - np.log(-np.expm1(log_clean)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--domain", default="finance")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus = Corpus(arguments.corpus)
    used = corpus.pairs.slice(0, _LEARNED + _JUDGED)
    sound = corpus.labels.sound[: len(used)]
    judged = slice(_LEARNED, len(used))
    without = odds(learn(corpus, arguments.domain, None), used)
    base = area(without[judged], sound[judged])
    print("| signal | alone | P(clean) without it | with it |\n|---|---|---|---|")
    for name, values in made(sound, without, arguments.seed).items():
        columns = Columns(("signal",), values.astype(np.float32)[:, None])
        model = learn(corpus, arguments.domain, columns)
        pairs = replace(used, signals=columns).slice(_LEARNED, len(used))
        known = np.nan_to_num(values[judged], nan=float(np.nanmean(values)))
        found = area(odds(model, pairs), sound[judged])
        print(f"| {name} | {area(known, sound[judged]):.4f} | {base:.4f} | {found:.4f} |", flush=True)


if __name__ == "__main__":
    main()
