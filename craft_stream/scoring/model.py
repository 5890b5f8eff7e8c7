"""The Model: an immutable version of all that scoring needs, made by the learner and read by every selector."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.scoring.prediction import Correction, WideRegression
from craft_stream.scoring.quality import FEATURES, QualityClassifier
from craft_stream.scoring.surface import Characters
from craft_stream.scoring.translation import Lexicon

MAGIC = b"CRAFTMDL"
FORMAT = 2
_SHRINKAGE = 8.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A sample of the stream as the Model scores it: what a selector expects before it has seen anything.

    With an expensive encoder only a part is embedded, the nearest to the domain and a sample of the others, and stands for
    the rest.

    Attributes:
        domain: float32 [S], standardised domain scores.
        quality: float32 [S], log P(clean); NaN where it cannot be accepted whatever that is, and where it is not embedded.
        cluster: int16 [S]; `NO_CLUSTER` where it is not embedded.
        distance: float32 [S], CRAFT's conditional expected distance, negated; 0 where it is not embedded.
        weight: float32 [S], the pairs of the sample that an embedded one stands for; 0 where it is not embedded.
    """

    domain: NDArray[np.float32]
    quality: NDArray[np.float32]
    cluster: NDArray[np.int16]
    distance: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def embedded(self) -> Calibration:
        """Those that are embedded."""
        rows = self.weight > 0
        return Calibration(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def standardised(
        self, distance: NDArray[np.float32], cluster: NDArray[np.int16], clusters: int
    ) -> NDArray[np.float32]:
        """CRAFT's negated distances in units of their spread over the stream within each cluster, float32 [n].

        A cluster's mean and spread are shrunk to those of all with the weight of eight pairs; without a sample distances
        stay as they are.
        """
        sample = self.embedded
        if not len(sample.distance):
            return distance
        sizes = np.bincount(sample.cluster, minlength=clusters) + _SHRINKAGE
        overall, spread = float(sample.distance.mean()), float(sample.distance.std()) + 1e-6
        mean = (np.bincount(sample.cluster, sample.distance, clusters) + _SHRINKAGE * overall) / sizes
        squares = np.bincount(sample.cluster, (sample.distance - mean[sample.cluster]) ** 2, clusters)
        deviation = np.sqrt((squares + _SHRINKAGE * spread**2) / sizes)
        return np.asarray((distance - mean[cluster]) / deviation[cluster], np.float32)


@dataclass(frozen=True)
class Model:
    """One version.

    Attributes:
        version: 1, 2, ...
        learning_digest: of the learning parameters it was made under.
        encoder: digest of the encoder.
        cascade: the encoder is expensive: the gate looks at the domain score alone, and only what passes is embedded.
        identifier: what tells languages, with its version; empty: nothing does.
        languages: of source and target, as in "en-fr"; what is neither is rejected.
        target_version: digest of the reservoir.
        target_pairs: pairs in the reservoir.
        pairs_seen: pairs of the stream that the learner had seen.
        clustering: number of the clustering; cluster indices mean the same while it stays.
        mean, deviation: of the corrected raw domain score over the stream.
        tail: first-term domain score above which a pair looks like the target (`learning.density`).
        tail_share: pi, share of the stream above `tail`, in units of the target's own share above it.
        domain_weights: float32 [2^NGRAM_BITS, 2], see `scoring.domain`.
        source_weights, target_weights: float32 [2^STEM_BITS], stem weights of the hashing encoder.
        centroids: float32 [D, K], unit columns; shares: float64 [K], of the target.
        lexicon, characters, forward, backward, correction, head, calibration: see their classes.
        conditional: the paper's clustered regression, E[Y | x, c] by the reservoir alone.
    """

    version: int
    learning_digest: str
    encoder: str
    cascade: bool
    identifier: str
    languages: str
    target_version: str
    target_pairs: int
    pairs_seen: int
    clustering: int
    mean: float
    deviation: float
    tail: float
    tail_share: float
    domain_weights: NDArray[np.float32]
    source_weights: NDArray[np.float32]
    target_weights: NDArray[np.float32]
    centroids: NDArray[np.float32]
    shares: NDArray[np.float64]
    lexicon: Lexicon
    characters: Characters
    forward: WideRegression
    backward: WideRegression
    correction: Correction
    conditional: Correction
    head: QualityClassifier
    calibration: Calibration

    @property
    def header(self) -> dict[str, Any]:
        """The scalar fields, as JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int | float | str)}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array under its dotted name, such as `lexicon.joint`."""
        found: dict[str, NDArray[Any]] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if is_dataclass(value):
                found |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
            elif isinstance(value, np.ndarray):
                found[item.name] = value
        return found

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits over everything but the version number."""
        return codec.digest(self.arrays, {**self.header, "version": 0})

    @property
    def clusters(self) -> int:
        """K."""
        return len(self.shares)

    def renumbered(self, version: int) -> Model:
        """The same Model under another version number."""
        return replace(self, version=version)

    def encode(self) -> bytes:
        """As bytes, compressed and checksummed."""
        return codec.encode(MAGIC, {**self.header, "format": FORMAT, "digest": self.digest}, self.arrays)

    @classmethod
    def decode(cls, data: bytes) -> Model:
        """From bytes.

        Raises:
            IntegrityError: damaged, of a newer format, or not a Model.
        """
        header, arrays = codec.decode(MAGIC, data)
        if header.pop("format", None) != FORMAT:
            raise IntegrityError(
                f"the model is of another format than {FORMAT}: upgrade craft_stream, or pin an older version"
            )
        digest = header.pop("digest")
        parts: dict[str, Any] = {}
        for name, kind in _PARTS.items():
            prefix = f"{name}."
            parts[name] = kind(
                **{
                    key.removeprefix(prefix): arrays.pop(key)
                    for key in list(arrays)
                    if key.startswith(prefix)
                }
            )
        try:
            model = cls(**(header | arrays | parts))
        except TypeError as error:
            raise IntegrityError(f"the model lacks a part or has one too many: {error}") from error
        if model.head.mean.shape != (len(FEATURES),) or model.head.weights.shape != (2 * len(FEATURES) + 1,):
            raise IntegrityError(
                f"model {model.version} judges {len(model.head.mean)} features of a pair, this version of craft_stream has "
                f"{len(FEATURES)}: learn a new model, or run the version that made it"
            )
        if model.digest != digest:
            raise IntegrityError(
                f"model {model.version} says that its digest is {digest}, but it is {model.digest}"
            )
        return model


_PARTS: dict[str, Any] = {
    "lexicon": Lexicon,
    "characters": Characters,
    "forward": WideRegression,
    "backward": WideRegression,
    "correction": Correction,
    "conditional": Correction,
    "head": QualityClassifier,
    "calibration": Calibration,
}
