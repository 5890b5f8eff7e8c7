"""From messages of one partition to a batch of pairs and what is no pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import DataError
from craft_stream.events import Stage
from craft_stream.ports.messages import Message, values
from craft_stream.reading.dead_letter import DeadLetter
from craft_stream.reading.objects import Finding, read_objects
from craft_stream.reading.records import Pair, Refusal, decode, examine, not_json, not_utf8
from craft_stream.selection.blocklist import Blocklist
from craft_stream.settings import Policy, RecordSettings
from craft_stream.text.batch import PairBatch, TextBatch

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
class Decoded:
    """Messages of one partition, decoded.

    Attributes:
        messages: those that hold pairs, in log order.
        batch: what they hold, for the engine.
        dead: those that hold none, or none that can be decided.
        last_offset: of the last message of either kind.
        fields: where the sides and the id stand.
    """

    messages: Sequence[Message]
    batch: PairBatch
    dead: list[DeadLetter]
    last_offset: int
    fields: RecordSettings

    def pair(self, row: int) -> Pair:
        """The pair at `row`, its id included: for the few that something is written about."""
        return pair(self.messages[row], self.fields)

    @classmethod
    def concatenate(cls, parts: Sequence[Decoded]) -> Decoded:
        """All of it, in order; at least one part."""
        if len(parts) == 1:
            return parts[0]
        positions = np.concatenate([part.batch.positions for part in parts])
        return cls(
            [message for part in parts for message in part.messages],
            replace(PairBatch.concatenate([part.batch for part in parts]), positions=positions),
            [letter for part in parts for letter in part.dead],
            parts[-1].last_offset,
            parts[-1].fields,
        )

    def mask(self, listed: Blocklist | None) -> NDArray[np.bool_] | None:
        """Which pairs are on lists, bool [pairs]; None where there are no lists."""
        return None if listed is None else mask(listed, self.batch, lambda: self.pairs)

    def without(self, failed: Mapping[int, DeadLetter]) -> Decoded:
        """Without the pairs at some rows, which are dead letters instead."""
        rows = [row for row in range(len(self.messages)) if row not in failed]
        return replace(
            self,
            messages=[self.messages[row] for row in rows],
            batch=self.batch.take(np.array(rows, np.int64)),
            dead=[*self.dead, *failed.values()],
        )

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, decoded one by one."""
        return [pair(message, self.fields) for message in self.messages]


def location(message: Message) -> str:
    """Where a message was, which is also its decision's id: `topic/partition/offset`."""
    return f"{message.topic}/{message.partition}/{message.offset}"


def pair(message: Message, fields: RecordSettings) -> Pair:
    """What a message holds.

    Raises:
        RecordError: it holds no pair.
    """
    return decode(message.value, fields, location(message), message.problem)


def read_pairs(
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


def mask(listed: Blocklist, batch: PairBatch, pairs: Callable[[], Sequence[Pair]]) -> NDArray[np.bool_]:
    """Which pairs are listed, bool [pairs]; `pairs` is asked only where the list knows more than texts."""
    if not listed.names_records:
        return listed.mask(batch, (), ())
    found = pairs()
    return listed.mask(batch, [pair.id for pair in found], [pair.urls for pair in found])


def decode_messages(messages: Sequence[Message], fields: RecordSettings, policy: Policy) -> Decoded:
    """Decode consecutive messages of one partition.

    Raises:
        DataError: one is no pair and the policy is "fail".
    """
    positions = np.fromiter((message.offset for message in messages), np.int64, len(messages))
    batch, rows, refused = read_pairs(messages, positions, fields)
    if refused and policy == "fail":
        row, (_, text) = refused[0]
        raise DataError(f"{location(messages[row])}: {text}; errors.policies.decode says to stop")
    dead = [DeadLetter(messages[row], Stage.DECODE, reason, text) for row, (reason, text) in refused]
    kept = [messages[row] for row in rows.tolist()] if refused else messages
    return Decoded(kept, batch, dead, messages[-1].offset if messages else -1, fields)
