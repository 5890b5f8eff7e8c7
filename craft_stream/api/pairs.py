"""What a caller gives as pairs, tuples, dicts or rows of a frame, read into chunks; what is no pair keeps its place."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, DataError, TargetError
from craft_stream.reading.records import DecodeReason
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.ledger import EPOCH
from craft_stream.signals import Signals
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.tokenized import TokenizedPairs

T = TypeVar("T")
Fields = tuple[str, str]

FIELDS: Fields = ("src", "tgt")
_ID = "id"
_MISSING: Any = object()
# Characters of a side, as `record.max_bytes` of a record: kernels take time that grows with it.
_LONGEST = 1 << 20
LOOKED = 4_096  # items; when none of them has the two sides, none will have
_SHOWN = 200  # characters of names that a message quotes


class Frame(Protocol):
    """A data frame or table, by what those of pandas, polars and Arrow have in common."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class ItemChunk(Generic[T]):
    """Consecutive items of one epoch.

    Attributes:
        items: as they came.
        rows: int64 [pairs], index in `items` of each pair.
        refused: (index in `items`, why) of what is no pair.
        pairs: the others, at their positions in the stream.
        end: position after the last item.
    """

    items: list[T]
    rows: NDArray[np.int64]
    refused: list[tuple[int, DecodeReason]]
    pairs: TokenizedPairs
    end: int

    @property
    def size(self) -> int:
        """Bytes of the texts."""
        return self.pairs.batch.size


def read_chunks(data: Iterable[T], fields: Fields, signals: Signals | None = None) -> Iterator[ItemChunk[T]]:
    """The items of an iterable, or the rows of a frame as dicts, an epoch in each chunk; with the signals of their pairs.

    Of a stream that ends before 4,096 items, none of which has the two sides, is warned.

    Raises:
        ConfigurationError: a frame has no such columns.
        DataError: none of the first 4,096 items has the two sides.
        TypeError: the data is a mapping, a text or nothing that can be iterated over.
    """
    read, sideless = 0, True
    for chunk in _chunks(data, fields, signals):
        sideless = sideless and len(chunk.refused) == len(chunk.items)
        sideless = sideless and all(reason is DecodeReason.MISSING_SIDE for _, reason in chunk.refused)
        if sideless and read < LOOKED <= chunk.end:
            raise DataError(
                f"none of the first {chunk.end:,} items is a pair: {without_sides(chunk.items[0], fields)}"
            )
        read, first = chunk.end, chunk.items[0]
        yield chunk
    if sideless and 0 < read < LOOKED:
        items = "the only item is no pair" if read == 1 else f"none of the {read:,} items is a pair"
        warnings.warn(f"{items}: {without_sides(first, fields)}", stacklevel=2)


def without_sides(item: Any, fields: Fields) -> str:
    """What an item without the two sides has in their place, and what to give."""
    if not isinstance(item, Mapping):
        return f"it has {len(item)} values, not two"
    names = ", ".join(map(repr, item))[:_SHOWN] or "no fields"
    return f"it has not both {fields[0]!r} and {fields[1]!r}, but {names}: name the sides with fields=(SOURCE, TARGET)"


def _chunks(data: Iterable[T], fields: Fields, signals: Signals | None = None) -> Iterator[ItemChunk[T]]:
    start, items = 0, _items(data, fields)
    while run := list(islice(items, EPOCH)):
        sides = [_sides(item, fields) for item in run]
        rows = [row for row, found in enumerate(sides) if isinstance(found, tuple)]
        refused = [(row, found) for row, found in enumerate(sides) if isinstance(found, DecodeReason)]
        found = [side for side in sides if isinstance(side, tuple)]
        sources, targets, columns = [a for a, _ in found], [b for _, b in found], None
        if signals is not None:
            records = [item if isinstance(item := run[row], Mapping) else {} for row in rows]
            columns = signals.columns(sources, targets, records)
        batch = PairBatch.pack(sources, targets, start + np.array(rows, np.int64), columns)
        start += len(run)
        yield ItemChunk(run, np.array(rows, np.int64), refused, TokenizedPairs.of(batch), start)


def read_target(data: Iterable[Any], fields: Fields) -> Iterator[tuple[list[str], PairBatch]]:
    """The pairs of a target with their names: the `id` of a mapping that has one, else the texts.

    Raises:
        TargetError: there is no pair.
        ConfigurationError, TypeError: as for `read_chunks`.
    """
    pairs = 0
    for chunk in _warned(data, fields, "target"):
        batch, items = chunk.pairs.batch, (chunk.items[row] for row in chunk.rows.tolist())
        sides = zip(batch.source.texts(), batch.target.texts(), strict=True)
        pairs += len(batch)
        yield [_name(item, *texts) for item, texts in zip(items, sides, strict=True)], batch
    if not pairs:
        raise TargetError("the target is empty: give pairs of the domain that you want")


def read_described(
    target: Iterable[Any] | None,
    source_texts: Iterable[str] | None,
    target_texts: Iterable[str] | None,
    fields: Fields,
) -> Iterator[tuple[list[str], PairBatch]]:
    """A target, of pairs or of texts of one side, with the names of what it holds.

    Raises:
        ConfigurationError: not just one of the three is given, or as for `read_chunks`.
        TargetError, TypeError: as for `read_target` and `read_texts`.
    """
    if sum(given is not None for given in (target, source_texts, target_texts)) != 1:
        raise ConfigurationError(
            "give one of target (pairs), target_source and target_target (texts of one side)"
        )
    if target is not None:
        return read_target(target, fields)
    return (
        read_texts(source_texts, "source") if source_texts is not None else read_texts(target_texts, "target")
    )


def read_texts(data: Iterable[Any] | None, side: Side) -> Iterator[tuple[list[str], PairBatch]]:
    """Texts of one side of a target with their names, which are the texts.

    Raises:
        TargetError: there is no text.
        TypeError: the data is one text, a mapping, or nothing that can be iterated over.
    """
    if data is None or isinstance(data, Mapping | str | bytes):
        raise TypeError(f"texts are an iterable of str, not one {type(data).__name__}")
    count = refused = 0
    items = iter(data)
    while run := list(islice(items, EPOCH)):
        texts = [text for text in run if isinstance(text, str) and text.strip() and len(text) <= _LONGEST]
        refused += len(run) - len(texts)
        count += len(texts)
        yield texts, PairBatch.of_side(texts, side)
    if refused:
        warnings.warn(f"target: {refused:,} items are no texts", stacklevel=4)
    if not count:
        raise TargetError("the target is empty: give texts of the domain that you want")


def read_excluded(data: Iterable[Any], fields: Fields) -> Blocklist:
    """Pairs as a test set: whole sides, and 13 words in a row of either."""
    listed = Blocklist()
    for chunk in _warned(data, fields, "excluded"):
        listed.add_test_set(chunk.pairs.batch.source.texts())
        listed.add_test_set(chunk.pairs.batch.target.texts())
    listed.seal()
    return listed


def _warned(data: Iterable[Any], fields: Fields, what: str) -> Iterator[ItemChunk[Any]]:
    """The chunks of data of which every item should be a pair: the first that is none, and how many are, is warned of."""
    refused = 0
    for chunk in _chunks(data, fields):
        for row, reason in chunk.refused:
            if not refused:
                place = chunk.end - len(chunk.items) + row
                why = (
                    f"{reason}, {without_sides(chunk.items[row], fields)}"
                    if reason is DecodeReason.MISSING_SIDE
                    else reason
                )
                warnings.warn(f"{what}: item {place} is no pair: {why}", stacklevel=5)
            refused += 1
        yield chunk
    if refused > 1:
        warnings.warn(f"{what}: {refused:,} items are no pairs", stacklevel=5)


def _items(data: Any, fields: Fields) -> Iterator[Any]:
    """Items of an iterable; the rows of a frame, or of each frame of an iterable of frames, as dicts."""
    if isinstance(data, Mapping | str | bytes):
        raise TypeError(f"pairs are an iterable or a frame, not one {type(data).__name__}")
    rows = _rows(data, fields)
    for item in data if rows is None else rows:
        inner = None if isinstance(item, Mapping | Sequence) else _rows(item, fields)
        if inner is None:
            yield item
        else:
            yield from inner


def _rows(data: Any, fields: Fields) -> Iterator[dict[str, Any]] | None:
    """Rows of a frame; None: it is none."""
    frame = nw.from_native(data, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        _check(frame.columns, fields)
        return frame.iter_rows(named=True)
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_stream(data)
        _check(reader.schema.names, fields)
        return (row for batch in reader for row in batch.to_pylist())
    return None


def _check(columns: Sequence[str], fields: Fields) -> None:
    missing = [name for name in fields if name not in columns and name.partition(".")[0] not in columns]
    if missing:
        raise ConfigurationError(
            f"the frame has no column {' and '.join(map(repr, missing))}, but {', '.join(map(repr, columns))}: name the two "
            "sides with fields=(SOURCE, TARGET)"
        )


def _sides(item: Any, fields: Fields) -> tuple[str, str] | DecodeReason:
    """Both sides of an item, or why it is no pair."""
    if isinstance(item, Mapping):
        sides = _value(item, fields[0]), _value(item, fields[1])
        if any(side is _MISSING for side in sides):
            return DecodeReason.MISSING_SIDE
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes):
        if len(item) < 2:
            return DecodeReason.MISSING_SIDE
        sides = item[0], item[1]
    else:
        return DecodeReason.NOT_OBJECT
    for side in sides:
        if not isinstance(side, str):
            return DecodeReason.NOT_TEXT
        if not side or side.isspace():
            return DecodeReason.EMPTY_SIDE
        if len(side) > _LONGEST:
            return DecodeReason.TOO_LARGE
    return sides


def _value(item: Mapping[Any, Any], name: str) -> Any:
    """The value of a field; `translation.en` is also field `en` of the mapping `translation`."""
    if name in item:
        return item[name]
    outer, _, rest = name.partition(".")
    inner = item.get(outer)
    return _value(inner, rest) if rest and isinstance(inner, Mapping) else _MISSING


def _name(item: Any, source: str, target: str) -> str:
    name = item.get(_ID) if isinstance(item, Mapping) else None
    return str(name) if isinstance(name, str | int) and name != "" else f"{source}\n{target}"
