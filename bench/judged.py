"""Crawled pairs that people have judged, and a Model of their language to judge them by.

The data are a folder of `*.jsonl.zst` with `pair` ("en-fr"), `src`, `tgt`, `label`, and where they are known `label2` (a second
person's), `release` and scores of others. Labels are those of ParaCrawl's human evaluations: V valid, F free translation, MT
machine translation, E translation error, T wrong segmentation, A misaligned, L wrong language.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from bench.corpus import Corpus
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.scorer import Scorer
from craft_stream.scoring.trees import BoostedTrees
from craft_stream.selection.faults import all_faults
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

TRANSLATION, NONE = ("V", "F"), ("A", "L")
SCORES = ("bicleaner", "zipporah", "hunalign")
_TARGET_PAIRS = 2000
_STREAM_PAIRS = 12_000  # of which the made noise is looked at
_BATCH = 1024


@dataclass(frozen=True)
class Judged:
    """Judged pairs of one language.

    Attributes:
        pairs: their texts.
        labels, seconds: str [n], of the first and the second person; "" where there is none.
        releases: str [n].
        scores: of others, float64 [n] by name, NaN where it is not known.
    """

    pairs: PairBatch
    labels: NDArray[np.str_]
    seconds: NDArray[np.str_]
    releases: NDArray[np.str_]
    scores: dict[str, NDArray[np.float64]]

    @property
    def clean(self) -> NDArray[np.bool_]:
        """Bool [n]: a translation, to the first person."""
        return np.isin(self.labels, TRANSLATION)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Bool [n]: no translation, to the first person."""
        return np.isin(self.labels, NONE)

    @property
    def agreed(self) -> NDArray[np.bool_]:
        """Bool [n]: to both."""
        clean, bad = np.isin(self.seconds, TRANSLATION), np.isin(self.seconds, NONE)
        return (self.clean & clean) | (self.bad & bad)

    @property
    def words(self) -> NDArray[np.int64]:
        """Of the source side, int64 [n]."""
        return np.array([len(text.split()) for text in self.pairs.source.texts()], np.int64)


def read(folder: Path) -> dict[str, Judged]:
    """Judged pairs by language, that which is not English."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.jsonl.zst")):
        with open(path, "rb") as file:
            for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
                row = orjson.loads(line)
                rows.setdefault(row["pair"].removeprefix("en-"), []).append(row)
    return {language: _judged(own) for language, own in rows.items()}


def _judged(rows: Sequence[dict[str, Any]]) -> Judged:
    def texts(name: str) -> NDArray[np.str_]:
        return np.array([str(row.get(name) or "") for row in rows])

    def numbers(name: str) -> NDArray[np.float64]:
        found = [row.get(name) for row in rows]
        return np.array([np.nan if value in (None, "") else float(value) for value in found])

    return Judged(
        PairBatch.pack([row["src"] for row in rows], [row["tgt"] for row in rows]),
        texts("label"),
        texts("label2"),
        texts("release"),
        {name: numbers(name) for name in SCORES if any(row.get(name) for row in rows)},
    )


@dataclass(frozen=True)
class Made:
    """Pairs of a corpus, a part of them spoilt by us.

    Attributes:
        pairs: their texts.
        sound: bool [n], the labels.
    """

    pairs: PairBatch
    sound: NDArray[np.bool_]


def learn(
    judged: Judged,
    corpus: Corpus,
    judgement: BoostedTrees,
    likeness: BoostedTrees | None = None,
    encoder: Embedder | None = None,
    seed: int = 0,
) -> tuple[Scorer, Made]:
    """A Model of a corpus's stream and the judged pairs, shuffled, with no label seen; and a sample of the corpus.

    Args:
        judged: pairs.
        corpus: of the same language.
        judgement, likeness: trees (`scoring.trees`).
        encoder: None: the default one.
        seed: of all that is drawn.
    """
    rng, encoder = np.random.default_rng(seed), encoder or load_encoder()
    targets = [
        corpus.target(path.name.partition(".")[0]) for path in sorted((corpus.folder / "target").iterdir())
    ]
    target = PairBatch.concatenate([texts.pairs() for texts in targets])
    target = target.take(np.sort(rng.permutation(len(target))[:_TARGET_PAIRS]))
    stream = PairBatch.concatenate([corpus.pairs, judged.pairs])
    stream = stream.take(rng.permutation(len(stream)))
    stream = PairBatch(stream.source, stream.target, np.arange(len(stream)))
    learner = Learner(Parameters(), encoder, judgement=judgement, likeness=likeness)
    learner.observe_target([str(i) for i in range(len(target))], target)
    for start in range(0, len(stream), _BATCH):
        learner.observe(stream.slice(start, min(start + _BATCH, len(stream))))
    rows = np.sort(rng.permutation(len(corpus.pairs))[:_STREAM_PAIRS])
    return Scorer(learner.publish(), encoder), Made(corpus.pairs.take(rows), corpus.labels.sound[rows])


def _blocks(pairs: PairBatch) -> Iterator[TokenizedPairs]:
    for start in range(0, len(pairs), _BATCH):
        yield TokenizedPairs.of(pairs.slice(start, min(start + _BATCH, len(pairs))))


def judged_features(scorer: Scorer, pairs: PairBatch) -> NDArray[np.float32]:
    """What the trees look at, with an encoder of both languages the likeness of the sides too, float32 [n, F]."""
    likeness, found = scorer.translation.likeness, []
    for block in _blocks(pairs):
        rows = np.arange(len(block))
        columns = [scorer.judged_features(block, rows)]
        if likeness is not None:
            x, y, _ = scorer.embed(block, rows, scorer.clusters(block))
            columns.append(likeness.scaled(x, y)[:, None])
        found.append(np.concatenate(columns, axis=1))
    return np.concatenate(found)


def log_clean(scorer: Scorer, pairs: PairBatch) -> NDArray[np.float32]:
    """Log P(clean), float32 [n]."""
    return judge(scorer, pairs)[0]


def judge(scorer: Scorer, pairs: PairBatch) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Log P(clean), float32 [n], and what makes each no good translation (`selection.faults`), `Reason` as uint8 [n]."""
    found, faults, floor = [], [], SelectionParameters().quality_floor
    for block in _blocks(pairs):
        rows = np.arange(len(block))
        features = scorer.features(block, rows, scorer.embed(block, rows, scorer.clusters(block)))
        quality = scorer.quality(features)
        found.append(quality)
        faults.append(all_faults(features, quality, floor, scorer.foreign(block, rows)))
    return np.concatenate(found), np.concatenate(faults)
