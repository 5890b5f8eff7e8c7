"""Deciding a log again: every decision follows from the log, the Models and where they changed.

Reads, decides on a ledger of its own and writes nothing. Audits compare the result with what was written
down, replays compare it with what other parameters or another Model would have decided.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError, LogTruncatedError
from craft_stream.parameters import Parameters
from craft_stream.ports.transport import Reader
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.topics.ledger_reader import LedgerRecords, read_ledger
from craft_stream.topics.models import ModelStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is known of a partition's past.

    Attributes:
        partition: of the input topic.
        records: everything on the ledger topic.
        first: where the group began to decide; None before it has decided anything.
        committed: the next offset to decide.
        retained: where the log begins by now.
    """

    partition: int
    records: LedgerRecords
    first: int | None
    committed: int
    retained: int


def look(reader: Reader, settings: Settings, partition: int) -> Stretch:
    """Read a partition's ledger topic and committed offset.

    Raises:
        TopicReplacedError: the ledger is of another topic of this name.
    """
    kafka, position = settings.kafka, reader.committed(partition)
    records = read_ledger(reader, kafka, partition)
    topics = reader.topic_ids(kafka.input_topic, kafka.ledger_topic)
    records.origin.check(topics, kafka.input_topic, kafka.ledger_topic)
    begun = min(records.models, default=None)
    retained, _ = reader.bounds(kafka.input_topic, [partition])[partition]
    # Of a group that was idle for longer than brokers keep offsets the ledger alone tells.
    committed = position.offset if position else records.end
    return Stretch(partition, records, begun, committed, retained)


@dataclass(frozen=True, slots=True)
class Lists:
    """What must not be accepted, and what must not have been before.

    Attributes:
        own: of the settings; None: they name none.
        older: reads others, by the digests of all lists together.
        always: the own were in force all along.
    """

    own: Blocklist | None = None
    older: Mapping[str, Callable[[], Blocklist]] = field(default_factory=dict)
    always: bool = False

    @property
    def digest(self) -> str:
        """Of the own ones; empty without any."""
        return self.own.digest if self.own else ""

    def knows(self, digest: str | None) -> bool:
        """Whether lists are at hand; None: nobody noted which these were, and the own are taken for them."""
        return self.always or digest in (None, "", self.digest) or digest in self.older

    def chosen(self, digest: str | None) -> str:
        """The digest of those to decide by: the own ones in the place of what is not at hand."""
        return self.digest if self.always or digest is None or not self.knows(digest) else digest

    def read(self, digest: str) -> Blocklist | None:
        """Those that were `chosen`."""
        return self.own if digest == self.digest else self.older[digest]() if digest else None


class Recomputation:
    """Decides a partition's log again.

    Args:
        reader: of the log.
        settings: parameters and decoding to decide by.
        selector: of those parameters.
        store: where the versions of the Model are.
        stretch: the partition's past.
        model: decide with this one all along, instead of the versions that were in force.
        lists: what must not be accepted, as far as it is at hand.
        change: of the parameters that were in force makes those to decide by.

    Attributes:
        ledger: after what has been decided so far.
        disagreeing: offsets at which a snapshot was written that is not the recomputed ledger.
    """

    def __init__(
        self,
        reader: Reader,
        settings: Settings,
        selector: Selector,
        store: ModelStore,
        stretch: Stretch,
        model: Model | None = None,
        lists: Lists = Lists(),  # frozen
        change: Callable[[Parameters], Parameters] | None = None,
    ) -> None:
        self._begun_with = replace(selector.parameters, listed="")
        self.ledger = Ledger(self._begun_with)
        self.disagreeing: list[int] = []
        self._begun: int | None = None
        self._reader, self._settings, self._selector = reader, settings, selector
        self._store, self._stretch, self._model, self._lists = store, stretch, model, lists
        self._change = change
        self._beside: dict[str, tuple[Selector, Blocklist | None]] = {}
        self._offsets = np.array(sorted(stretch.records.models), np.int64)
        self._settings_offsets = np.array(sorted(stretch.records.settings), np.int64)

    def begin(self, start: int) -> int | None:
        """Take the ledger of the last place at or before `start` from which the log can be decided again.

        Such places are the group's first offset, while the log reaches back to it, and snapshots in the ledger topic,
        retained ones above all. Where there is none before `start`, the first after it is taken.

        Returns:
            The place; None when nothing has been decided yet.

        Raises:
            LogTruncatedError: there is none at all.
        """
        stretch = self._stretch
        if stretch.first is None:
            return None
        known = [offset for offset in stretch.records.starts() if offset >= stretch.retained]
        before = [offset for offset in reversed(known) if offset <= start]
        nothing = [stretch.first] if stretch.retained <= stretch.first else []
        for offset in [*before, *nothing, *(offset for offset in known if offset > start)]:
            self._begun = offset
            if offset == stretch.first:
                return offset
            try:
                self.ledger = stretch.records.start(self._selector.parameters, offset)
                self._begun_with = self.ledger.parameters
                self.ledger.bind(self._store.load(self.ledger.model_version))
                return offset
            except IntegrityError as error:
                log.warning("partition %d: no audit from offset %d: %s", stretch.partition, offset, error)
        raise LogTruncatedError(
            f"{self._settings.kafka.input_topic}/{stretch.partition} begins at {stretch.retained}, the group began at "
            f"{stretch.first}, and no snapshot in between can be used: ledger.retained_snapshots times "
            "ledger.retained_snapshot_hours must be more than the topic's retention"
        )

    def unknown_lists(self, stop: int) -> Iterator[tuple[int, int, str]]:
        """Offsets [start, end) among those to decide that were decided beside lists which are not at hand, and their digest."""
        noted, begun = self._stretch.records.settings, self._begun or 0
        edges = [at for at in self._settings_offsets.tolist() if at < stop]
        for listed, run in itertools.groupby(
            itertools.pairwise([*edges, stop]), lambda edge: noted[edge[0]].listed
        ):
            (start, end), *others = run
            end = others[-1][1] if others else end
            if not self._lists.knows(listed) and begun < end:
                yield max(start, begun), end, listed or ""

    def beside(self, offset: int) -> tuple[Selector, Blocklist | None]:
        """Lists to decide an offset by, and a selector whose decisions name them."""
        place = int(np.searchsorted(self._settings_offsets, offset, "right"))
        noted = (
            self._stretch.records.settings[int(self._settings_offsets[place - 1])].listed if place else None
        )
        digest = self._lists.chosen(noted)
        if digest not in self._beside:
            self._beside[digest] = self._selector.beside(digest), self._lists.read(digest)
        return self._beside[digest]

    def run(self, stop: int, limit: int = 4096) -> Iterator[tuple[Chunk, Decisions]]:
        """Decide up to `stop`, chunk by chunk, from where `begin` has put the ledger.

        Raises:
            LogTruncatedError: there is no place to begin at.
            IntegrityError: a version that was in force is not on its topic any more.
        """
        start = self._begun if self._begun is not None else self.begin(0)
        if start is None or start >= stop:
            return
        for first, end, _ in self.unknown_lists(stop):
            log.warning(
                "partition %d: offsets %d to %d were decided beside other lists (selection.decontaminate, "
                "selection.takedown) than those at hand, which are taken in their place",
                self._stretch.partition,
                first,
                end - 1,
            )
        known = [offset for offset in self._stretch.records.starts() if start < offset <= stop]
        topic, partition = self._settings.kafka.input_topic, self._stretch.partition
        for first, end in itertools.pairwise([start, *known, *([stop] if stop not in known else [])]):
            for messages in self._reader.read(topic, partition, first, end):
                for at in range(0, len(messages), limit):
                    chunk = Chunk.read(messages[at : at + limit], self._settings.record)
                    yield chunk, self._decide(chunk)
            if end in known:
                self._compare(end)

    def _compare(self, offset: int) -> None:
        """Hold the recomputed ledger against the snapshot that was written here."""
        try:
            written = self._stretch.records.start(self._selector.parameters, offset)
        except IntegrityError as error:
            log.warning("partition %d: the ledger at offset %d: %s", self._stretch.partition, offset, error)
            return
        if written.digest() != self.ledger.digest():
            self.disagreeing.append(offset)

    def _decide(self, chunk: Chunk) -> Decisions:
        pairs = chunk.pairs
        matches: dict[str, NDArray[np.bool_] | None] = {}
        # Cut where another Model or other settings came into force: each piece is decided with those that were.
        places, settings = (
            np.searchsorted(offsets, pairs.batch.positions, "right")
            for offsets in (self._offsets, self._settings_offsets)
        )
        cuts = [0, *(np.flatnonzero(np.diff(places) | np.diff(settings)) + 1).tolist(), len(pairs)]
        parts = []
        for start, stop in itertools.pairwise(cuts):
            if start < stop:
                model = self._in_force(int(places[start]))
                selector, listed = self.beside(int(pairs.batch.positions[start]))
                if (name := selector.parameters.listed) not in matches:
                    matches[name] = listed.matches(pairs, chunk.origins) if listed else None
                found = matches[name]
                own = None if found is None else found[start:stop]
                parameters = self._parameters(int(settings[start]))
                parts.append(selector.decide(pairs.slice(start, stop), self.ledger, model, own, parameters))
        if self.ledger.next_offset < chunk.end:
            self.ledger.skip(chunk.end - 1)
        return Decisions.concatenate(parts) if parts else Decisions.none()

    def _parameters(self, place: int) -> Parameters:
        """To be decided by: before anything is said of them on the topic, those that the ledger has or was begun with."""
        found = self._begun_with
        if place:
            found = self._stretch.records.settings[int(self._settings_offsets[place - 1])].parameters
        return self._change(found) if self._change else found

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
