"""What a Model's parts must be: the table that everything read is held against before a kernel sees it.

Bounds are far from what learning makes (the greatest weight seen is 9, the greatest count 10^10) and near enough that no sum of
what a pair looks up leaves the range of its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from craft_stream.errors import IntegrityError
from craft_stream.schema import Array, Number, check
from craft_stream.scoring.lexicon import BUCKET_BITS
from craft_stream.scoring.likeness import LEAST_DISTANCE
from craft_stream.scoring.prediction import ROW_BITS
from craft_stream.scoring.translation import JUDGED_FEATURES
from craft_stream.text.bags import STEM_BITS
from craft_stream.text.ngrams import CHARACTER_BITS, NGRAM_BITS

LARGEST_VERSION = (1 << 31) - 1
_CLUSTERS = 1024
_WEIGHT, _LARGE, _MANY, _FLOAT32 = 1e4, 1e6, 1e15, 3.4e38
# Of what is divided by: the least normal float32.
_POSITIVE = 1.2e-38
_DEEPEST = 12

_weights = partial(Array, "float32", low=-_WEIGHT, high=_WEIGHT)
_counts = partial(Array, "float32", low=0, high=_MANY)
_number = partial(Number, whole=False)

SCHEMA: dict[str, Array | Number] = {
    "version": Number(1, LARGEST_VERSION),
    "target_pairs": Number(),
    "pairs_seen": Number(),
    "clustering": Number(),
    "domain.mean": _number(-_LARGE, _LARGE),
    "domain.deviation": _number(1e-9, _LARGE),
    "domain.tail": _number(-_LARGE, _LARGE),
    "domain.tail_share": _number(0, 10),
    "target_keys": Array("uint64", ("keys",), ascending=True),
    "translation.source_weights": _counts((1 << STEM_BITS,)),
    "translation.target_weights": _counts((1 << STEM_BITS,)),
    "translation.centroids": Array("float32", ("D", "K"), -1.01, 1.01),
    "translation.shares": Array("float64", ("K",), 0, 1),
    "translation.lexicon.joint": Array("uint32", (4 << BUCKET_BITS,)),
    "translation.lexicon.source_mass": _counts((1 << STEM_BITS,)),
    "translation.lexicon.target_mass": _counts((1 << STEM_BITS,)),
    "translation.lexicon.source_count": _counts((1 << STEM_BITS,)),
    "translation.lexicon.target_count": _counts((1 << STEM_BITS,)),
    "translation.lexicon.totals": Array("float64", (2,), 0, _MANY),
    "translation.characters.source": _weights((1 << CHARACTER_BITS,)),
    "translation.characters.target": _weights((1 << CHARACTER_BITS,)),
    "translation.forward.rows": Array("int8", (1 << ROW_BITS, "D")),
    "translation.forward.scales": _weights((1 << ROW_BITS,)),
    "translation.backward.rows": Array("int8", (1 << ROW_BITS, "D")),
    "translation.backward.scales": _weights((1 << ROW_BITS,)),
    "translation.correction.weights": _weights(("K", "D+1", "D")),
    "translation.correction.means": _weights(("K", "D")),
    "translation.correction.variances": Array("float32", ("K",), 1e-12, _LARGE),
    "translation.conditional.weights": _weights(("K", "D+1", "D")),
    "translation.conditional.means": _weights(("K", "D")),
    "translation.conditional.variances": Array("float32", ("K",), 1e-12, _LARGE),
    "translation.judgement.features": Array("int16", ("trees", "inner"), 0, len(JUDGED_FEATURES) - 1),
    "translation.judgement.thresholds": Array("float32", ("trees", "inner"), -np.inf, np.inf),
    "translation.judgement.leaves": _weights(("trees", "inner+1")),
    "classifier.mean": Array("float32", ("features",), -_LARGE, _LARGE),
    "classifier.deviation": Array("float32", ("features",), _POSITIVE, _LARGE),
    "classifier.weights": _weights(("weights",)),
    "signals.mean": Array("float32", ("signals",), -_FLOAT32, _FLOAT32),
    "signals.deviation": Array("float32", ("signals",), _POSITIVE, _FLOAT32),
    "signals.weights": _weights(("signals", 3)),
    "domain.weights": _weights((1 << NGRAM_BITS, 2)),
    "calibration.domain": Array("float32", ("sample",), -_LARGE, _LARGE),
    "calibration.quality": Array("float32", ("sample",), -_LARGE, 0, nan=True),
    "calibration.cluster": Array("int16", ("sample",), -1, _CLUSTERS - 1),
    "calibration.distance": Array("float32", ("sample",), -_LARGE, _LARGE),
    "calibration.weight": Array("float32", ("sample",), 0, _LARGE),
}

# Of a Model whose encoder has one space for both languages; others have none of these.
LIKENESS: dict[str, Array | Number] = {
    "translation.likeness.related": _number(-1.01, 1.01),
    "translation.likeness.unrelated": _number(-1.01, 1.01),
    "translation.likeness.trees.features": Array(
        "int16", ("likeness_trees", "likeness_inner"), 0, len(JUDGED_FEATURES)
    ),
    "translation.likeness.trees.thresholds": Array(
        "float32", ("likeness_trees", "likeness_inner"), -np.inf, np.inf
    ),
    "translation.likeness.trees.leaves": _weights(("likeness_trees", "likeness_inner+1")),
}


def check_parts(parts: Mapping[str, Any]) -> None:
    """Hold a Model's numbers and arrays, by their dotted names, against the schema, and against one another.

    Raises:
        IntegrityError: one is missing, or is not as it must be; names it.
    """
    of_likeness = any(name in parts for name in LIKENESS)
    sizes = check("the model", parts, SCHEMA | LIKENESS if of_likeness else SCHEMA)
    clusters, inner, identifier = sizes["K"], sizes["inner"], parts.get("translation.identifier")
    likeness_inner = sizes.get("likeness_inner", inner)
    for sound, problem in (
        (1 <= clusters <= _CLUSTERS, f"it has {clusters} clusters"),
        (abs(parts["translation.shares"].sum() - 1) < 1e-6, "the shares of its clusters do not add up to 1"),
        (
            all(0 < n < 1 << _DEEPEST and n & (n + 1) == 0 for n in (inner, likeness_inner)),
            "its trees are not whole",
        ),
        (
            not of_likeness
            or parts["translation.likeness.related"]
            > parts["translation.likeness.unrelated"] + LEAST_DISTANCE,
            "sides that belong together are no nearer than others",
        ),
        (sizes["weights"] == 2 * sizes["features"] + 1, "its classifier does not weigh its features"),
        (_clustered(parts, clusters), "its calibration names clusters that it has not"),
        (_named(parts.get("signals.names"), sizes["signals"]), "it does not name the signals that it weighs"),
        (
            not identifier or str(parts.get("translation.languages")).count("-") == 1,
            "it does not say which languages a pair is in",
        ),
    ):
        if not sound:
            raise IntegrityError(f"the model is damaged: {problem}")


def _clustered(parts: Mapping[str, Any], clusters: int) -> bool:
    cluster, weight = parts["calibration.cluster"], parts["calibration.weight"]
    return bool((cluster < clusters).all() and (cluster[weight > 0] >= 0).all())


def _named(names: object, count: int) -> bool:
    return isinstance(names, list | tuple) and len(set(map(str, names))) == len(names) == count
