"""P(clean) against people: how well it tells crawled pairs that people call translations from those that they do not.

DATA holds judged pairs (see `bench.judged`), CORPORA a folder en-LANGUAGE for each language, as `bench.catalogue_corpus` makes
it: the rest of the stream that the language's Model is learned from. With FEATURES (`bench.human_judgement features`) the trees
are learned anew for each language without it; else those that ship are used, which know the labels of all of them.

  python -m bench.noise --data DATA --corpora CORPORA --features FEATURES --picture docs/pictures/reliability.svg

prints Markdown tables. Translations are V and F, what is none A and L; MT, E and T are left out but in the table of labels.
`--encoder universal-sentence-encoder --likeness LIKENESS` does the same with an encoder of both languages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus
from bench.human_judgement import Examples, fit
from bench.judged import SCORES, Judged, judge, learn, log_clean, read
from bench.signals import area
from craft_stream.encoders import load_encoder
from craft_stream.parameters import SelectionParameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.trees import BoostedTrees, human_judgement, human_judgement_of_likeness
from craft_stream.selection.decisions import Reason

# Share of the translations that is kept where it is said how much of the rest is.
_KEPT = 0.93
_LENGTHS = {
    "to 5 words": (0, 5),
    "6 to 10": (6, 10),
    "11 to 20": (11, 20),
    "21 to 40": (21, 40),
    "longer": (41, 10**6),
}
_LEAST = 20  # pairs of either class, for a figure
_BINS = 10
# Pairs of a corpus that an encoder which takes milliseconds a text looks at.
_EXPENSIVE_MADE = 3000

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Result:
    """What was found of one language.

    Attributes:
        judged: its pairs.
        probability: P(clean), float64 [n].
        faults: `Reason` of what makes each no good translation, uint8 [n].
        made: AUC on the noise that was made of its corpus.
    """

    judged: Judged
    probability: NDArray[np.float64]
    faults: NDArray[np.uint8]
    made: float


def auc(scores: Scores, clean: NDArray[np.bool_], bad: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of clean against bad pairs whose score is known; NaN where there are too few."""
    rows = (clean | bad) & ~np.isnan(scores)
    few = min((clean & rows).sum(), (bad & rows).sum()) < _LEAST
    return float("nan") if few else area(scores[rows], clean[rows])


def kept(scores: Scores, clean: NDArray[np.bool_], bad: NDArray[np.bool_]) -> float:
    """Share of bad pairs that is kept where the threshold keeps .93 of the clean ones."""
    return float((scores[bad] >= np.quantile(scores[clean], 1 - _KEPT)).mean())


def brier(probability: Scores, clean: NDArray[np.bool_]) -> float:
    """Mean squared difference of probability and truth."""
    return float(((probability - clean) ** 2).mean())


def reliability(probability: Scores, clean: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """By tenths of the probability: its mean, the share of clean pairs, and how many there are; empty ones left out."""
    places = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    rows = [places == place for place in range(_BINS)]
    return [(float(probability[r].mean()), float(clean[r].mean()), int(r.sum())) for r in rows if r.any()]


def picture(points: Sequence[tuple[float, float, int]]) -> str:
    """A reliability diagram as SVG: dots as large as they have pairs, beside the diagonal."""
    most = max(count for _, _, count in points)
    dots = "".join(
        f'<circle cx="{40 + 300 * x:.1f}" cy="{320 - 300 * y:.1f}" r="{3 + 9 * (count / most) ** 0.5:.1f}"/>'
        for x, y, count in points
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 360" font-family="sans-serif" font-size="12">'
        '<rect width="360" height="360" fill="#fff"/><g fill="none" stroke="#888">'
        '<rect x="40" y="20" width="300" height="300"/><path d="M40 320L340 20"/></g>'
        f'<g fill="#1f6feb" fill-opacity=".7">{dots}</g><g fill="#222">'
        '<text x="140" y="350">P(clean), mean of a tenth</text><text x="36" y="336">0</text><text x="334" y="336">1</text>'
        '<text transform="rotate(-90 20 240)" x="20" y="240">share of translations</text></g></svg>\n'
    )


def _without(language: str, features: Path | None, shipped: BoostedTrees) -> BoostedTrees:
    """Trees of all languages but one."""
    if features is None:
        return shipped
    return fit([Examples.load(path) for path in sorted(features.glob("*.npz")) if path.stem != language])


def _measure(language: str, judged: Judged, chosen: argparse.Namespace, encoder: Embedder) -> Result:
    trees = _without(language, chosen.features, human_judgement())
    likeness = _without(language, chosen.likeness, human_judgement_of_likeness())
    scorer, made = learn(judged, Corpus(chosen.corpora / f"en-{language}"), trees, likeness, encoder)
    quality, faults = judge(scorer, judged.pairs)
    rows = min(len(made.sound), _EXPENSIVE_MADE) if encoder.expensive else len(made.sound)
    found = area(log_clean(scorer, made.pairs.slice(0, rows)), made.sound[:rows])
    return Result(judged, np.exp(quality.astype(np.float64)), faults, found)


def _row(result: Result) -> dict[str, float]:
    """The figures of the first table."""
    judged, p = result.judged, result.probability
    clean, bad, floor = judged.clean, judged.bad, np.exp(SelectionParameters().quality_floor)
    seen = clean | bad
    return {
        "AUC": auc(p, clean, bad),
        "both agree": auc(p, clean & judged.agreed, bad & judged.agreed),
        **{name: auc(judged.scores[name], clean, bad) for name in SCORES if name in judged.scores},
        "made noise": result.made,
        "A, L kept at .93 of V, F": kept(p, clean, bad),
        "V, F above the floor": float((p[clean] >= floor).mean()),
        "A, L above the floor": float((p[bad] >= floor).mean()),
        "Brier": brier(p[seen], clean[seen]),
    }


def _parts(result: Result) -> dict[str, dict[str, float]]:
    """AUC by label, release and length."""
    judged, p = result.judged, result.probability
    clean, bad, words = judged.clean, judged.bad, judged.words
    return {
        "label": {name: auc(p, clean, judged.labels == name) for name in ("A", "L", "T", "E", "MT")},
        "release": {
            name: auc(p, clean & (judged.releases == name), bad & (judged.releases == name))
            for name in sorted(set(judged.releases.tolist()))
        },
        "length": {
            name: auc(p, clean & (low <= words) & (words <= high), bad & (low <= words) & (words <= high))
            for name, (low, high) in _LENGTHS.items()
        },
    }


def reasons(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Share of each reason that the pairs of a label are refused for, of all languages together; `passed` of none."""
    labels = np.concatenate([result.judged.labels for result in results])
    faults = np.concatenate([result.faults for result in results])
    found: dict[str, dict[str, float]] = {}
    for label in ("V", "F", "MT", "E", "T", "A", "L"):
        own = faults[labels == label]
        shares = {reason.label: float((own == reason).mean()) if len(own) else np.nan for reason in Reason}
        found[label] = {"passed": shares.pop(Reason.ACCEPTED.label)} | shares
    seen = [name for name in found["V"] if any(row[name] > 0 for row in found.values())]
    return {label: {name: row[name] for name in seen} for label, row in found.items()}


def table(rows: Mapping[str, Mapping[str, float]], means: bool = True) -> str:
    """Markdown, a line a language, the means last."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))

    def cells(values: list[float]) -> str:
        return " | ".join("" if np.isnan(value) else f"{value:.3f}".lstrip("0") for value in values)

    lines = [f"| {key} | {cells([row.get(name, np.nan) for name in names])} |" for key, row in rows.items()]

    def mean(name: str) -> float:
        known = [row[name] for row in rows.values() if name in row and not np.isnan(row[name])]
        return float(np.mean(known)) if known else np.nan

    head = f"| | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}"
    last = [f"| mean | {cells([mean(name) for name in names])} |"] if means else []
    return "\n".join([head, *lines, *last])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.noise", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of judged pairs")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of en-LANGUAGE corpora")
    parser.add_argument(
        "--features", type=Path, help="leave each language out of what its trees are learned from"
    )
    parser.add_argument("--encoder", default="hashing", help="a kind (encoder.kind)")
    parser.add_argument(
        "--likeness", type=Path, help="the same as FEATURES of what knows the likeness of both sides"
    )
    parser.add_argument("--language", help="comma-separated; all of the data unless given")
    parser.add_argument("--output", type=Path, help="append JSON lines, one a language")
    parser.add_argument("--picture", type=Path, help="write a reliability diagram (SVG)")
    chosen = parser.parse_args(arguments)
    encoder = load_encoder(chosen.encoder)
    rows: dict[str, dict[str, float]] = {}
    parts: dict[str, dict[str, dict[str, float]]] = {}
    every: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
    results: list[Result] = []
    for language, judged in read(chosen.data).items():
        if chosen.language and language not in chosen.language.split(","):
            continue
        result = _measure(language, judged, chosen, encoder)
        rows[language], own = _row(result), _parts(result)
        for kind, figures in own.items():
            parts.setdefault(kind, {})[language] = figures
        results.append(result)
        seen = judged.clean | judged.bad
        every.append((result.probability[seen], judged.clean[seen]))
        line = json.dumps({"language": language, **rows[language], **own})
        print(line, file=sys.stderr, flush=True)
        if chosen.output:
            with open(chosen.output, "a", encoding="utf-8") as file:
                file.write(line + "\n")
    print(table(rows))
    for kind, figures_of in parts.items():
        print(f"\nAUC by {kind}:\n\n{table(figures_of)}")
    print(f"\nReasons by label:\n\n{table(reasons(results), means=False)}")
    points = reliability(*(np.concatenate(column) for column in zip(*every, strict=True)))
    print("\n| P(clean) | share of translations | pairs |\n|---|---|---|")
    for mean, share, count in points:
        print(f"| {mean:.2f} | {share:.2f} | {count} |")
    if chosen.picture:
        chosen.picture.write_text(picture(points), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
