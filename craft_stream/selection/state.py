"""The state of a Ledger: named numbers in two flat arrays and seen pairs, and the bytes in which they travel.

Numbers live in flat arrays so that a delta is what changed in them; seen pairs travel by the pair, and in pages. A state
that has applied every delta equals the one that made them, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.scoring.model import Model
from craft_stream.selection import histogram
from craft_stream.selection.decisions import Reason
from craft_stream.selection.seen import SeenPairs, first_remembered
from craft_stream.selection.segments import Segment

MAGIC = b"CRAFTLDG"
FORMAT = 4

# Where seen pairs are stored follows from how the log was cut into transactions, so it is no part of the digest.
_STORAGE = ("stored", "pages")
_INTEGERS = (
    "next_offset",
    "epoch",
    "seen",
    "accepted",
    "epoch_seen",
    "model_version",
    "clustering",
    "remembered",
    "chain",
    *_STORAGE,
)
_FLOATS = (
    "allowance",  # A(t) at the epoch's start
    "spending",  # rho_t / rho in this epoch
    "unspendable",  # pairs of the budget given up so far
    "clustering_allowance",  # A(t) when the clustering began
    "gate",
    "threshold",
    "gate_mass",
    "score_mass",
    "tail",
    "tail_mass",
    "largest_share",
)


class LedgerState:
    """What a partition has decided, as numbers with names, and how that travels.

    Attributes:
        integers: int64; the counters named in this module, then decisions by reason.
        floats: float64; the numbers named in this module, then accepted by cluster, duals, and the two histograms.
        seen_pairs: accepted pairs that are remembered.
        model: the Model in force; None before the first epoch and after a restore until `bind`.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        clusters = parameters.learning.clusters
        self.integers = np.zeros(len(_INTEGERS) + len(Reason), np.int64)
        self.floats = np.zeros(len(_FLOATS) + 2 * clusters + 2 * histogram.BINS)
        self.seen_pairs = SeenPairs(parameters.selection.seen_pairs)
        self.model: Model | None = None
        self._clusters = clusters
        self._set("epoch", -1)
        self._floats_at("spending", 1.0)
        self._mark()

    # Named views of the arrays.

    def _get(self, name: str) -> int:
        return int(self.integers[_INTEGERS.index(name)])

    def _set(self, name: str, value: int) -> None:
        self.integers[_INTEGERS.index(name)] = value

    def _float(self, name: str) -> float:
        return float(self.floats[_FLOATS.index(name)])

    def _floats_at(self, name: str, value: float) -> None:
        self.floats[_FLOATS.index(name)] = value

    def _part(self, start: int, size: int) -> NDArray[np.float64]:
        base = len(_FLOATS) + start
        return self.floats[base : base + size]

    @property
    def reasons(self) -> NDArray[np.int64]:
        """Decisions by `Reason`, int64 [10], a view."""
        return self.integers[len(_INTEGERS) :]

    @property
    def accepted_by_cluster(self) -> NDArray[np.float64]:
        """Accepted since the clustering began, float64 [K at most], a view."""
        return self._part(0, self._clusters)

    @property
    def duals(self) -> NDArray[np.float64]:
        """Nu in this epoch, float64 [K at most], a view."""
        return self._part(self._clusters, self._clusters)

    @property
    def _gate_scores(self) -> NDArray[np.float64]:
        return self._part(2 * self._clusters, histogram.BINS)

    @property
    def _scores(self) -> NDArray[np.float64]:
        return self._part(2 * self._clusters + histogram.BINS, histogram.BINS)

    @property
    def next_offset(self) -> int:
        """The offset after the last record that was decided or skipped."""
        return self._get("next_offset")

    @property
    def model_version(self) -> int:
        """Version of the Model in force; 0 before the first."""
        return self._get("model_version")

    # How it travels.

    def _mark(self) -> None:
        self._count_pairs()
        self._base_integers = self.integers.copy()
        self._base_floats = self.floats.copy()
        self.seen_pairs.mark()

    def _count_pairs(self) -> None:
        seen = self.seen_pairs
        self._set("remembered", seen.count)
        self._set("chain", int(np.int64(seen.chain.astype(np.int64))))
        self._set("stored", seen.stored)
        self._set("pages", seen.pages)

    def _header(self, kind: str) -> dict[str, Any]:
        return {"format": FORMAT, "kind": kind, "parameters": self.parameters.ledger_digest}

    def delta(self) -> bytes:
        """What has changed since the last `delta` or `snapshot`, but for the pages of seen pairs made meanwhile."""
        self._count_pairs()
        pairs = self.seen_pairs.since_mark()
        numbers, base = self.floats[: -2 * histogram.BINS], self._base_floats[: -2 * histogram.BINS]
        places = np.flatnonzero(numbers.view(np.int64) != base.view(np.int64))
        bins = self.floats[-2 * histogram.BINS :] - self._base_floats[-2 * histogram.BINS :]
        data = codec.encode(
            MAGIC,
            {**self._header("delta"), "from": int(self._base_integers[0]), "first": pairs.first},
            {
                "integers": _planes(self.integers - self._base_integers),
                "places": places.astype(np.uint16),
                "numbers": _planes(numbers[places]),
                "bins": _planes((bins * histogram.UNITS).astype(np.int64)),
                **pairs.arrays(),
            },
        )
        self._mark()
        return data

    def apply(self, delta: bytes, pages: Mapping[int, bytes] | None = None) -> None:
        """Take over what another ledger's `delta` says, made from a state equal to this one.

        Args:
            delta: from `delta`.
            pages: by index, those made meanwhile among them.

        Raises:
            IntegrityError: damaged, of other parameters, not made from this state, or a page is missing.
        """
        header, arrays = codec.decode(MAGIC, delta)
        self._check(header, "delta")
        if header["from"] != self.next_offset:
            raise IntegrityError(
                f"the ledger is at offset {self.next_offset}, the delta goes on from {header['from']}: one is missing"
            )
        self.integers += _joined(arrays["integers"], np.int64)
        self.floats[: -2 * histogram.BINS][arrays["places"]] = _joined(arrays["numbers"], np.float64)
        self.floats[-2 * histogram.BINS :] += _joined(arrays["bins"], np.int64) / histogram.UNITS
        self._replay(pages or {}, Segment.of(header["first"], arrays))

    def snapshot(self) -> bytes:
        """The whole of it but the pages of seen pairs."""
        self._mark()
        waiting = self.seen_pairs.waiting()
        return codec.encode(
            MAGIC,
            {**self._header("whole"), "first": waiting.first, "first_page": self.seen_pairs.first_page},
            {"integers": self.integers, "floats": _planes(self.floats), **waiting.arrays()},
        )

    @classmethod
    def restore(
        cls, parameters: Parameters, snapshot: bytes, pages: Mapping[int, bytes] | None = None
    ) -> Self:
        """A state from a snapshot and the pages that it needs.

        Args:
            parameters: must be those that the ledger was made under.
            snapshot: from `snapshot`.
            pages: by index, from `closed_pages`; those before `first_page` are not needed.

        Raises:
            IntegrityError: damaged, of another format or other parameters, or a page is missing.
        """
        header, arrays = codec.decode(MAGIC, snapshot)
        ledger = cls(parameters)
        ledger._check(header, "whole")
        floats = _joined(arrays["floats"], np.float64)
        if arrays["integers"].shape != ledger.integers.shape or floats.shape != ledger.floats.shape:
            raise IntegrityError("the ledger's arrays are of another size than these parameters give")
        ledger.integers[:], ledger.floats[:] = arrays["integers"], floats
        seen = ledger.seen_pairs
        seen.begin_at(first_remembered(ledger._get("remembered"), seen.size))
        seen.stored, seen.pages = seen.count, int(header["first_page"])
        ledger._replay(pages or {}, Segment.of(header["first"], arrays), chained=False)
        return ledger

    def _replay(self, pages: Mapping[int, bytes], waiting: Segment, chained: bool = True) -> None:
        """Remember pairs again: of the pages up to the counters', then those that wait.

        Args:
            pages: by index.
            waiting: those in no page.
            chained: whether all keys since the beginning are known, so that their hash can be compared.

        Raises:
            IntegrityError: a page is missing, or the counters say otherwise.
        """
        seen = self.seen_pairs
        for index in range(seen.pages, self._get("pages")):
            if index not in pages:
                raise IntegrityError(
                    f"page {index} of the ledger's seen pairs is missing: it needs pages to {self._get('pages') - 1}"
                )
            page = Segment.decode(pages[index], index)
            chained &= page.first <= seen.count
            seen.replay_stored(page)
        chained &= waiting.first <= seen.count
        seen.replay(waiting)
        seen.stored = self._get("stored")
        chain = np.uint64(self.integers[_INTEGERS.index("chain")].astype(np.uint64))
        if seen.count != self._get("remembered") or (chained and seen.chain != chain):
            raise IntegrityError("the ledger's seen pairs do not end where its counters say")
        seen.chain = chain
        self._mark()

    @classmethod
    def first_page(cls, snapshot: bytes) -> int:
        """Index of the oldest page that restoring this snapshot needs."""
        header, _ = codec.decode(MAGIC, snapshot)
        return int(header["first_page"])

    def closed_pages(self) -> list[tuple[int, bytes]]:
        """Pages of the pairs that wait, encoded, with their indices: to be written once, before the next `delta`."""
        return [(index, page.encode(index)) for index, page in self.seen_pairs.make_pages()]

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

    def twin(self) -> Self:
        """The same state once more, to go another way; the Model, which never changes, is shared."""
        return copy.deepcopy(self, {id(shared): shared for shared in (self.model, self.parameters)})

    def digest(self) -> str:
        """16 hexadecimal digits of the whole state: equal states, equal digests, however the log was cut."""
        self._count_pairs()
        state = self.integers.copy()
        for name in _STORAGE:
            state[_INTEGERS.index(name)] = 0
        arrays: codec.Arrays = {"integers": state, "floats": self.floats}
        return codec.digest(arrays, {"parameters": self.parameters.ledger_digest})

    def _check(self, header: dict[str, Any], kind: str) -> None:
        if header.get("format") != FORMAT:
            raise IntegrityError(
                f"the ledger is of format {header.get('format')}, this version reads {FORMAT}: upgrade"
            )
        if header.get("kind") != kind:
            raise IntegrityError(f"this is a ledger's {header.get('kind')}, not a {kind}")
        own = self.parameters.ledger_digest
        if header.get("parameters") != own:
            raise IntegrityError(
                f"the ledger was made under parameters {header.get('parameters')}, these are {own} (lists left out): "
                "restore the old settings, or begin a new group"
            )


def _planes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of 8 bytes, all first bytes, then all second ones, uint8 [8, n]: in most planes there is little to write."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8).T


def _joined(planes: NDArray[np.uint8], dtype: type) -> NDArray[Any]:
    """The values again."""
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
