"""The demo's text: gettext catalogues that installed packages ship, and what a crawl would have done to them.

Every package is under a permissive licence (BSD or MIT). The noise is of the kinds, and in the shares, that crawls have:
targets of other sources, copies, another language (the packages' own German), mojibake and cut texts, repetitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import orjson

from connectors.gettext import translations
from craft_stream.errors import MissingExtraError

# the distributions, and what the report calls them
PACKAGES = {
    "Trac": "Trac",
    "jupyterlab-language-pack-fr-FR": "Jupyter",
    "Django": "Django",
    "django-allauth": "allauth",
    "django-cms": "django CMS",
    "Sphinx": "Sphinx",
}
DOMAIN = "Trac"
NOISE = {"misaligned": 0.15, "copy": 0.05, "wrong language": 0.05, "garbled": 0.03, "repeated": 0.05}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair and what the report knows about it; the engine is given neither label.

    Attributes:
        id, source, target: the pair.
        package: where it comes from.
        noise: what was done to it, a key of `NOISE`; empty: nothing.
    """

    id: str
    source: str
    target: str
    package: str
    noise: str = ""

    def record(self) -> bytes:
        """The pair as a record, without its labels."""
        return orjson.dumps({"id": self.id, "src": self.source, "tgt": self.target})


@dataclass(frozen=True, slots=True)
class Catalogues:
    """A target and a stream.

    Attributes:
        target: half of the domain's pairs; none of them is in the stream.
        stream: the other half, the other packages, and noise, shuffled.
    """

    target: Sequence[Labelled]
    stream: Sequence[Labelled]

    @classmethod
    def installed(cls, seed: int = 0) -> Catalogues:
        """Read what is installed.

        Raises:
            ConfigurationError: a package of the demo is missing.
        """
        rng = random.Random(seed)
        pairs = list(_pairs())
        domain = [pair for pair in pairs if pair.package == DOMAIN]
        rng.shuffle(domain)
        half = len(domain) // 2
        clean = [pair for pair in pairs if pair.package != DOMAIN] + domain[half:]
        stream = [*clean, *_noise(clean, rng)]
        rng.shuffle(stream)
        return cls(domain[:half], stream)


def _pairs() -> Iterator[Labelled]:
    seen: set[tuple[str, str]] = set()
    for package in PACKAGES:
        number = 0
        for source, target in _read(package, ("fr", "fr_FR")):
            if source != target and (source, target) not in seen:
                seen.add((source, target))
                yield Labelled(f"{package}-{number}", source, target, package)
                number += 1


def _read(package: str, languages: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in _files(package, languages):
        yield from translations(str(path))


def _files(package: str, languages: Sequence[str]) -> list[Path]:
    return [path for path in _all_files(package) if path.parent.parent.name in languages]


@cache
def _all_files(package: str) -> list[Path]:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise MissingExtraError(f"the demo reads the French catalogue of {package} and", "demo") from None
    found = [file for file in files if file.name.endswith(".mo") and file.parent.name == "LC_MESSAGES"]
    return sorted(Path(str(file.locate())) for file in found)


def _noise(clean: Sequence[Labelled], rng: random.Random) -> Iterator[Labelled]:
    german = {source: target for package in PACKAGES for source, target in _read(package, ("de",))}
    total = len(clean) / (1 - sum(NOISE.values()))
    for kind, share in NOISE.items():
        able = [pair for pair in clean if pair.source in german] if kind == "wrong language" else clean
        for number, pair in enumerate(rng.sample(able, min(round(share * total), len(able)))):
            spoilt = pair.target
            if kind == "misaligned":
                spoilt = rng.choice(clean).target
            elif kind == "copy":
                spoilt = pair.source
            elif kind == "wrong language":
                spoilt = german[pair.source]
            elif kind == "garbled":
                spoilt = _garbled(pair.target, rng)
            yield replace(pair, id=f"{kind.replace(' ', '-')}-{number}", target=spoilt, noise=kind)


def _garbled(text: str, rng: random.Random) -> str:
    if not text.isascii() and rng.random() < 0.5:
        return text.encode().decode("latin-1")
    return text[: max(1, len(text) // 3)]
