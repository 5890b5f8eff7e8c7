"""Parameters of the learner and the selector: plain frozen values, checked, with a digest.

They are a part of every decision, so their digest is written into it. A Ledger carries them, and others may take force at the
start of an epoch.
"""

from __future__ import annotations

import hashlib
import json
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args

from craft_stream.errors import ConfigurationError
from craft_stream.spelling import nearest_name

Method = Literal["craft-plus", "craft"]
Identifier = Literal["none", "py3langid", "eldc"]
MOST_CLUSTERS = 1024

P = TypeVar("P", "LearningParameters", "SelectionParameters")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)


@dataclass(frozen=True, slots=True)
class LearningParameters:
    """What the learner keeps and how often it publishes.

    Attributes:
        reservoir_size: target pairs kept, an even sample (bottom-k by hash) of larger targets; all of them teach the domain,
            4,096 at most what a translation is.
        clusters: topics that the target is divided into, at most; fewer where it is small (one for each 8 pairs).
        sample_rate: share of the stream that is learned from, after `full_until` pairs.
        full_until: pairs that are all learned from, at the start.
        embedded_rate: with an expensive encoder, share of the stream whose embeddings are learned from.
        identifier: what tells the languages of both sides, so that pairs of others are rejected: "none", "py3langid", or "eldc"
            (an extra).
        languages: source and target, as in "en-fr"; empty: those of the target.
        prime_pairs: pairs of the stream that are learned from before the first decision.
        prime_seconds: how long to wait for them on a topic that holds fewer.
        publish_pairs: pairs between versions of the model; the first come at 2,048, 4,096, 8,192, ... pairs, late ones after
            an eighth of all pairs seen, up to four times this.
        half_life: pairs after which what was seen of the stream counts half as much when a version is calibrated.
        discriminant: weight in nearness of a linear classifier of words; full once the target holds 2,000 pairs, less before;
            0 turns it off.
        balance: how strongly nearness is lowered for what has been accepted too often (beta); 0 turns it off.
        correction_ridge: ridge of what is learned of translations within a topic (lambda); infinity turns it off.
        seed: of every hash and random number.
    """

    reservoir_size: int = 65_536
    clusters: int = 64
    sample_rate: float = 0.03125
    full_until: int = 50_000
    embedded_rate: float = 0.03125
    identifier: Identifier = "none"
    languages: str = ""
    prime_pairs: int = 50_000
    prime_seconds: float = 30.0
    publish_pairs: int = 204_800
    half_life: float = 2_000_000.0
    discriminant: float = 0.6
    balance: float = 2.1
    correction_ridge: float = 5.0
    seed: int = 0

    def contradicts(self, learned: LearningParameters) -> list[str]:
        """What is set here to another value than a Model was learned under; what is left at its default contradicts nothing.

        Args:
            learned: of the Model.
        """
        mine, theirs, default = (asdict(each) for each in (self.lasting, learned, LearningParameters()))
        return [
            f"learner.{name} = {value} (the model: {theirs[name]})"
            for name, value in mine.items()
            if value not in (theirs[name], default[name])
        ]

    @property
    def lasting(self) -> LearningParameters:
        """These with defaults for what only says when Models come: `prime_pairs`, `prime_seconds`, `publish_pairs`."""
        default = LearningParameters()
        return replace(
            self,
            prime_pairs=default.prime_pairs,
            prime_seconds=default.prime_seconds,
            publish_pairs=default.publish_pairs,
        )

    def __post_init__(self) -> None:
        _check(1 <= self.reservoir_size <= 1 << 20, "learner.reservoir_size must be between 1 and 1048576")
        _check(1 <= self.clusters <= MOST_CLUSTERS, f"learner.clusters must be between 1 and {MOST_CLUSTERS}")
        _check(0 < self.sample_rate <= 1, "learner.sample_rate must be above 0 and at most 1")
        _check(
            self.identifier in get_args(Identifier),
            f"learner.identifier must be one of {get_args(Identifier)}",
        )
        _check(
            not self.languages or self.identifier != "none",
            'learner.languages needs a learner.identifier, "py3langid" or "eldc"',
        )
        _check(0 < self.embedded_rate <= 1, "learner.embedded_rate must be above 0 and at most 1")
        _check(self.prime_pairs >= 0, "learner.prime_pairs must not be negative")
        _check(self.publish_pairs >= 1024, "learner.publish_pairs must be at least 1024")
        _check(self.half_life >= 1024, "learner.half_life must be at least 1024")
        _check(self.discriminant >= 0, "learner.discriminant must not be negative")
        _check(self.balance >= 0, "learner.balance must not be negative")
        _check(self.correction_ridge > 0, "learner.correction_ridge must be above 0")


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """How the selector decides, but for how much.

    Each part of "craft-plus" can be turned off alone: the domain score by its weight, P(clean) by its weight and its floor,
    the clusters' help by `relaxation` = 1, duplicates by `duplicates` and `near_duplicate`, abstaining by `abstain`.

    Attributes:
        method: "craft-plus", or "craft": only the criterion of the CRAFT paper, decided online.
        ahead: how far spending may be ahead of the budget, as a share of what `horizon` pairs earn (less at the start): room
            for a web site of the domain that comes early.
        relaxation: how far topics may be from their share of the target (lambda): from 1 - lambda to 1 / (1 - lambda) times
            it; 0 is exactly, 1 is freely.
        domain_weight: weight of nearness to the domain in the score; at 0 every pair is checked for quality.
        gate: pairs near enough to be checked for quality, per accepted pair, and more where few of them are fit and new; from
            2.5 to 6 the result is the same.
        quality_weight: weight of quality, log P(clean), in the score.
        quality_floor: pairs of lower quality, log P(clean), are rejected: -0.3 is 74 %; -infinity turns it off.
        horizon: pairs over which overspending is paid back: about as many as the stream needs to show all that it holds.
        window: pairs over which the distribution of scores is remembered.
        duplicates: reject what has been accepted before, and what the target holds.
        near_duplicate: likeness to an accepted pair from which a pair is rejected, 1 is the same (Jaccard similarity of word
            bigrams, both sides); above 1 turns it off.
        seen_pairs: accepted pairs remembered exactly for duplicates; between this and twice this.
        abstain: spend less when the stream holds less of the domain than it did.
        page_weight: weight of what other pairs of its page tell of a pair's domain: those before it, or all of them where files
            are read again; 0: none.
        host_weight: the same of its host (web site).
    """

    method: Method = "craft-plus"
    ahead: float = 0.5
    relaxation: float = 0.5
    domain_weight: float = 1.0
    gate: float = 3.0
    quality_weight: float = 3.5
    quality_floor: float = -0.3
    horizon: int = 400_000
    window: int = 1_000_000
    duplicates: bool = True
    near_duplicate: float = 0.55
    seen_pairs: int = 65_536
    abstain: bool = False
    page_weight: float = 1.0
    host_weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.method in ("craft-plus", "craft"), 'selection.method must be "craft-plus" or "craft"')
        _check(
            0 <= self.relaxation < 1 or self.relaxation == 1, "selection.relaxation must be between 0 and 1"
        )
        _check(self.domain_weight >= 0, "selection.domain_weight must not be negative")
        _check(self.gate >= 1, "selection.gate must be at least 1")
        _check(self.near_duplicate > 0, "selection.near_duplicate must be above 0")
        _check(
            self.horizon >= 1024 and self.window >= 1024,
            "selection.horizon and .window must be at least 1024",
        )
        _check(self.page_weight >= 0, "selection.page_weight must not be negative")
        _check(self.host_weight >= 0, "selection.host_weight must not be negative")
        _check(self.ahead >= 0, "selection.ahead must not be negative")
        _check(4096 <= self.seen_pairs <= 1 << 26, "selection.seen_pairs must be between 4096 and 67108864")


@dataclass(frozen=True, slots=True)
class SelectionParameters(SelectionRules):
    """How the selector decides: `SelectionRules`, and how much.

    Attributes:
        rate: budget; share of the stream's pairs to accept.
    """

    rate: float = 0.05

    def __post_init__(self) -> None:
        SelectionRules.__post_init__(self)
        _check(0 <= self.rate <= 1, "budget.rate must be between 0 and 1")


def check_names(names: Iterable[str], *kinds: type) -> None:
    """Raise ConfigurationError for the first name that no field of the dataclasses has, with the nearest that one has."""
    known = [field.name for kind in kinds for field in fields(kind)]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f'unknown parameter "{name}"; the nearest known one is "{nearest_name(name, known)}"'
            )


def digest(parameters: LearningParameters | SelectionParameters | Parameters) -> str:
    """16 hexadecimal digits of SHA-256 over the canonical JSON of parameters, but for the number of their version."""
    return digest_of({name: value for name, value in asdict(parameters).items() if name != "version"})


def digest_of(values: dict[str, Any]) -> str:
    """16 hexadecimal digits of SHA-256 over canonical JSON."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def lists_digest(lists: Mapping[str, str]) -> str:
    """16 hexadecimal digits of all lists together, by the names of their settings and the digests of each; empty for none."""
    return digest_of(dict(lists)) if lists else ""


def hashing_digest(dimensions: int = 128) -> str:
    """Digest of the hashing encoder; its last number changes with the hash functions."""
    return f"hashing-{dimensions}-2"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Both halves' parameters, and what else decisions depend on.

    Attributes:
        learning: see `LearningParameters`.
        selection: see `SelectionParameters`.
        encoder: digest of the encoder and its weights; that of `load_encoder()` unless said.
        listed: digest of the lists of what must not be accepted; empty without any.
        version: number under which they were published for a consumer group; 0: they were not.
    """

    learning: LearningParameters = field(default_factory=LearningParameters)
    selection: SelectionParameters = field(default_factory=SelectionParameters)
    encoder: str = hashing_digest()
    listed: str = ""
    version: int = 0

    @classmethod
    def of(cls, encoder: str = hashing_digest(), **values: Any) -> Parameters:
        """Parameters by their names, whichever half they are of; what is not named has its default.

        Raises:
            ConfigurationError: a name is unknown, or a value is not allowed.
        """
        check_names(values, LearningParameters, SelectionParameters)
        defaults = asdict(LearningParameters()) | asdict(SelectionParameters())
        for name, value in values.items():
            _check_number(name, value, defaults[name])
        learning, selection = (
            {field.name: values[field.name] for field in fields(half) if field.name in values}
            for half in (LearningParameters, SelectionParameters)
        )
        return cls(LearningParameters(**learning), SelectionParameters(**selection), encoder)

    @property
    def digest(self) -> str:
        """See `digest`."""
        return digest(self)

    @property
    def ledger_digest(self) -> str:
        """16 hexadecimal digits of what a ledger holds of them: all but the lists, and the version's number too."""
        return _ledger_digest(self)

    def numbered(self, version: int) -> Parameters:
        """The same under the number of a version."""
        return replace(self, version=version)

    def encode(self) -> dict[str, Any]:
        """As JSON values, but for what is listed; infinities are numbers there."""
        values = asdict(self)
        del values["listed"]
        return values

    @classmethod
    def decode(cls, values: Mapping[str, Any]) -> Parameters:
        """From `encode`; what an older release did not know has its default.

        Raises:
            ConfigurationError: a name is unknown here, or a value is not allowed.
        """
        try:
            return cls(
                _decoded(LearningParameters, values["learning"]),
                _decoded(SelectionParameters, values["selection"]),
                str(values["encoder"]),
                version=int(values["version"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"these are no parameters: {type(error).__name__}: {error}") from error


def _check_number(name: str, value: Any, default: Any) -> None:
    """Refuse what is no number where the default is one; numpy's numbers are."""
    if type(default) in (int, float) and not isinstance(value, numbers.Real):
        example = "; 5 % is 0.05" if name == "rate" else f", such as {default}"
        raise ConfigurationError(f"{name} is {value!r}, which is no number{example}")


@lru_cache(maxsize=64)
def _ledger_digest(parameters: Parameters) -> str:
    return digest_of(Parameters.decode(parameters.encode()).encode())  # 1 is 1.0, as it comes back


def _decoded(kind: type[P], values: Mapping[str, Any]) -> P:
    """Parameters of a half; each value must be of the kind of its default."""
    check_names(values, kind)
    default = asdict(kind())
    for name, value in values.items():
        of, wanted = type(value), type(default[name])
        if (of is not wanted and not (wanted is float and of is int)) or value != value:
            raise ConfigurationError(f"the parameter {name} is {value!r}, which is no {wanted.__name__}")
    return kind(**{name: type(default[name])(value) for name, value in values.items()})
