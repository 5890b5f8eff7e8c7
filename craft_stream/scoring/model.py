"""The Model: an immutable version of all that scoring needs, made by the learner and read by every selector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, TypeVar, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from craft_stream import codec
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import LearningParameters
from craft_stream.schema import check_format, has_type
from craft_stream.scoring.calibration import Calibration
from craft_stream.scoring.domain import DomainModel
from craft_stream.scoring.model_schema import check_parts
from craft_stream.scoring.quality import QualityClassifier, feature_names
from craft_stream.scoring.signals import SignalModel
from craft_stream.scoring.translation import TranslationModel

MAGIC = b"CRAFTMDL"
FORMAT = 6
_WITHOUT_LIKENESS = 5  # is what other Models are written as, which 0.1.0 reads
OLDEST = 5  # that is read: of 0.1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """One version.

    Attributes:
        version: 1, 2, ...
        learning: what it was learned under, as far as that is in it; see `LearningParameters.lasting`.
        target_version: digest of the reservoir.
        target_pairs: pairs in the reservoir that it is learned from.
        target_left_out: pairs in the reservoir that are not, by what was found of them; see `learning.examination`.
        target_keys: uint64 [keys], ascending; `text.keys.pair_keys` of all pairs in the reservoir.
        pairs_seen: pairs of the stream that the learner had seen, or that an even sample which it has seen stands for.
        clustering: number of the clustering; cluster indices mean the same while it stays.
        translation, classifier, signals, domain, calibration: see their classes.
    """

    version: int
    learning: LearningParameters
    target_version: str
    target_pairs: int
    target_left_out: dict[str, int]
    target_keys: NDArray[np.uint64]
    pairs_seen: int
    clustering: int
    translation: TranslationModel
    classifier: QualityClassifier
    signals: SignalModel
    domain: DomainModel
    calibration: Calibration

    @property
    def header(self) -> dict[str, Any]:
        """Every number and text under its dotted name, such as `domain.tail`, as JSON values."""
        return {name: value for name, value in _leaves(self) if not isinstance(value, np.ndarray)}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array under its dotted name, such as `translation.lexicon.joint`."""
        return {name: value for name, value in _leaves(self) if isinstance(value, np.ndarray)}

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits over everything but the version number."""
        return codec.digest(self.arrays, {**self.header, "version": 0})

    @property
    def of_texts(self) -> bool:
        """The target was texts of one side: there is no key of a pair that it holds."""
        return not len(self.target_keys)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the target in each cluster, float64 [K]."""
        return self.translation.shares

    @property
    def clusters(self) -> int:
        """K."""
        return len(self.shares)

    def encode(self) -> bytes:
        """As bytes, compressed and checksummed."""
        format_ = _WITHOUT_LIKENESS if self.translation.likeness is None else FORMAT
        return codec.encode(MAGIC, {**self.header, "format": format_, "digest": self.digest}, self.arrays)

    @classmethod
    def decode(cls, data: bytes) -> Model:
        """From bytes.

        Raises:
            IntegrityError: damaged, of another format, or not a Model.
        """
        header, arrays = codec.decode(MAGIC, data)
        remedy = "learn a new model, or run the release that made it"
        check_format("the model", int(header.pop("format", 0)), range(OLDEST, FORMAT + 1), remedy)
        digest = header.pop("digest", None)
        model = cls.of(header | arrays)
        if model.digest != digest:
            raise IntegrityError(
                f"model {model.version} says that its digest is {digest}, but it is {model.digest}"
            )
        return model

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Model:
        """From its numbers and arrays by their dotted names.

        Raises:
            IntegrityError: one is missing, not known, or not as it must be (`scoring.model_schema`).
        """
        check_parts(parts)
        leaves = dict(parts)
        try:
            model = _built(cls, leaves, "")
        except (TypeError, ConfigurationError) as error:
            raise IntegrityError(f"the model's header is damaged: {error}") from error
        if leaves:
            raise IntegrityError(f"the model has parts that are not known here: {', '.join(sorted(leaves))}")
        count = len(feature_names(model.translation))
        if len(model.classifier.mean) != count:
            raise IntegrityError(
                f"model {model.version} judges {len(model.classifier.mean)} features of a pair, this version of craft_stream "
                f"has {count}: learn a new model, or run the version that made it"
            )
        return model


def _leaves(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every field that is no dataclass itself; a part that may be missing has none where it is."""
    for item in fields(part):
        value = getattr(part, item.name)
        if is_dataclass(value):
            yield from _leaves(value, f"{prefix}{item.name}.")
        elif value is not None:
            yield prefix + item.name, value


def _built(kind: type[T], leaves: dict[str, Any], prefix: str) -> T:
    """A dataclass from its leaves, which are taken out of the dictionary."""
    values: dict[str, Any] = {}
    for name, of in get_type_hints(kind).items():
        if isinstance(of, type) and is_dataclass(of):
            values[name] = _built(of, leaves, f"{prefix}{name}.")
        elif part := next((one for one in get_args(of) if is_dataclass(one)), None):
            inside = f"{prefix}{name}."
            known = any(key.startswith(inside) for key in leaves)
            values[name] = _built(cast("type[Any]", part), leaves, inside) if known else None
        elif prefix + name in leaves:
            value = leaves.pop(prefix + name)
            if not has_type(value, of):
                raise IntegrityError(f"the model is damaged: its part {prefix}{name} is {value!r:.50}")
            values[name] = tuple(value) if isinstance(value, list) else value
        else:
            raise IntegrityError(f"the model lacks its part {prefix}{name}")
    return kind(**values)
