"""Deciding a log again: every decision follows from the log, the Models and where they changed.

Reads, decides on a ledger of its own and writes nothing. Audits compare the result with what was written
down, replays compare it with what other parameters or another Model would have decided.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from craft_stream.errors import IntegrityError, LogTruncatedError
from craft_stream.model import Model
from craft_stream.runtime.decoding import Decoded, decode_messages, mask
from craft_stream.runtime.ledger_log import LedgerRecords
from craft_stream.runtime.model_log import ModelStore
from craft_stream.runtime.transport import Reader
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.listed import Listed
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is known of a partition's past.

    Attributes:
        partition: of the input topic.
        records: everything on the ledger topic.
        first: where the group began to decide; None before it has decided anything.
        committed: the next offset to decide.
    """

    partition: int
    records: LedgerRecords
    first: int | None
    committed: int


def look(reader: Reader, settings: Settings, partition: int) -> Stretch:
    """Read a partition's ledger topic and committed offset."""
    kafka = settings.kafka
    position = reader.committed(partition)
    records = LedgerRecords(f"{kafka.group_id}/{kafka.input_topic}/{partition}")
    first, end = reader.bounds(kafka.ledger_topic, [partition])[partition]
    for messages in reader.read(kafka.ledger_topic, partition, first, end):
        records.add(messages)
    begun = min(records.models, default=None)
    return Stretch(partition, records, begun, position.offset if position else 0)


class Recomputation:
    """Decides a partition's log again.

    Args:
        reader: of the log.
        settings: parameters and decoding to decide by.
        selector: of those parameters.
        store: where the versions of the Model are.
        stretch: the partition's past.
        model: decide with this one all along, instead of the versions that were in force.
        listed: what must not be accepted.

    Attributes:
        ledger: after what has been decided so far.
    """

    def __init__(
        self,
        reader: Reader,
        settings: Settings,
        selector: Selector,
        store: ModelStore,
        stretch: Stretch,
        model: Model | None = None,
        listed: Listed | None = None,
    ) -> None:
        self.ledger = Ledger(selector.parameters)
        self._reader, self._settings, self._selector = reader, settings, selector
        self._store, self._stretch, self._model, self._listed = store, stretch, model, listed
        self._offsets = np.array(sorted(stretch.records.models), np.int64)

    def run(self, stop: int, limit: int = 4096) -> Iterator[tuple[Decoded, Decisions]]:
        """Decide from the group's first offset to `stop`, chunk by chunk.

        Raises:
            LogTruncatedError: the log does not reach back to where the group began.
            IntegrityError: a version that was in force is not on its topic any more.
        """
        if self._stretch.first is None:
            return
        kafka, partition = self._settings.kafka, self._stretch.partition
        first, _ = self._reader.bounds(kafka.input_topic, [partition])[partition]
        if first > self._stretch.first:
            raise LogTruncatedError(
                f"{kafka.input_topic}/{partition} begins at {first}, the group began at {self._stretch.first}: what "
                "was decided in between cannot be recomputed; keep the log for as long as audits must reach back"
            )
        policy = self._settings.errors.policies.decode
        for messages in self._reader.read(kafka.input_topic, partition, first, stop):
            for start in range(0, len(messages), limit):
                decoded = decode_messages(
                    messages[start : start + limit],
                    self._settings.record,
                    "skip" if policy == "fail" else policy,
                )
                yield decoded, self._decide(decoded)

    def _decide(self, decoded: Decoded) -> Decisions:
        batch = decoded.batch
        listed = None if self._listed is None else mask(self._listed, decoded.pairs, batch)
        # Cut where another Model came into force: each piece is decided with the one that was.
        places = np.searchsorted(self._offsets, batch.positions, "right")
        cuts = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(batch)]
        parts = []
        for start, stop in itertools.pairwise(cuts):
            if start < stop:
                model = self._in_force(int(places[start]))
                own = None if listed is None else listed[start:stop]
                parts.append(self._selector.decide(batch.slice(start, stop), self.ledger, model, own))
        if decoded.last_offset >= self.ledger.next_offset:
            self.ledger.skip(decoded.last_offset)
        return Decisions.concatenate(parts) if parts else Decisions.none()

    def _in_force(self, place: int) -> Model:
        if self._model is not None:
            return self._model
        if place == 0:
            raise IntegrityError("pairs were decided before the ledger names any model")
        version = self._stretch.records.models[int(self._offsets[place - 1])]
        held = self.ledger.model
        return held if held is not None and held.version == version else self._store.load(version)


def changed(before: Decisions, after: Decisions) -> Mapping[tuple[int, int], int]:
    """How many decisions went from one reason to another, by (reason before, reason after)."""
    together = before.reason.astype(np.int64) * 256 + after.reason
    kinds, counts = np.unique(together[before.reason != after.reason], return_counts=True)
    return {
        (int(kind) // 256, int(kind) % 256): int(count) for kind, count in zip(kinds, counts, strict=True)
    }
