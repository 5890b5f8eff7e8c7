"""A corpus for `bench.quality` from message catalogues (.po, .mo) of unpacked packages, in any language.

The texts are the packages', under their licences: a corpus is for measuring and is never committed. Domains are told by
package (`bench/catalogues.toml`), the source is English. Noise is of the kinds and in the shares of the corpus that the
constants were chosen on (docs/reference/benchmarks.md); it replaces the pair that it is made of. With `--shared` only messages
stay that other languages translate too, so that corpora of several languages differ in the language alone.

example, and the same messages in French to measure it by:
  python -m bench.catalogue_corpus --packages UNPACKED --language hi --other mr,ne,de --shared fr --output CORPORA/en-hi
  python -m bench.catalogue_corpus --packages UNPACKED --language fr --other es,it,de --shared hi --output CORPORA/en-fr
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import orjson
import zstandard

from connectors.files import open_source
from craft_stream.errors import DataError, RecordError
from craft_stream.reading.records import read_pair
from craft_stream.settings import RecordSettings

# shares of the stream
NOISE = {"misaligned": 0.15, "copy": 0.05, "wronglang": 0.05, "garbled": 0.03}
DUPLICATES = 0.05
# most pairs of the target and of the test set, and the largest share of the domain that each takes
HELD = {"target": 2000, "test": 1000}
HELD_SHARE = 1 / 7
DOMAINS = Path(__file__).with_name("catalogues.toml")
_BOILERPLATE = ("Copyright © All rights reserved.", "Share on Facebook | Tweet", "Add to cart - In stock")
# the letter that opens a menu, as `_File`, `&File`, or after the text where the script has no such key: `(_F)`, `(&F)`
_ACCELERATOR = re.compile(r"\s*\([&_]\w\)|(?<!\w)_(?=\w)|&(?=\w)(?!\w+;)")
_IDENTIFIER = re.compile(r"\w*_\S*")
_RECORD = RecordSettings()

Catalogue = Mapping[str, Mapping[str, str]]  # by domain, the translation of each message


@dataclass(frozen=True, slots=True)
class Pair:
    """A message with its translation.

    Attributes:
        source, target: its two sides.
        domain: the first domain that holds it.
        noise: what was done to it, as `bench.corpus` names it; None: nothing.
    """

    source: str
    target: str
    domain: str
    noise: str | None = None


def read(packages: Path, domains: Mapping[str, Sequence[str]], language: str) -> Catalogue:
    """The translations into a language, each message in the first domain that holds it.

    Args:
        packages: folder of unpacked packages.
        domains: patterns of paths below it, by domain.
        language: name of the folder (or of the file, without its ending) that a catalogue of the language is under.

    Returns:
        texts with single spaces and without accelerators; what is an identifier or the same on both sides is left out, and a
        message that is translated in two ways has the first.
    """
    found: dict[str, dict[str, str]] = {domain: {} for domain in domains}
    known: set[str] = set()
    files = sorted(_files(packages, language))
    for domain, patterns in domains.items():
        for path in files:
            if any(fnmatch(path.relative_to(packages).as_posix(), pattern) for pattern in patterns):
                for source, target in _messages(path):
                    if source not in known:
                        known.add(source)
                        found[domain][source] = target
    return found


def _files(packages: Path, language: str) -> Iterator[Path]:
    for path in packages.rglob("*"):
        if path.suffix == ".po" and path.with_suffix(".mo").exists():
            continue
        parts = path.relative_to(packages)
        if path.suffix in (".po", ".mo") and language in (*parts.parent.parts, parts.stem):
            yield path


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    try:
        source = open_source(str(path), _RECORD)
    except DataError as error:
        print(f"left out: {error}", file=sys.stderr)
        return
    while messages := source.read(1000):
        for message in messages:
            try:
                pair = read_pair(message, _RECORD)
            except RecordError:  # a context without a message
                continue
            sides = _plain(pair.source), _plain(pair.target)
            if all(sides) and sides[0] != sides[1] and not _IDENTIFIER.fullmatch(sides[0]):
                yield sides


def _plain(text: str) -> str:
    return " ".join(_ACCELERATOR.sub("", text).split())


def clean(catalogue: Catalogue, shared: Sequence[Catalogue] = ()) -> list[Pair]:
    """All pairs whose message the `shared` catalogues translate too, sorted by message.

    A message is of the first domain in which any of them holds it: then corpora of these languages have the same messages in
    the same domains.
    """
    first: dict[str, str] = {}
    for domain in catalogue:
        for texts in (other[domain] for other in (catalogue, *shared)):
            first |= {source: domain for source in texts if source not in first}
    own = _flat(catalogue)
    common = set(own).intersection(*map(_flat, shared))
    return [Pair(source, own[source], first[source]) for source in sorted(common)]


def _flat(catalogue: Catalogue) -> dict[str, str]:
    return {source: text for texts in catalogue.values() for source, text in texts.items()}


def hold(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], dict[str, dict[str, list[Pair]]]]:
    """Split into what the stream is made of, and the target and test sets by set and domain."""
    rest: list[Pair] = []
    rng = random.Random(seed)
    held: dict[str, dict[str, list[Pair]]] = {part: {} for part in HELD}
    for domain in dict.fromkeys(pair.domain for pair in pairs):
        own = [pair for pair in pairs if pair.domain == domain]
        rng.shuffle(own)
        start = 0
        for part, most in HELD.items():
            stop = start + min(most, int(len(own) * HELD_SHARE))
            held[part][domain], start = own[start:stop], stop
        rest += own[start:]
    return rest, held


def spoil(pairs: Sequence[Pair], others: Sequence[Mapping[str, str]], seed: int) -> list[Pair]:
    """The stream: the pairs, a share of them spoilt, and copies of others, shuffled.

    Args:
        pairs: clean pairs.
        others: translations of the same messages into other languages.
        seed: of what is spoilt, which is the same for the same messages in any language, and of how.
    """
    total = len(pairs) / (1 - DUPLICATES)
    rng, texts = random.Random(seed), random.Random(seed)
    order = rng.sample(range(len(pairs)), len(pairs))
    foreign = [list(other.values()) for other in others]
    stream, start = list(pairs), 0
    for kind, share in NOISE.items():
        stop = start + round(share * total)
        for index in order[start:stop]:
            spoilt = _spoilt(kind, pairs[index], pairs, others, foreign, texts)
            stream[index] = replace(pairs[index], target=spoilt, noise=kind)
        start = stop
    copied = (pairs[index] for index in order[start : start + round(DUPLICATES * total)])
    stream += [replace(pair, noise="duplicate") for pair in copied]
    rng.shuffle(stream)
    return stream


def _spoilt(
    kind: str,
    pair: Pair,
    pairs: Sequence[Pair],
    others: Sequence[Mapping[str, str]],
    foreign: Sequence[Sequence[str]],
    rng: random.Random,
) -> str:
    if kind == "misaligned":
        return _unlike(pair, (rng.choice(pairs).target for _ in range(100)))
    if kind == "copy":
        return pair.source
    if kind == "wronglang":
        return _foreign(pair, others, foreign, rng)
    return _garbled(pair.target, rng)


def _unlike(pair: Pair, candidates: Iterable[str]) -> str:
    """The first that is neither side of the pair."""
    return next(text for text in candidates if text not in (pair.source, pair.target))


def _foreign(
    pair: Pair, others: Sequence[Mapping[str, str]], foreign: Sequence[Sequence[str]], rng: random.Random
) -> str:
    """The message in another language as often as not, else another message in one."""

    def candidates() -> Iterator[str]:
        if rng.random() < 0.5:
            yield from (
                other[pair.source] for other in rng.sample(others, len(others)) if pair.source in other
            )
        for _ in range(100):
            yield rng.choice(foreign[rng.randrange(len(foreign))])

    return _unlike(pair, candidates())


def _garbled(text: str, rng: random.Random) -> str:
    """Encoded twice, cut at either end, or with a page's furniture behind it."""
    kind = rng.random()
    if kind < 0.4 and not text.isascii():
        return text.encode().decode("latin-1")
    if kind < 0.8 and len(text) > 1:
        cut = rng.randint(1, max(1, 2 * len(text) // 3))
        return text[cut:] if rng.random() < 0.3 else text[:-cut]
    return f"{text} | {rng.choice(_BOILERPLATE)}"


def write(path: Path, pairs: Iterable[Pair], prefix: str) -> None:
    """Write pairs as zstd JSON lines, with ids."""
    lines = (
        orjson.dumps(
            {
                "id": f"{prefix}-{number:07d}",
                "src": pair.source,
                "tgt": pair.target,
                "domain": pair.domain,
                "noise": pair.noise,
            }
        )
        for number, pair in enumerate(pairs)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"".join(line + b"\n" for line in lines)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(
        "python -m bench.catalogue_corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packages", type=Path, required=True, help="folder of unpacked packages")
    parser.add_argument("--language", required=True, help="name of the catalogues' folder, as hi or pt_BR")
    parser.add_argument("--output", type=Path, required=True, help="the corpus's folder; is made")
    parser.add_argument("--domains", type=Path, default=DOMAINS, help="TOML: patterns of paths by domain")
    parser.add_argument("--other", type=names, default=[], help="comma-separated: the wrong languages")
    parser.add_argument(
        "--shared", type=names, default=[], help="comma-separated: only messages that these translate too"
    )
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    noisy = chosen.other or chosen.shared
    if not noisy:
        parser.error("--other or --shared: where should text of a wrong language come from?")
    domains = tomllib.loads(chosen.domains.read_text(encoding="utf-8"))["domains"]
    catalogues = {
        language: read(chosen.packages, domains, language)
        for language in dict.fromkeys([chosen.language, *chosen.other, *chosen.shared])
    }
    prefix = f"en-{chosen.language}"
    pairs = clean(catalogues[chosen.language], [catalogues[language] for language in chosen.shared])
    rest, held = hold(pairs, chosen.seed)
    others = [_flat(catalogues[name]) for name in noisy]
    stream = spoil(rest, [other for other in others if other], chosen.seed)
    write(chosen.output / "stream.jsonl.zst", stream, prefix)
    for part, sets in held.items():
        for domain, own in sets.items():
            write(chosen.output / part / f"{domain}.jsonl.zst", own, f"{prefix}-{domain}-{part}")
    sizes, spoilt = Counter(pair.domain for pair in stream), Counter(pair.noise for pair in stream)
    print(
        f"{len(pairs)} distinct pairs, {len(stream)} in the stream; clean {spoilt.pop(None)}, {dict(spoilt)}"
    )
    for domain in domains:
        ends = ", ".join(f"{part} {len(held[part].get(domain, ()))}" for part in HELD)
        print(f"{domain:10s} stream {sizes[domain]}, {ends}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
