"""Select from a stream in Python: every pair, in order, with its decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from craft_stream.api.model import Model
from craft_stream.api.pairs import (
    FIELDS,
    Fields,
    Frame,
    ItemChunk,
    read_chunks,
    read_described,
    read_excluded,
)
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.session import SelectionSession
from craft_stream.signals import Signal, signals_of

T = TypeVar("T")

_BUDGETS = {"budget", "budget_rate", "budget_count", "count", "number", "top", "n"}  # what others call `rate`
_LABELS = {int(reason): reason.label for reason in Reason}


class Decision(NamedTuple):
    """What was decided of an item of a stream.

    Attributes:
        accepted: it is training data for the domain.
        reason: "accepted", or why not: a label of `selection.decisions.Reason` (docs/explanation/selection.md); of what is
            no pair one of "missing_side", "not_text", "empty_side", "too_large" and "not_object" (no sequence, no mapping).
        score: what was compared with the threshold; NaN for what is no pair.
        threshold: in force for it; NaN for what is no pair.
        domain: domain score, in deviations of the stream; NaN for what is no pair.
        quality: log P(clean); NaN where an earlier test decided.
        cluster: of the target, the nearest; -1 where none was looked for.
        model_version: that scored it; 0 for what is no pair.

    Examples:
        >>> import craft_stream as cs
        >>> model = cs.learn([("take two tablets", "prenez deux comprimés")], [])
        >>> (pair, decision), = cs.select([("", "deux comprimés")], model=model)
        >>> decision.accepted, decision.reason, decision.model_version
        (False, 'empty_side', 0)
    """

    accepted: bool
    reason: str
    score: float
    threshold: float
    domain: float
    quality: float
    cluster: int
    model_version: int


class Selection(Generic[T]):
    """Items of a stream with their decisions: an iterator, to be run through once. `select` makes it.

    Examples:
        >>> import craft_stream as cs
        >>> domain = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(200)]
        >>> selection = cs.select(domain, target=domain, rate=0.5)
        >>> pair, decision = next(selection)
        >>> pair == domain[0], selection.model.version, selection.summary()["seen"]
        (True, 1, 200)
    """

    def __init__(
        self, chunks: Iterator[ItemChunk[T]], session: SelectionSession[ItemChunk[T]], encoder: Embedder
    ) -> None:
        self._session = session
        self._encoder = encoder
        self._undecidable: Counter[str] = Counter()
        self._decided = (
            pair for chunk, decisions in session.decide(chunks) for pair in self._of_chunk(chunk, decisions)
        )

    def __iter__(self) -> Iterator[tuple[T, Decision]]:
        return self._decided

    def __next__(self) -> tuple[T, Decision]:
        return next(self._decided)

    def _of_chunk(self, chunk: ItemChunk[T], decisions: Decisions) -> Iterator[tuple[T, Decision]]:
        self._undecidable.update(str(reason) for _, reason in chunk.refused)
        return _decided(chunk, decisions)

    @property
    def model(self) -> Model | None:
        """The version in force; None before the first."""
        found = self._session.model
        return None if found is None else Model(found, self._encoder)

    def summary(self) -> dict[str, Any]:
        """What the ledger says of the pairs decided so far: seen, accepted, by reason, divergence from the target, ...

        And of the target, how many pairs of it were learned from (`target_pairs`), and how many were not, by what was found of
        them (`target_left_out`): `copy`, `duplicate`, `other_language`, `no_translation`. What is no pair is counted apart:
        `undecidable`, `undecidable_by_reason`.
        """
        return self._session.summary() | {
            "undecidable": self._undecidable.total(),
            "undecidable_by_reason": dict(sorted(self._undecidable.items())),
        }


@overload
def select(
    stream: Frame,
    target: Iterable[Any] | None = ...,
    rate: float = ...,
    *,
    target_source: Iterable[str] | None = ...,
    target_target: Iterable[str] | None = ...,
    model: Model | None = ...,
    fields: Fields = ...,
    target_fields: Fields | None = ...,
    encoder: str | Embedder = ...,
    exclude: Iterable[Any] | None = ...,
    signals: Sequence[str | Signal] = ...,
    **settings: Any,
) -> Selection[dict[str, Any]]: ...


@overload
def select(
    stream: Iterable[T],
    target: Iterable[Any] | None = ...,
    rate: float = ...,
    *,
    target_source: Iterable[str] | None = ...,
    target_target: Iterable[str] | None = ...,
    model: Model | None = ...,
    fields: Fields = ...,
    target_fields: Fields | None = ...,
    encoder: str | Embedder = ...,
    exclude: Iterable[Any] | None = ...,
    signals: Sequence[str | Signal] = ...,
    **settings: Any,
) -> Selection[T]: ...


def select(
    stream: Any,
    target: Iterable[Any] | None = None,
    rate: float = 0.05,
    *,
    target_source: Iterable[str] | None = None,
    target_target: Iterable[str] | None = None,
    model: Model | None = None,
    fields: Fields = FIELDS,
    target_fields: Fields | None = None,
    encoder: str | Embedder = "hashing",
    exclude: Iterable[Any] | None = None,
    signals: Sequence[str | Signal] = (),
    **settings: Any,
) -> Selection[Any]:
    """Decide of every item of a stream, in order, whether it is training data for the domain of a target.

    The decisions are those of `craft-stream select` on the same records in a pipe. The first `prime_pairs` (50,000) are read
    before the first is decided, and kept until then; none is lost. A stream may be endless.

    Args:
        stream: an iterable of pairs: sequences whose first two values are source and target, or mappings; or a data frame or
            table (pandas, polars, Arrow, whatever narwhals knows or has `__arrow_c_stream__`), an iterable of these, a Hugging
            Face dataset. Rows of frames are handed back as dicts.
        target: pairs that describe the domain, in any of these forms; read at once. An item that is no pair is warned of; of
            those with the same `id` (mappings), or the same texts, the last counts.
        target_source: in place of `target`: texts of the domain in the language of the sources, without translations (any
            iterable of str, so also a column of a frame).
        target_target: the same in the language of the translations.
        rate: the budget; share of the stream's pairs to accept, 0 to 1; 0.05, which is 5 %, unless given. For a number of
            pairs of a stream of known length: `rate=number / len(stream)`.
        model: decide by this version instead of learning; needs no target.
        fields: names of the two sides in mappings and frames; `translation.en` is field `en` within `translation`.
        target_fields: the same for the target; None: `fields`.
        encoder: a kind ("hashing", "sentence-transformers", an entry point) or an encoder; not used beside a `model`.
        exclude: pairs that must not be accepted, such as a test set, in any form and with the fields of the stream: no whole
            side of them, nor 13 words in a row of one. What holds such is rejected as "listed".
        signals: what else is known of a pair: names of numbers in mappings and frames, such as "bicleaner", and objects that
            compute some (`craft_stream.signals.Signal`). What they are worth is learned (docs/reference/connectors.md).
        **settings: parameters by name, of `LearningParameters` or `SelectionParameters`: `method`, `seed`, `prime_pairs`, ...

    Returns:
        An iterator over (item, `Decision`), with `model` and `summary()`. What is no pair is handed back at its place, not
        accepted, with the reason; no exception is raised for it.

    Raises:
        DataError: none of the first 4,096 items has the two sides; of a shorter stream of such items is warned.
        ConfigurationError: a setting is unknown or not allowed, a frame lacks a column, there is neither target nor model, or
            more than one target.
        TargetError: the target holds no pair, more than half of its pairs are copies of their sources, or its sides are those
            of the stream swapped.
        IntegrityError: the model is of another encoder, or weighs a signal that is not named.
        TypeError: the data cannot be iterated over.

    Examples:
        >>> import craft_stream as cs
        >>> domain = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(200)]
        >>> crawl = [(f"the price of share {n} rose", f"le cours de l’action {n} monte") for n in range(1000, 2000)]
        >>> crawl[::20] = [(f"take {n} tablets a day", f"prenez {n} comprimés par jour") for n in range(1000, 2000, 20)]
        >>> crawl[501] = ("no translation", None)
        >>> decided = list(cs.select(crawl, target=domain, rate=0.1))
        >>> [pair for pair, decision in decided if decision.accepted] == crawl[::20]
        True
        >>> len(decided), decided[500][1].reason, decided[501][1].reason
        (1000, 'accepted', 'not_text')
    """
    described = [given for given in (target, target_source, target_target) if given is not None]
    if model is None and not described:
        raise ConfigurationError(
            "nothing says what to select: give a target, texts of one side (target_source, target_target), or a model"
        )
    for name in sorted(settings.keys() & _BUDGETS):
        raise ConfigurationError(
            f'unknown parameter "{name}": the budget is rate=, a share of the stream\'s pairs; for a number of them give '
            "rate=number / len(stream), or take the best by Model.score"
        )
    if model is not None:
        encoder = model.encoder
    elif isinstance(encoder, str):
        encoder = load_encoder(encoder)
    parameters = Parameters.of(encoder.digest, rate=rate, **settings)
    listed = None if exclude is None else read_excluded(exclude, fields)

    def matches(chunk: ItemChunk[Any]) -> NDArray[np.bool_] | None:
        return None if listed is None else listed.matches(chunk.pairs, tuple)  # no ids, no URLs

    session: SelectionSession[ItemChunk[Any]] = SelectionSession.threaded(
        parameters, encoder, model.scoring if model else None, matches
    )
    if described:
        for names, batch in read_described(target, target_source, target_target, target_fields or fields):
            session.observe_target(names, batch)
    return Selection(read_chunks(stream, fields, signals_of(signals)), session, encoder)


def _decided(chunk: ItemChunk[T], decisions: Decisions) -> Iterator[tuple[T, Decision]]:
    columns = (
        decisions.accepted,
        decisions.reason,
        decisions.score,
        decisions.threshold,
        decisions.domain,
        decisions.quality,
        decisions.cluster,
        decisions.model_version,
    )
    made = [
        Decision(accepted, _LABELS[reason], *rest)
        for accepted, reason, *rest in zip(*(column.tolist() for column in columns), strict=True)
    ]
    if chunk.refused:
        found = dict(zip(chunk.rows.tolist(), made, strict=True))
        found |= {row: _undecidable(str(reason)) for row, reason in chunk.refused}
        made = [found[row] for row in range(len(chunk.items))]
    return zip(chunk.items, made, strict=True)


def _undecidable(reason: str) -> Decision:
    nan = float("nan")
    return Decision(False, reason, nan, nan, nan, nan, -1, 0)
