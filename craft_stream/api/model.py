"""Models in Python: learn one from a target and a sample of the stream, score any pairs with it, keep it in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_stream.api.pairs import FIELDS, Fields, ItemChunk, read_chunks, read_described
from craft_stream.concurrency import SerialExecutor
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters, check_names
from craft_stream.scoring import model as scoring
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Reason
from craft_stream.selection.faults import all_faults
from craft_stream.selection.methods import method_of
from craft_stream.signals import Signal, signals_of

if TYPE_CHECKING:
    import pyarrow as pa

_LABELS = np.array([reason.label for reason in Reason])


class Model:
    """An immutable version of all that scoring needs; made by `learn`, `load_model` or a selection.

    Attributes:
        scoring: what the engine decides by.
        encoder: that it was made with.

    Examples:
        >>> import craft_stream as cs
        >>> model = cs.learn([("take two tablets", "prenez deux comprimés")], [("a share", "une action")])
        >>> model.version, len(model.digest)
        (1, 16)
    """

    def __init__(self, model: scoring.Model, encoder: Embedder) -> None:
        self.scoring = model
        self.encoder = encoder

    @property
    def version(self) -> int:
        """Its number among the versions of one learner: 1, 2, ..."""
        return self.scoring.version

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of all that it holds but the number; equal Models, equal digests."""
        return self.scoring.digest

    def __repr__(self) -> str:
        return f"<craft_stream.Model {self.version} {self.digest}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as `craft-stream select --save-model` does; the file appears when it is whole.

        Raises:
            DataError: the file cannot be written.

        Examples:
            >>> import craft_stream as cs, os, tempfile
            >>> model = cs.learn([("take two tablets", "prenez deux comprimés")], [("a share", "une action")])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(os.path.join(folder, "model"))
            ...     os.listdir(folder)
            ['model']
        """
        place = Path(path)
        partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(self.scoring.encode())
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DataError(f"cannot write the model {place}: {error.strerror}") from None

    def score(
        self,
        pairs: Iterable[Any],
        *,
        fields: Fields = FIELDS,
        signals: Sequence[str | Signal] = (),
        **settings: Any,
    ) -> pa.Table:
        """Score pairs, each by itself: rows can be compared, whatever stands around them and whatever was accepted before.

        A stream's decision adds what depends on the stream: a gate, the help for clusters that are behind, a threshold, room in
        the budget, duplicates. None of that is in here. An encoder that is expensive embeds every pair.

        Args:
            pairs: as the stream of `select`.
            fields: names of the two sides in mappings and frames.
            signals: as for `select`; those that the Model weighs.
            **settings: of `SelectionParameters`: `method`, `domain_weight`, `quality_weight`, `quality_floor`.

        Returns:
            An Arrow table, a row for each item, in order:

            - source, target: string, the texts; null where there is none.
            - domain: float, how near it is to the target, in deviations of the stream.
            - quality: float, log P(it is a clean translation), at most 0.
            - score: float, domain_weight x domain + quality_weight x quality; with method "craft" the paper's distance.
            - cluster: int16, of the target, the nearest.
            - reason: string, what speaks against the pair whatever its score (as in `Decision.reason`); null: nothing.

            Of what is no pair all is null but the reason.

        Raises:
            ConfigurationError: a setting is unknown or not allowed, a frame lacks a column, or pyarrow is not installed.
            IntegrityError: the Model tells languages by what is not installed here, or weighs a signal that is not named.

        Examples:
            >>> import craft_stream as cs
            >>> domain = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(200)]
            >>> crawl = [(f"the price of share {n} rose", f"le cours de l’action {n} monte") for n in range(1000, 2000)]
            >>> crawl[::20] = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(1000, 2000, 20)]
            >>> table = cs.learn(domain, crawl).score([crawl[0], (crawl[0][0], crawl[1][1]), ("", "x")])
            >>> table["reason"].to_pylist()
            [None, 'misaligned', 'empty_side']
            >>> table["score"].is_null().to_pylist()
            [False, False, True]
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise ConfigurationError("scores come as an Arrow table: install pyarrow") from None
        check_names(settings, SelectionParameters)
        selection, scorer = SelectionParameters(**settings), Scorer(self.scoring, self.encoder)
        schema = pa.schema(
            [("source", pa.string()), ("target", pa.string())]
            + [(name, pa.float32()) for name in ("domain", "quality", "score")]
            + [("cluster", pa.int16()), ("reason", pa.string())]
        )
        batches = (
            pa.RecordBatch.from_pydict(_scores(chunk, scorer, selection), schema)
            for chunk in read_chunks(pairs, fields, signals_of(signals))
        )
        return pa.Table.from_batches(batches, schema)


def learn(
    target: Iterable[Any] | None = None,
    sample: Iterable[Any] = (),
    *,
    target_source: Iterable[str] | None = None,
    target_target: Iterable[str] | None = None,
    fields: Fields = FIELDS,
    target_fields: Fields | None = None,
    encoder: str | Embedder = "hashing",
    signals: Sequence[str | Signal] = (),
    **settings: Any,
) -> Model:
    """Learn a Model once, to score with or to decide by.

    Args:
        target: pairs that describe the domain, in any form that `select` takes.
        sample: pairs of the stream, best a random part: what is usual there, and what a translation looks like, is learned
            from them. 50,000 are plenty; of more, `sample_rate` is learned from.
        target_source: in place of `target`: texts of the domain in the language of the sources, as for `select`.
        target_target: the same in the language of the translations.
        fields: names of the two sides in mappings and frames.
        target_fields: the same for the target; None: `fields`.
        encoder: a kind or an encoder, as for `select`.
        signals: of the sample's pairs, as for `select`.
        **settings: of `LearningParameters`, by name: `seed`, `clusters`, ...

    Raises:
        ConfigurationError: a setting is unknown or not allowed, a frame lacks a column, or not just one target is given.
        TargetError: the target holds no pair, more than half of its pairs are copies of their sources, or it is texts of one
            side and the sample holds no pair.

    Examples:
        >>> import craft_stream as cs
        >>> domain = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(200)]
        >>> crawl = [(f"the price of share {n} rose", f"le cours de l’action {n} monte") for n in range(1000, 2000)]
        >>> crawl[::20] = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(1000, 2000, 20)]
        >>> model = cs.learn(domain, crawl, seed=3)
        >>> decided = list(cs.select(crawl, model=model, rate=0.1))
        >>> {decision.model_version for pair, decision in decided} == {model.version}
        True
    """
    check_names(settings, LearningParameters)
    embedder = load_encoder(encoder) if isinstance(encoder, str) else encoder
    learner = Learner(Parameters.of(embedder.digest, **settings), embedder, SerialExecutor("helper"))
    for names, batch in read_described(target, target_source, target_target, target_fields or fields):
        learner.observe_target(names, batch)
    for chunk in read_chunks(sample, fields, signals_of(signals)):
        learner.observe(chunk.pairs.batch)
    return Model(learner.publish(), embedder)


def load_model(path: str | os.PathLike[str], encoder: str | Embedder = "hashing") -> Model:
    """A Model that was kept in a file, by `Model.save` or by `craft-stream select --save-model`.

    Args:
        path: of the file.
        encoder: that it was made with.

    Raises:
        DataError: the file cannot be read.
        IntegrityError: it holds no Model, a damaged one, one of another format, or one of another encoder.

    Examples:
        >>> import craft_stream as cs, os, tempfile
        >>> pairs = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(200)]
        >>> model, folder = cs.learn(pairs, pairs), tempfile.TemporaryDirectory()
        >>> model.save(os.path.join(folder.name, "model"))
        >>> cs.load_model(os.path.join(folder.name, "model")).digest == model.digest
        True
        >>> folder.cleanup()
    """
    embedder = load_encoder(encoder) if isinstance(encoder, str) else encoder
    found = read_model(path)
    Scorer(found, embedder)  # refuses what is of another encoder
    return Model(found, embedder)


def read_model(path: str | os.PathLike[str]) -> scoring.Model:
    """What the engine decides by, from a file; raises as `load_model` does."""
    try:
        return scoring.Model.decode(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the model {os.fspath(path)}: {error.strerror}") from None


def _scores(chunk: ItemChunk[Any], scorer: Scorer, selection: SelectionParameters) -> dict[str, list[Any]]:
    """The columns of a chunk, a value for each item."""
    pairs, rows, model = chunk.pairs, np.arange(len(chunk.pairs)), scorer.model
    domain = scorer.score_domain(pairs)
    embeddings = scorer.embed(pairs, rows, domain.cluster)
    features = scorer.features(pairs, rows, embeddings)
    quality, none = scorer.quality(features), np.zeros(len(rows), np.float32)
    method = method_of(selection, model)
    at_gate = method.gate_scores(domain.domain, scorer.distance(embeddings), embeddings.cluster, none)
    reasons = all_faults(features, quality, selection.quality_floor, scorer.foreign(pairs, rows))
    columns = {
        "source": pairs.batch.source.texts(),
        "target": pairs.batch.target.texts(),
        "domain": domain.domain.tolist(),
        "quality": quality.tolist(),
        "score": method.scores(at_gate, quality, none).tolist(),
        "cluster": embeddings.cluster.tolist(),
        "reason": [None if reason == Reason.ACCEPTED else _LABELS[reason] for reason in reasons],
    }
    if not chunk.refused:
        return columns
    spread = {name: _spread(values, chunk) for name, values in columns.items()}
    for row, reason in chunk.refused:
        spread["reason"][row] = str(reason)
    return spread


def _spread(values: list[Any], chunk: ItemChunk[Any]) -> list[Any]:
    """Values of the pairs at the places of their items, None at those of the others."""
    found: list[Any] = [None] * len(chunk.items)
    for row, value in zip(chunk.rows.tolist(), values, strict=True):
        found[row] = value
    return found
