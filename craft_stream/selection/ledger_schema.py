"""What the parts of a ledger must be: of its bytes, before anything is made of them, and of its state, before it decides."""

from __future__ import annotations

from functools import partial

import numpy as np

from craft_stream.schema import Array, Number, Schema
from craft_stream.selection import contexts, histogram

# Numbers of a state that are masses, in whole units: two histograms, and what contexts added to their scores.
MASSES = 2 * histogram.BINS + 2 * contexts.TABLE
_LARGE = 1e18
# Pairs wait in a delta or a snapshot until there are enough of them for a segment.
_PAIRS: Schema = {
    "marks": Array("uint16", ("pairs",)),
    "lengths": Array("uint8", ("pairs",)),
    "gaps": Array("uint8", (2, "fingerprints")),
}
SEGMENT: Schema = {"first": Number(), **_PAIRS}
SNAPSHOT: Schema = {
    "first": Number(),
    "first_page": Number(),
    "integers": Array("int64", ("integers",)),
    "floats": Array("uint8", (8, "floats")),
    **_PAIRS,
}
DELTA: Schema = {
    "first": Number(),
    "from": Number(),
    "integers": Array("uint8", (8, "integers")),
    "places": Array("uint16", ("changed",), ascending=True),
    "numbers": Array("uint8", (8, "changed")),
    "bins": Array("uint8", (8, MASSES)),
    **_PAIRS,
}
# Of a release that knew no contexts.
DELTA_WITHOUT_CONTEXTS: Schema = {**DELTA, "bins": Array("uint8", (8, 2 * histogram.BINS))}

_mass = partial(Number, 0, _LARGE, whole=False)
# By the attributes of `LedgerState`.
STATE: Schema = {
    **{
        name: Number()
        for name in (
            "next_offset", "seen", "accepted", "epoch_seen", "model_version", "clustering",
            "settings_version", "_remembered", "_stored", "_segments", "_old_generation", "_young_generation",
        )
    },
    "epoch": Number(-1),
    **{
        name: _mass()
        for name in (
            "epoch_allowance", "unspendable", "clustering_allowance", "gate_mass", "score_mass", "tail", "tail_mass",
            "largest_share", "passed", "unlisted", "reached", "new", "widening",
            "expected_mass",
        )
    },
    "spending": Number(0, 1, whole=False),
    "gate": Number(-np.inf, np.inf, whole=False),
    "threshold": Number(-np.inf, np.inf, whole=False),
    "reasons": Array("int64", ("reasons",), 0, _LARGE),
    "accepted_by_cluster": Array("float64", ("clusters",), 0, _LARGE),
    "duals": Array("float64", ("clusters",), -1e3, 1e3),
    "gate_histogram": Array("float64", (histogram.BINS,), 0, _LARGE),
    "score_histogram": Array("float64", (histogram.BINS,), 0, _LARGE),
    "context_numbers": Array("float64", (contexts.NUMBERS,), -_LARGE, _LARGE),
    "context_at_gate": Array("float64", (contexts.TABLE,), 0, _LARGE),
    "context_behind_it": Array("float64", (contexts.TABLE,), 0, _LARGE),
}  # fmt: skip
