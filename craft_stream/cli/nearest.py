"""The target pairs that are nearest to a pair, by the embeddings that a Model assigns clusters by."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.files import read_chunks
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.settings import RecordSettings, Settings
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.target import TargetFollower

_RUN = 1024


class Near(NamedTuple):
    """A target pair beside another pair.

    Attributes:
        similarity: cosine of the source sides' embeddings, -1 to 1.
        target_similarity: of the target sides'.
        id, source, target: the pair.
    """

    similarity: float
    target_similarity: float
    id: str
    source: str
    target: str


def nearest(
    source: str,
    target: str,
    pairs: Iterable[tuple[Sequence[str], PairBatch]],
    model: Model,
    encoder: Embedder,
    count: int,
) -> list[Near]:
    """The `count` pairs whose source sides are nearest, the nearest first; memory does not grow with `pairs`.

    Args:
        source, target: the pair to compare with.
        pairs: ids and texts, in runs.
        model: with the stem weights.
        encoder: that the model was made with.
        count: at most so many are given.
    """
    x, y = _embedded(PairBatch.pack([source], [target]), model, encoder)
    best: list[Near] = []
    for ids, batch in pairs:
        sources, targets = _embedded(batch, model, encoder)
        index = faiss.IndexFlatIP(sources.shape[1])
        index.add(sources)
        similarities, rows = index.search(x, min(count, len(batch)))
        found = [
            Near(float(s), float(targets[r] @ y[0]), ids[r], batch.source.text(r), batch.target.text(r))
            for s, r in zip(similarities[0].tolist(), rows[0].tolist(), strict=True)
        ]
        best = heapq.nlargest(count, [*best, *found])
    return best


def _embedded(
    batch: PairBatch, model: Model, encoder: Embedder
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weights = model.translation.source_weights, model.translation.target_weights
    return encoder.embed_pairs(TokenizedPairs.of(batch), np.arange(len(batch)), weights)


def pairs_of_files(paths: Sequence[str], fields: RecordSettings) -> Iterator[tuple[Sequence[str], PairBatch]]:
    """Ids and texts of files of pairs; what is no pair is passed over."""
    for chunk in read_chunks(paths, fields):
        if len(chunk.pairs):
            yield chunk.identifiers(), chunk.pairs.batch


class _Target:
    """The sides of the target's pairs by their ids."""

    def __init__(self) -> None:
        self.pairs: dict[str, tuple[str, str]] = {}

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None:
        sides = zip(batch.source.texts(), batch.target.texts(), strict=True)
        self.pairs.update(zip(identifiers, sides, strict=True))

    def withdraw_target(self, identifiers: Sequence[str]) -> None:
        for identifier in identifiers:
            self.pairs.pop(identifier, None)


def pairs_of_topic(settings: Settings) -> Iterator[tuple[Sequence[str], PairBatch]]:
    """Ids and texts of the target topic as it stands, withdrawn pairs left out."""
    target = _Target()
    reader = KafkaTransport(settings.kafka).reader()
    try:
        TargetFollower(reader, settings.kafka.target_topic, settings.record).refresh(target)
    finally:
        reader.close()
    held = list(target.pairs.items())
    for start in range(0, len(held), _RUN):
        names, pairs = zip(*held[start : start + _RUN], strict=True)
        sources, sides = zip(*pairs, strict=True)
        yield names, PairBatch.pack(sources, sides)
