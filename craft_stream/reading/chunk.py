"""Messages of a log, read: bytes in, pairs with their tokens out, and what is no pair with its reason."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.ports.messages import Message, chosen, size, values
from craft_stream.reading.addresses import contexts
from craft_stream.reading.objects import find_sides
from craft_stream.reading.records import Pair, Refusal, examine_sides, read_pair
from craft_stream.settings import RecordSettings
from craft_stream.signals import load_signals
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.tokenized import TokenizedPairs

# A message beside its value: an empty line takes memory too.
_MESSAGE_BYTES = 200


@dataclass(frozen=True)
class Chunk:
    """Consecutive messages of one log, read.

    Attributes:
        messages: as they came.
        rows: int64 [pairs], index in `messages` of each pair.
        refused: (index in `messages`, why) of what holds no pair.
        end: position in the log after the last message; 0 without one.
        fields: where the sides, the id and the URLs stand.
        pairs: what the others hold, at their positions in the log.
    """

    messages: Sequence[Message]
    rows: NDArray[np.int64]
    refused: list[tuple[int, Refusal]]
    end: int
    fields: RecordSettings
    _pairs: Callable[[], TokenizedPairs] = field(repr=False, compare=False)

    @classmethod
    def read(cls, messages: Sequence[Message], fields: RecordSettings, start: int | None = None) -> Chunk:
        """Read messages.

        Args:
            messages: consecutive ones of one log.
            fields: where the sides, the id and the URLs stand, and which signals come with them.
            start: position of the first in a log that counts messages, whatever files they come from; None: their
                offsets are their positions.
        """
        batch, rows, refused = _decoded(messages, fields, start)
        behind = messages[-1].offset + 1 if messages else 0
        end = behind if start is None else start + len(messages)
        return cls(messages, rows, refused, end, fields, partial(_same, TokenizedPairs.of(batch)))

    @classmethod
    def known(
        cls, messages: Sequence[Message], rows: NDArray[np.int64], fields: RecordSettings, start: int
    ) -> Chunk:
        """Messages that were read before: those at `rows` hold pairs, which are read again where somebody asks for them."""
        held = np.zeros(len(messages), np.bool_)
        held[rows] = True
        examined = ((row, examine_sides(messages[row], fields)) for row in np.flatnonzero(~held).tolist())
        refused = [(row, found) for row, found in examined if isinstance(found, Refusal)]

        def pairs() -> TokenizedPairs:
            return cls.read(messages, fields, start).pairs

        return cls(messages, rows, refused, start + len(messages), fields, pairs)

    @cached_property
    def pairs(self) -> TokenizedPairs:
        """What the messages at `rows` hold."""
        return self._pairs()

    @property
    def unknown_signals(self) -> dict[str, int]:
        """Pairs of which a signal is not known, by its name."""
        if load_signals(self.fields) is None:
            return {}
        return self.pairs.batch.columns.unknown()

    @property
    def size(self) -> int:
        """Bytes of memory that the messages take, about."""
        return _MESSAGE_BYTES * len(self.messages) + size(self.messages)

    def message(self, pair: int) -> Message:
        """The message that holds a pair."""
        return self.messages[int(self.rows[pair])]

    def record(self, pair: int) -> Pair:
        """A pair with its id and URLs, decoded anew: for the few that something is written about."""
        return read_pair(self.message(pair), self.fields)

    def identifiers(self, pairs: Iterable[int] | None = None) -> list[str]:
        """Ids of some pairs, or of all."""
        return [self.record(pair).id for pair in (range(len(self.pairs)) if pairs is None else pairs)]

    def origins(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Id and URLs of every pair."""
        for pair in range(len(self.pairs)):
            record = self.record(pair)
            yield record.id, record.urls

    def without(self, pairs: Container[int]) -> Chunk:
        """Without some pairs; their messages stay."""
        kept = np.array([pair for pair in range(len(self.pairs)) if pair not in pairs], np.int64)
        left = TokenizedPairs.of(self.pairs.batch.take(kept))
        return replace(self, rows=self.rows[kept], _pairs=partial(_same, left))


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive messages of a log that are not read yet.

    Attributes:
        messages: as they came.
        start: position of the first in the log.
        fields: where the sides, the id and the URLs stand.
    """

    messages: Sequence[Message]
    start: int
    fields: RecordSettings

    def __len__(self) -> int:
        return len(self.messages)

    def read(self) -> Chunk:
        """All of them."""
        return Chunk.read(self.messages, self.fields, self.start)

    def known(self, rows: NDArray[np.int64]) -> Chunk:
        """All of them, of which those at `rows` are known to hold pairs."""
        return Chunk.known(self.messages, rows, self.fields, self.start)

    def batch_at(self, positions: NDArray[np.int64]) -> PairBatch:
        """Those at some positions, ascending, that hold pairs."""
        messages = chosen(self.messages, (positions - self.start).tolist())
        batch, rows, _ = _decoded(messages, self.fields, 0)
        return replace(batch, positions=positions[rows])


def _same(pairs: TokenizedPairs) -> TokenizedPairs:
    return pairs


def _decoded(
    messages: Sequence[Message], fields: RecordSettings, start: int | None
) -> tuple[PairBatch, NDArray[np.int64], list[tuple[int, Refusal]]]:
    """The pairs, the rows of the messages that hold them, and the others with their reasons; arguments as for `Chunk.read`."""
    held = values(messages)
    source, target, rows, refused = _read_sides(messages, held, fields)
    positions = rows + (start or 0)
    if start is None:
        positions = np.array([messages[row].offset for row in rows.tolist()], np.int64)
    batch = PairBatch(source, target, positions, where=contexts(held, rows, fields.url_fields))
    if (signals := load_signals(fields)) is not None:
        records = [orjson.loads(messages[row].value or b"") for row in rows.tolist()]
        columns = signals.columns(source.texts(), target.texts(), records)
        batch = replace(batch, signals=columns)
    return batch, rows, refused


def _read_sides(
    messages: Sequence[Message], held: Sequence[bytes], fields: RecordSettings
) -> tuple[TextBatch, TextBatch, NDArray[np.int64], list[tuple[int, Refusal]]]:
    """The sides, the rows of the messages that hold them, and the others with their reasons, by `examine_sides`."""
    names = (fields.source_field, fields.target_field)
    buffer, spans = find_sides(held, names, fields.max_bytes)
    refused: list[tuple[int, Refusal]] = []
    parsed: list[int] = []
    sides: list[bytes] = []  # of these rows, as they do not stand in the buffer as they are
    for row in np.flatnonzero(spans[0] < 0).tolist():
        found = examine_sides(messages[row], fields)
        if isinstance(found, Refusal):
            refused.append((row, found))
        else:
            parsed.append(row)
            sides += (found[0].encode(), found[1].encode())
    if parsed:
        bounds = len(buffer) + np.cumsum([0, *map(len, sides)])
        spans[0::2, parsed], spans[1::2, parsed] = bounds[:-1].reshape(-1, 2).T, bounds[1:].reshape(-1, 2).T
        buffer = np.concatenate([buffer, np.frombuffer(b"".join(sides), np.uint8)])
    rows = np.flatnonzero(spans[0] >= 0)
    source, target = (TextBatch.gather(buffer, spans[k][rows], spans[k + 1][rows]) for k in (0, 2))
    return source, target, rows, refused
