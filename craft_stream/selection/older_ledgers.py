"""Ledgers as an older release wrote them, brought to the form that this one reads; nothing of them is lost.

Format 6, of 0.1.0: no parameters, but a digest of those that a ledger depended on; as many places for clusters as
`learning.clusters`; generations of seen pairs that all have one size; nothing of pages and hosts, which are learned anew.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.parameters import MOST_CLUSTERS, Parameters, digest_of
from craft_stream.selection import contexts

OLDEST = 6
# Named integers, and floats, of format 6, and the place of the pairs remembered; floats that are named since.
_INTEGERS, _FLOATS, _REMEMBERED = 11, 11, 7
_NEW_FLOATS = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
_SELECTION = (
    "method", "rate", "ahead", "relaxation", "domain_weight", "gate", "quality_weight", "quality_floor", "horizon", "window",
    "duplicates", "near_duplicate", "seen_pairs", "abstain", "page_weight", "host_weight",
)  # fmt: skip
_UNIT = 4096

Arrays = dict[str, NDArray[Any]]


def upgrade(
    header: dict[str, Any], arrays: Arrays, parameters: Parameters, remembered: int
) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of a snapshot or a delta of format 6, as of format 8.

    Args:
        header, arrays: as they were written.
        parameters: that it was made under.
        remembered: pairs that were remembered before a delta.

    Raises:
        IntegrityError: it was made under others.
    """
    own = _digest(parameters)
    if header.get("parameters") != own:
        raise IntegrityError(
            f"the ledger was made by release 0.1.0 under settings of digest {header.get('parameters')}, these are {own}: "
            "start once with the settings that it was made under, and change them with `craft-stream settings apply`"
        )
    header = {**header, "release": "0.1.0", "parameters": replace(parameters, version=0).encode()}
    integers = arrays["integers"] if header["kind"] != "delta" else codec.joined(arrays["integers"], np.int64)
    if len(integers) < _INTEGERS:
        raise IntegrityError("the ledger is damaged: it lacks counters")
    clusters, size = parameters.learning.clusters, max(parameters.selection.seen_pairs // _UNIT, 1) * _UNIT
    if header["kind"] == "delta":
        del header["parameters"]
        header["after"] = parameters.ledger_digest
        after = _generations(remembered + int(integers[_REMEMBERED]), size)
        integers = _with_generations(integers, after - _generations(remembered, size))
        places = arrays["places"].astype(np.int64)
        places[places >= _FLOATS + clusters] += MOST_CLUSTERS - clusters
        places[places >= _FLOATS] += len(_NEW_FLOATS)
        bins = np.concatenate(
            [codec.joined(arrays["bins"], np.int64), np.zeros(2 * contexts.TABLE, np.int64)]
        )
        own_arrays: Arrays = {
            "integers": codec.planes(integers),
            "places": places.astype(np.uint16),
            "bins": codec.planes(bins),
        }
        return header, {**arrays, **own_arrays}
    floats = codec.joined(arrays["floats"], np.float64)
    integers = _with_generations(integers, _generations(int(integers[_REMEMBERED]), size))
    missing = np.zeros(MOST_CLUSTERS - clusters)
    edges = [_FLOATS, _FLOATS + clusters, _FLOATS + 2 * clusters]
    named, accepted, duals, histograms = np.split(floats, edges)
    pages, tables = np.zeros(contexts.NUMBERS), np.zeros(2 * contexts.TABLE)
    floats = np.concatenate(
        [named, _NEW_FLOATS, accepted, missing, duals, missing, pages, histograms, tables]
    )
    return header, {**arrays, "integers": integers, "floats": codec.planes(floats)}


def _generations(remembered: int, size: int) -> NDArray[np.int64]:
    """First pairs of the older generation and of the younger."""
    young = remembered // size * size
    return np.array([max(0, young - size), young])


def _with_generations(integers: NDArray[np.int64], generations: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers with those of generations, and no version of settings, behind the named ones."""
    return np.concatenate([integers[:_INTEGERS], generations, [0], integers[_INTEGERS:]])


def _digest(parameters: Parameters) -> str:
    """What 0.1.0 called the parameters that a ledger depends on."""
    values = asdict(parameters.selection)
    chosen = {f"selection.{name}": values[name] for name in _SELECTION}
    return digest_of(
        {**chosen, "encoder": parameters.encoder, "learning.clusters": parameters.learning.clusters}
    )
