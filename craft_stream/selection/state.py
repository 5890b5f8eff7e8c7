"""The state of a Ledger: named numbers in two flat arrays and seen pairs, and the bytes in which they travel.

Numbers live in flat arrays so that a delta is what changed in them; seen pairs travel by the pair, and in segments. A state
that has applied every delta equals the one that made them, bit for bit.

Segments were once called pages, and their names in headers are still those: bytes that were written stay readable.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from craft_stream import __version__, codec, schema
from craft_stream.errors import IntegrityError
from craft_stream.parameters import MOST_CLUSTERS, Parameters, digest
from craft_stream.scoring.model import Model
from craft_stream.selection import contexts, histogram
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger_format import FORMAT, MAGIC, decode, decode_parameters
from craft_stream.selection.ledger_schema import DELTA, MASSES, SNAPSHOT, STATE
from craft_stream.selection.seen import SeenPairs, whole_generations
from craft_stream.selection.segments import Segment

# How many numbers have names, in `integers` and in `floats`, and the places of two of them: where seen pairs are stored follows
# from how the log was cut into transactions, so it is no part of the digest.
_INTEGERS = 14
_FLOATS = 17
_STORAGE = slice(9, 11)


class _Integer:
    """A place of `integers`, as an attribute."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, state: LedgerState, owner: type | None = None) -> int:
        return int(state.integers[self._place])

    def __set__(self, state: LedgerState, value: int) -> None:
        state.integers[self._place] = value


class _Float:
    """A place of `floats`, as an attribute."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, state: LedgerState, owner: type | None = None) -> float:
        return float(state.floats[self._place])

    def __set__(self, state: LedgerState, value: float) -> None:
        state.floats[self._place] = value


class LedgerState:
    """What a partition has decided, as numbers with names, and how that travels.

    Attributes:
        parameters: in force.
        release: of craft_stream, that wrote what it was restored from; this one's, if it was not.
        integers: int64; the counters below, then decisions by reason.
        floats: float64; the numbers below, then accepted by cluster, duals, what is known of contexts, and
            at the end the masses.
        seen_pairs: accepted pairs that are remembered.
        model: the Model in force; None before the first epoch and after a restore until `bind`.
    """

    next_offset = _Integer(0)  # after the last record that was decided or skipped
    epoch = _Integer(1)  # in force; -1 before the first
    seen = _Integer(2)  # pairs decided
    accepted = _Integer(3)
    epoch_seen = _Integer(4)  # pairs decided in this epoch
    model_version = _Integer(5)  # in force; 0 before the first
    clustering = _Integer(6)
    # Of seen pairs, as they are when the state travels.
    _remembered = _Integer(7)
    _chain = _Integer(8)
    _stored = _Integer(9)
    _segments = _Integer(10)
    _old_generation = _Integer(11)
    _young_generation = _Integer(12)
    settings_version = _Integer(13)  # of the parameters in force; 0: they were never published

    epoch_allowance = _Float(0)  # A(t) at the epoch's start
    spending = _Float(1)  # rho_t / rho in this epoch: the part of the budget that the stream can bear, 0 to 1
    unspendable = _Float(2)  # pairs of the budget that were given up because the stream did not hold them
    clustering_allowance = _Float(3)  # A(t) when the clustering began
    gate = _Float(4)  # score that a candidate needs in this epoch, see `Method.gate_scores`
    threshold = _Float(5)  # score that an accepted pair needs in this epoch
    gate_mass = _Float(6)
    score_mass = _Float(7)
    tail = _Float(8)  # pairs that look like the target, of the `tail_mass` last ones
    tail_mass = _Float(9)
    largest_share = _Float(10)  # of pairs that look like the target, at best
    # Lately, see `pacing.share_horizon`: pairs that passed the gate, those of them on no list; those that reached the
    # threshold, those of them that neither the stream nor the target had brought before.
    passed = _Float(11)
    unlisted = _Float(12)
    reached = _Float(13)
    new = _Float(14)
    widening = _Float(15)  # of the gate: how many times as many pass as `selection.gate` says
    expected_mass = _Float(16)  # of the score's, what the Model's sample stands for

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.integers = np.zeros(_INTEGERS + len(Reason), np.int64)
        self.floats = np.zeros(_FLOATS + 2 * MOST_CLUSTERS + contexts.NUMBERS + MASSES)
        self.seen_pairs = SeenPairs(parameters.selection.seen_pairs)
        self.model: Model | None = None
        self.epoch = -1
        self.spending = self.widening = 1.0
        self.settings_version = parameters.version
        self.release = __version__
        self._mark()
        self._told: Parameters | None = None  # parameters that whoever has applied all deltas knows

    @property
    def reasons(self) -> NDArray[np.int64]:
        """Decisions by `Reason`, int64, a view."""
        return self.integers[_INTEGERS:]

    def _part(self, start: int, size: int) -> NDArray[np.float64]:
        return self.floats[_FLOATS + start : _FLOATS + start + size]

    def _mass(self, start: int, size: int) -> NDArray[np.float64]:
        first = len(self.floats) - MASSES + start
        return self.floats[first : first + size]

    @property
    def accepted_by_cluster(self) -> NDArray[np.float64]:
        """Accepted since the clustering began, float64 [1,024], a view."""
        return self._part(0, MOST_CLUSTERS)

    @property
    def duals(self) -> NDArray[np.float64]:
        """Nu in this epoch, float64 [1,024], a view."""
        return self._part(MOST_CLUSTERS, MOST_CLUSTERS)

    @property
    def gate_histogram(self) -> NDArray[np.float64]:
        """Of the scores at the gate, a view."""
        return self._mass(0, histogram.BINS)

    @property
    def score_histogram(self) -> NDArray[np.float64]:
        """Of the scores of pairs that could have been accepted, a view."""
        return self._mass(histogram.BINS, histogram.BINS)

    @property
    def context_numbers(self) -> NDArray[np.float64]:
        """Of pages and hosts, see `RunningContexts`; a view."""
        return self._part(2 * MOST_CLUSTERS, contexts.NUMBERS)

    @property
    def context_at_gate(self) -> NDArray[np.float64]:
        """What they added to scores at the gate, a view."""
        return self._mass(2 * histogram.BINS, contexts.TABLE)

    @property
    def context_behind_it(self) -> NDArray[np.float64]:
        """What they added to the scores of pairs that could have been accepted, a view."""
        return self._mass(2 * histogram.BINS + contexts.TABLE, contexts.TABLE)

    # How it travels.

    def _mark(self) -> None:
        self._count_pairs()
        self._base_integers = self.integers.copy()
        self._base_floats = self.floats.copy()
        self._told = self.parameters
        self.seen_pairs.mark()

    def _count_pairs(self) -> None:
        seen = self.seen_pairs
        self._remembered, self._stored, self._segments = seen.count, seen.stored, seen.segments
        self._chain = int(seen.chain.astype(np.int64))
        self._old_generation, self._young_generation = seen.generations

    @property
    def _generation_size(self) -> int:
        return whole_generations(self.parameters.selection.seen_pairs)

    def _set_parameters(self, parameters: Parameters) -> None:
        """Other ones are in force: all that reads them here follows."""
        self.parameters, self.settings_version = parameters, parameters.version

    def delta(self) -> bytes:
        """What has changed since the last `delta` or `snapshot`, but for the segments of seen pairs made meanwhile.

        Parameters are a part of it where others have taken force.
        """
        self._count_pairs()
        pairs = self.seen_pairs.since_mark()
        numbers, base = self.floats[:-MASSES], self._base_floats[:-MASSES]
        places = np.flatnonzero(numbers.view(np.int64) != base.view(np.int64))
        bins = self.floats[-MASSES:] - self._base_floats[-MASSES:]
        header = {
            "format": FORMAT,
            "kind": "delta",
            "from": int(self._base_integers[0]),
            "first": pairs.first,
        }
        if self._told is not None:
            header["after"] = self._told.ledger_digest
        if self._told != self.parameters:
            header["parameters"] = self.parameters.encode()
        if self._told is None or self.release != __version__:
            header["release"] = self.release = __version__
        data = codec.encode(
            MAGIC,
            header,
            {
                "integers": codec.planes(self.integers - self._base_integers),
                "places": places.astype(np.uint16),
                "numbers": codec.planes(numbers[places]),
                "bins": codec.planes((bins * histogram.UNITS).astype(np.int64)),
                **pairs.arrays(),
            },
        )
        self._mark()
        return data

    def apply(self, delta: bytes, segments: Mapping[int, bytes] | None = None) -> None:
        """Take over what another ledger's `delta` says, made from a state equal to this one.

        Args:
            delta: from `delta`.
            segments: by index, those made meanwhile among them.

        Raises:
            IntegrityError: damaged, of a newer format, not made from this state, or a segment is missing.
        """
        header, arrays = decode(delta, "delta", self.parameters, self._remembered)
        schema.check("the ledger", header | arrays, DELTA, integers=len(self.integers))
        if (arrays["places"] >= len(self.floats) - MASSES).any():
            raise IntegrityError("the ledger is damaged: a delta changes numbers that there are not")
        if header["from"] != self.next_offset:
            raise IntegrityError(
                f"the ledger is at offset {self.next_offset}, the delta goes on from {header['from']}: one is missing"
            )
        if "after" not in header and "parameters" not in header:
            raise IntegrityError(
                "the ledger is damaged: a delta does not say under which parameters it was made"
            )
        if header.get("after", self.parameters.ledger_digest) != self.parameters.ledger_digest:
            raise IntegrityError("the delta was made from a ledger under other parameters: one is missing")
        self.release = str(header.get("release", self.release))
        self.integers += codec.joined(arrays["integers"], np.int64)
        if "parameters" in header:
            self._set_parameters(decode_parameters(header["parameters"]))
            if self.seen_pairs.size != self._generation_size:
                self.seen_pairs.merge()
        self.floats[:-MASSES][arrays["places"]] = codec.joined(arrays["numbers"], np.float64)
        self.floats[-MASSES:] += codec.joined(arrays["bins"], np.int64) / histogram.UNITS
        self._check_state()
        self._replay(segments or {}, Segment.of(header["first"], arrays))

    def snapshot(self) -> bytes:
        """The whole of it but the segments of seen pairs."""
        self._mark()
        self.release = __version__
        waiting = self.seen_pairs.waiting()
        return codec.encode(
            MAGIC,
            {
                "format": FORMAT,
                "kind": "whole",
                "release": __version__,
                "parameters": self.parameters.encode(),
                "first": waiting.first,
                "first_page": self.seen_pairs.first_segment,
            },
            {"integers": self.integers, "floats": codec.planes(self.floats), **waiting.arrays()},
        )

    @classmethod
    def restore(
        cls, parameters: Parameters, snapshot: bytes, segments: Mapping[int, bytes] | None = None
    ) -> Self:
        """A state from a snapshot and the segments that it needs; its parameters come from there, too.

        Args:
            parameters: that it was made under, where it is of a format that does not hold them.
            snapshot: from `snapshot`.
            segments: by index, from `closed_segments`; those before `first_segment` are not needed.

        Raises:
            IntegrityError: damaged, of a newer format, or a segment is missing.
        """
        header, arrays = decode(snapshot, "whole", parameters, 0)
        schema.check("the ledger", header | arrays, SNAPSHOT)
        ledger = cls(decode_parameters(header.get("parameters")))
        ledger.release = str(header.get("release"))
        floats = codec.joined(arrays["floats"], np.float64)
        if arrays["integers"].shape != ledger.integers.shape or floats.shape != ledger.floats.shape:
            raise IntegrityError("the ledger's arrays are of another size than this release gives them")
        ledger.integers[:], ledger.floats[:] = arrays["integers"], floats
        ledger._check_state()
        seen = ledger.seen_pairs
        seen.begin_at(ledger._old_generation, ledger._young_generation)
        seen.stored, seen.segments = seen.count, header["first_page"]
        ledger._replay(segments or {}, Segment.of(header["first"], arrays), chained=False)
        return ledger

    def _replay(self, segments: Mapping[int, bytes], waiting: Segment, chained: bool = True) -> None:
        """Remember pairs again: of the segments up to the counters', then those that wait.

        Args:
            segments: by index.
            waiting: those in no segment.
            chained: whether all keys since the beginning are known, so that their hash can be compared.

        Raises:
            IntegrityError: a segment is missing, or the counters say otherwise.
        """
        seen = self.seen_pairs
        for index in range(seen.segments, self._segments):
            if index not in segments:
                raise IntegrityError(
                    f"segment {index} of the ledger's seen pairs is missing: it needs segments to {self._segments - 1}"
                )
            segment = Segment.decode(segments[index], index)
            chained &= segment.first <= seen.count
            seen.replay_stored(segment)
        chained &= waiting.first <= seen.count
        seen.replay(waiting)
        seen.stored = self._stored
        if seen.size != self._generation_size:
            seen.size = self._generation_size
            seen.divide(self._old_generation, self._young_generation)
        chain = np.int64(self._chain).astype(np.uint64)
        if seen.count != self._remembered or (chained and seen.chain != chain):
            raise IntegrityError("the ledger's seen pairs do not end where its counters say")
        seen.chain = chain
        self._mark()

    @classmethod
    def first_segment(cls, snapshot: bytes) -> int:
        """Index of the oldest segment that restoring this snapshot needs."""
        header, _ = codec.decode(MAGIC, snapshot)
        schema.check("the ledger", header, {"first_page": SNAPSHOT["first_page"]})
        first: int = header["first_page"]
        return first

    def closed_segments(self) -> list[tuple[int, bytes]]:
        """Segments of the pairs that wait, encoded, with their indices: to be written once, before the next `delta`."""
        return [(index, segment.encode(index)) for index, segment in self.seen_pairs.make_segments()]

    def bind(self, model: Model) -> None:
        """Give a restored ledger the Model that was in force.

        Raises:
            IntegrityError: it is another version.
        """
        if model.version != self.model_version:
            raise IntegrityError(
                f"the ledger has model {self.model_version} in force, not {model.version}: load that version first"
            )
        self.model = model

    def copy(self) -> Self:
        """The same state once more, to go another way; the Model, which never changes, is shared."""
        return copy.deepcopy(self, {id(shared): shared for shared in (self.model, self.parameters)})

    def digest(self) -> str:
        """16 hexadecimal digits of the whole state: equal states, equal digests, however the log was cut."""
        self._count_pairs()
        state = self.integers.copy()
        state[_STORAGE] = 0
        arrays: codec.Arrays = {"integers": state, "floats": self.floats}
        return codec.digest(arrays, {"parameters": digest(self.parameters.selection)})

    def _check_state(self) -> None:
        """That it can have come about.

        Raises:
            IntegrityError: it cannot.
        """
        schema.check("the ledger", {name: getattr(self, name) for name in STATE}, STATE)
        if (
            not self.accepted <= self.seen <= self.next_offset
            or not self.epoch_seen <= self.seen
            or not self._old_generation <= self._young_generation <= self._remembered
            or not self.epoch <= self.next_offset
            or self.reasons.sum() != self.seen
            or self.reasons[Reason.ACCEPTED] != self.accepted
            or self.settings_version != self.parameters.version
        ):
            raise IntegrityError("the ledger is damaged: its counters contradict one another")
