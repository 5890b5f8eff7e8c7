"""Learns the trees that ship in `craft_stream/scoring`: what people have judged, and noise that was made.

Each language's pairs are seen through a Model of its own, which has no trees yet. CORPORA holds a folder en-LANGUAGE for each,
as `bench.catalogue_corpus` makes it; DATA the judged pairs (see `bench.judged`).

  python -m bench.human_judgement features --data DATA --corpora CORPORA --output FEATURES
  python -m bench.human_judgement learn FEATURES --output craft_stream/scoring/human_judgement.npz

The same with an encoder learns trees that know the likeness of both sides too, from the languages that it knows:

  python -m bench.human_judgement features --data DATA --corpora CORPORA --encoder universal-sentence-encoder --output LIKENESS
  python -m bench.human_judgement learn LIKENESS --output craft_stream/scoring/human_judgement_of_likeness.npz

The files hold numbers only: features, thresholds and leaves of the trees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus
from bench.judged import judged_features, learn, read
from craft_stream.encoders import load_encoder
from craft_stream.scoring.quality import LIKENESS
from craft_stream.scoring.translation import JUDGED_FEATURES
from craft_stream.scoring.trees import BoostedTrees

DEPTH, TREES, RATE = 4, 150, 0.08
_RIDGE, _BINS = 5.0, 63
# Spoilt pairs and their like of a language's corpus, which together weigh as much as its judged pairs.
MADE = 2000


@dataclass(frozen=True)
class Examples:
    """Features of a language's pairs with what they are.

    Attributes:
        judged, made: float32 [n, F], [m, F], of pairs that people have judged, and of a corpus that was spoilt in part.
        clean, sound: bool [n], [m].
    """

    judged: NDArray[np.float32]
    clean: NDArray[np.bool_]
    made: NDArray[np.float32]
    sound: NDArray[np.bool_]

    @classmethod
    def load(cls, path: Path) -> Examples:
        """From a file that `features` wrote."""
        with np.load(path) as stored:
            if tuple(stored["names"].tolist()) not in (JUDGED_FEATURES, (*JUDGED_FEATURES, LIKENESS)):
                raise SystemExit(f"{path} holds other features than this version has: make it anew")
            return cls(stored["judged"], stored["clean"], stored["made"], stored["sound"])


def no_trees() -> BoostedTrees:
    """Trees that say nothing of any pair."""
    return BoostedTrees(
        np.zeros((1, 1), np.int16), np.zeros((1, 1), np.float32), np.zeros((1, 2), np.float32)
    )


def fit(languages: Iterable[Examples]) -> BoostedTrees:
    """Learn from languages, each weighing by its judged pairs; in each, translations weigh as much as what are none."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    inputs, truth, weights = [], [], []
    for own in languages:
        n = len(own.clean)
        inputs += [own.judged, own.made[:MADE]]
        truth += [own.clean, own.sound[:MADE]]
        weights += [np.where(own.clean, n / 2 / own.clean.sum(), n / 2 / (~own.clean).sum())]
        made = own.sound[:MADE]
        weights += [np.where(made, n / 2 / made.sum(), n / 2 / (~made).sum())]
    model = HistGradientBoostingClassifier(
        max_depth=DEPTH,
        max_leaf_nodes=1 << DEPTH,
        max_iter=TREES,
        learning_rate=RATE,
        l2_regularization=_RIDGE,
        max_bins=_BINS,
        early_stopping=False,
        random_state=0,
    )
    model.fit(np.concatenate(inputs), np.concatenate(truth), np.concatenate(weights))
    return _as_arrays(model)


def _as_arrays(model: Any) -> BoostedTrees:
    """Trees of equal depth: a leaf higher up is all leaves below it."""
    inner = (1 << DEPTH) - 1
    count = len(model._predictors)
    features, thresholds = np.zeros((count, inner), np.int16), np.full((count, inner), np.inf, np.float32)
    leaves = np.zeros((count, inner + 1), np.float32)

    def place(tree: int, nodes: Any, node: int, k: int) -> None:
        if k >= inner:
            leaves[tree, k - inner] = nodes[node]["value"]
        elif nodes[node]["is_leaf"]:
            place(tree, nodes, node, 2 * k + 1)
            place(tree, nodes, node, 2 * k + 2)
        else:
            features[tree, k], thresholds[tree, k] = nodes[node]["feature_idx"], nodes[node]["num_threshold"]
            place(tree, nodes, nodes[node]["left"], 2 * k + 1)
            place(tree, nodes, nodes[node]["right"], 2 * k + 2)

    for tree, (predictor,) in enumerate(model._predictors):
        place(tree, predictor.nodes, 0, 0)
    leaves[0] += np.float32(model._baseline_prediction.item())
    return BoostedTrees(features, thresholds, leaves)


def _features(chosen: argparse.Namespace) -> None:
    chosen.output.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(chosen.encoder)
    for language, judged in read(chosen.data).items():
        if chosen.language and language not in chosen.language.split(","):
            continue
        scorer, made = learn(
            judged, Corpus(chosen.corpora / f"en-{language}"), no_trees(), no_trees(), encoder
        )
        of_likeness = scorer.translation.likeness is not None
        if encoder.expensive and not of_likeness:
            print(f"{language}: not known to the encoder", flush=True)
            continue
        kept = np.flatnonzero(judged.clean | judged.bad)
        # Those that are learned from; the others would cost an encoder minutes.
        rows = MADE if of_likeness else len(made.sound)
        np.savez(
            chosen.output / f"{language}.npz",
            names=np.array((*JUDGED_FEATURES, LIKENESS) if of_likeness else JUDGED_FEATURES),
            judged=judged_features(scorer, judged.pairs.take(kept)),
            clean=judged.clean[kept],
            made=judged_features(scorer, made.pairs.slice(0, rows)),
            sound=made.sound[:rows],
        )
        print(f"{language}: {len(kept)} judged pairs, {rows} of the corpus", flush=True)


def _learn(chosen: argparse.Namespace) -> None:
    paths = sorted(chosen.features.glob("*.npz"))
    trees = fit([Examples.load(path) for path in paths if path.stem != chosen.without])
    np.savez_compressed(
        chosen.output, features=trees.features, thresholds=trees.thresholds, leaves=trees.leaves
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.human_judgement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    features = commands.add_parser("features", help="look at every language's pairs")
    features.add_argument("--data", type=Path, required=True, help="folder of judged pairs")
    features.add_argument("--corpora", type=Path, required=True, help="folder of en-LANGUAGE corpora")
    features.add_argument("--language", help="comma-separated; all of the data unless given")
    features.add_argument("--encoder", default="hashing", help="a kind (encoder.kind)")
    features.add_argument("--output", type=Path, required=True, help="folder; is made")
    features.set_defaults(run=_features)
    learning = commands.add_parser("learn", help="make the trees of them")
    learning.add_argument("features", type=Path)
    learning.add_argument("--without", help="a language to leave out")
    learning.add_argument("--output", type=Path, required=True)
    learning.set_defaults(run=_learn)
    chosen = parser.parse_args(arguments)
    chosen.run(chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
