"""Messages of a log, read: bytes in, pairs with their tokens out, and what is no pair with its reason."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from craft_stream.ports.messages import Message, size, values
from craft_stream.reading.objects import Finding, read_objects
from craft_stream.reading.records import Pair, Refusal, decode, examine, not_json, not_utf8
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.tokenized import TokenizedPairs

# A message beside its value: an empty line takes memory too.
_MESSAGE_BYTES = 200
# A short value of which a parser says what it says of any in which the fast reader has found this.
_BROKEN = {
    Finding.NO_VALUE: b"x",
    Finding.NO_KEY: b"{x",
    Finding.NO_COLON: b'{""x',
    Finding.NO_COMMA: b'{"":""x',
    Finding.CUT_OFF: b"{",
    Finding.MORE: b"{}x",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive messages of one log, read.

    Attributes:
        messages: as they came.
        rows: int64 [pairs], index in `messages` of each pair.
        refused: (index in `messages`, why) of what holds no pair.
        pairs: what the others hold, at their positions in the log.
        end: position in the log after the last message; 0 without one.
        fields: where the sides, the id and the URLs stand.
    """

    messages: Sequence[Message]
    rows: NDArray[np.int64]
    refused: list[tuple[int, Refusal]]
    pairs: TokenizedPairs
    end: int
    fields: RecordSettings

    @classmethod
    def read(cls, messages: Sequence[Message], fields: RecordSettings, start: int | None = None) -> Chunk:
        """Read messages.

        Args:
            messages: consecutive ones of one log.
            fields: where the sides, the id and the URLs stand.
            start: position of the first in a log that counts messages, whatever files they come from; None: their
                offsets are their positions.
        """
        if start is None:
            positions = np.fromiter((message.offset for message in messages), np.int64, len(messages))
        else:
            positions = np.arange(start, start + len(messages))
        batch, rows, refused = _read_pairs(messages, positions, fields)
        end = int(positions[-1]) + 1 if len(messages) else start or 0
        return cls(messages, rows, refused, TokenizedPairs.of(batch), end, fields)

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
        return replace(self, rows=self.rows[kept], pairs=TokenizedPairs.of(self.pairs.batch.take(kept)))


def read_pair(message: Message, fields: RecordSettings) -> Pair:
    """What a message holds.

    Raises:
        RecordError: it holds no pair.
    """
    return decode(message.value, fields, message.location, message.problem)


def _read_pairs(
    messages: Sequence[Message], positions: NDArray[np.int64], fields: RecordSettings
) -> tuple[PairBatch, NDArray[np.int64], list[tuple[int, Refusal]]]:
    """Decode messages together: what `records.examine` makes of each, byte by byte, at a tenth of the time.

    What the fast reader does not understand goes to `records.examine`; if that finds a pair, all are packed anew.

    Args:
        messages: any.
        positions: int64 [messages].
        fields: where the sides stand.

    Returns:
        The pairs; int64 [pairs], which messages they are from; the others, with the reasons.
    """
    names = (fields.source_field, fields.target_field)
    sides = read_objects(values(messages), names, fields.max_bytes)
    refused: list[tuple[int, Refusal]] = []
    understood = sides.understood
    if understood.all():
        return PairBatch(sides.source, sides.target, positions), np.arange(len(messages)), refused
    parsed: dict[int, Pair] = {}
    others = np.flatnonzero(~understood)
    for row, finding, place in zip(
        others.tolist(), sides.findings[others].tolist(), sides.places[others].tolist(), strict=True
    ):
        if finding != Finding.ASK:
            refused.append((row, _refusal(finding, place)))
            continue
        found = examine(messages[row].value, fields, "", messages[row].problem)
        if isinstance(found, Refusal):
            refused.append((row, found))
        else:
            parsed[row] = found
    if parsed:
        sources, targets = sides.source.texts(), sides.target.texts()
        for row, one in parsed.items():
            sources[row], targets[row] = one.source, one.target
        rows = np.delete(np.arange(len(messages)), [row for row, _ in refused])
        batch = PairBatch.pack(
            [sources[row] for row in rows], [targets[row] for row in rows], positions[rows]
        )
        return batch, rows, refused
    rows = np.flatnonzero(understood)
    batch = PairBatch(_kept(sides.source, rows), _kept(sides.target, rows), positions[rows])
    return batch, rows, refused


@lru_cache(maxsize=4096)
def _refusal(finding: int, place: int) -> Refusal:
    if finding == Finding.NOT_UTF8:
        return not_utf8(place)
    return not_json(_BROKEN[Finding(finding)], place)


def _kept(texts: TextBatch, rows: NDArray[np.int64]) -> TextBatch:
    """Texts `rows` of a batch whose others are empty."""
    return TextBatch(texts.buffer, texts.offsets[np.concatenate([np.zeros(1, np.int64), rows + 1])])
