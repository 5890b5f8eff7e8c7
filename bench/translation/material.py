"""What the benchmark of translation is made of: stream, target and test sets, written as a corpus of `bench.corpus`.

The stream holds the corpus's own (noise and all), the training parts of seven OPUS domains and of the WMT Biomedical task,
spoilt as the corpus is (28 %, and 5 % copies, by `bench.catalogue_corpus.spoil`), and crawled pairs that people judged,
which bring their own noise. Targets of the biomedical and OPUS domains are held out of their training parts, whole
documents where these are known. Whatever says what a test set says is taken out of stream and targets.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import zstandard

from bench.catalogue_corpus import Pair, spoil
from bench.translation.decontamination import TestTexts, words

TARGET = 1500  # pairs of a target at most, as many as a user may have: 1,000 to 2,000
OPUS_TARGET = 1000  # an OPUS domain has 5,000 pairs in all
OPUS = ("EMEA", "JRC-Acquis", "TED2020")
CORPUS = ("finance", "fiction")
DOMAINS = ("medline", *OPUS, *CORPUS)
GENERAL = ("flores", "ntrex")
MEDLINE_TESTS = ("medline19", "medline20")
# what people said of crawled pairs, in the words of `bench.corpus.NOISE`; other labels leave the pair clean
JUDGED = {"A": "misaligned", "L": "wronglang"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document(Pair):
    """A pair with what is known of where it comes from.

    Attributes:
        document: names the text that it was taken from, equal for pairs of one text.
        bicleaner: Bicleaner's score where the pair was published with one.
    """

    document: str | None = None
    bicleaner: float | None = None


@dataclass(frozen=True)
class Material:
    """Stream, targets and tests by domain, and what was done to get them."""

    stream: list[Document]
    targets: dict[str, list[Pair]]
    tests: Mapping[str, Sequence[Pair]]
    notes: dict[str, Any]


def gather(corpus: Path, real: Path, records: int | None = None, seed: int = 0) -> Material:
    """Read everything and put it together.

    Args:
        corpus: folder of the en-fr corpus.
        real: folder of the public sets, one folder each.
        records: how many of the corpus's records to draw at random; None takes all.
        seed: of what is drawn, held out, spoilt and shuffled.
    """
    rng = random.Random(seed)
    tests = _tests(corpus, real)
    seen = TestTexts((pair.source, pair.target) for own in tests.values() for pair in own)
    removed: Counter[str] = Counter()

    def untouched(pairs: Iterable[Any], part: str) -> list[Any]:
        kept = []
        for pair in pairs:
            if seen.contaminate(pair.source, pair.target):
                removed[part] += 1
            else:
                kept.append(pair)
        return kept

    own = [_of_corpus(row) for row in _rows(corpus / "stream.jsonl.zst")]
    if records is not None and records < len(own):
        own = rng.sample(own, records)
    held, clean = {}, []
    medline, others = _biomedical(real)
    held["medline"], rest = _whole_documents(medline, TARGET, rng)
    clean += rest + others
    opus = _opus(real, "train")
    for domain, pairs in opus.items():
        rng.shuffle(pairs)
        cut = OPUS_TARGET if domain in OPUS else 0
        held[domain], rest = pairs[:cut], pairs[cut:]
        clean += rest
    for domain in CORPUS:
        pairs = [_pair(row, domain) for row in _rows(corpus / "target" / f"{domain}.jsonl.zst")]
        held[domain] = rng.sample(pairs, min(TARGET, len(pairs)))
    targets = {domain: untouched(held[domain], f"target {domain}") for domain in DOMAINS}
    spoilt = spoil(untouched(clean, "clean"), _foreign(real), seed)
    stream = untouched(own, "corpus") + spoilt + untouched(_judged(real), "judged")
    stream = [pair for pair in stream if words(pair.source) and words(pair.target)]
    rng.shuffle(stream)
    notes = {
        "seed": seed,
        "corpus_records": len(own),
        "contaminated": dict(removed),
        "stream": len(stream),
        "noise": dict(Counter(pair.noise or "clean" for pair in stream)),
        "domains": dict(Counter(pair.domain for pair in stream)),
        "targets": {domain: len(pairs) for domain, pairs in targets.items()},
        "tests": {name: len(pairs) for name, pairs in tests.items()},
    }
    return Material(stream, targets, tests, notes)


def write(material: Material, folder: Path) -> None:
    """Write a corpus folder: `stream.jsonl.zst`, `target/`, `test/`, and `notes.json`.

    A record's id is its place in the stream. `stream.jsonl` beside it holds ids, texts and documents alone: what a
    selector may see.
    """
    for part, sets in (("target", material.targets), ("test", material.tests)):
        for name, pairs in sets.items():
            _write(folder / part / f"{name}.jsonl.zst", map(_fields, pairs))
    rows = [{"id": str(index), **_fields(pair)} for index, pair in enumerate(material.stream)]
    shown = ("id", "src", "tgt", "document")
    (folder / "stream.jsonl").write_bytes(
        b"".join(orjson.dumps({key: row[key] for key in shown if key in row}) + b"\n" for row in rows)
    )
    (folder / "notes.json").write_bytes(orjson.dumps(material.notes, option=orjson.OPT_INDENT_2))
    _write(folder / "stream.jsonl.zst", rows)


def head(folder: Path, pairs: int, out: Path) -> int:
    """Write the beginning of a written corpus as another, targets whole; returns the pairs that it has."""
    rows = list(islice(_rows(folder / "stream.jsonl.zst"), pairs))
    _write(out / "stream.jsonl.zst", rows)
    with open(folder / "stream.jsonl", "rb") as shown:
        (out / "stream.jsonl").write_bytes(b"".join(islice(shown, pairs)))
    shutil.copytree(folder / "target", out / "target")
    return len(rows)


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Both sides of a written set."""
    rows = list(_rows(path))
    return [row["src"] for row in rows], [row["tgt"] for row in rows]


def bicleaner(folder: Path) -> dict[int, float]:
    """Scores that came with pairs of the written stream, by their place in it."""
    rows = _rows(folder / "stream.jsonl.zst")
    return {index: row["bicleaner"] for index, row in enumerate(rows) if "bicleaner" in row}


def _tests(corpus: Path, real: Path) -> dict[str, list[Document]]:
    rows = list(_rows(real / "biomed-fr" / "test.en-fr.jsonl.zst"))
    tests = {"medline": [_pair(row, "medline") for row in rows if row["set"] in MEDLINE_TESTS]}
    opus = _opus(real, "test")
    tests |= {domain: opus[domain] for domain in OPUS}
    tests |= {
        domain: [_pair(row, domain) for row in _rows(corpus / "test" / f"{domain}.jsonl.zst")]
        for domain in CORPUS
    }
    general = {"flores": "flores200/devtest.jsonl.zst", "ntrex": "ntrex/newstest2019.jsonl.zst"}
    for name, path in general.items():
        tests[name] = [Document(row["en"], row["fr"], name) for row in _rows(real / path)]
    return tests


def _biomedical(real: Path) -> tuple[list[Document], list[Document]]:
    """Medline's training pairs, and those of the other biomedical sets."""
    pairs: tuple[list[Document], list[Document]] = ([], [])
    for row in _rows(real / "biomed-fr" / "train.en-fr.jsonl.zst"):
        domain = row["set"]
        found = Document(row["src"], row["tgt"], domain, document=f"{domain}:{row['doc']}")
        pairs[domain != "medline"].append(found)
    return pairs


def _opus(real: Path, split: str) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for row in _rows(real / "opus-domains" / "en-fr.jsonl.zst"):
        if row["split"] == split:
            found.setdefault(row["domain"], []).append(_pair(row, row["domain"]))
    return found


def _judged(real: Path) -> Iterator[Document]:
    for row in _rows(real / "paracrawl-human" / "en-fr.jsonl.zst"):
        score = row.get("bicleaner")
        yield Document(
            row["src"],
            row["tgt"],
            "paracrawl",
            JUDGED.get(row["label"]),
            document=row.get("url_src") or None,
            bicleaner=None if score is None else float(score),
        )


def _foreign(real: Path) -> list[dict[str, str]]:
    """Texts of other languages by their English, valid crawled pairs of a dozen of them."""
    found: dict[str, dict[str, str]] = {}
    for row in _rows(real / "paracrawl-human" / "others.jsonl.zst"):
        if row["label"] == "V":
            found.setdefault(row["pair"], {})[row["src"]] = row["tgt"]
    return list(found.values())


def _whole_documents(
    pairs: Sequence[Document], wanted: int, rng: random.Random
) -> tuple[list[Document], list[Document]]:
    """At most `wanted` pairs of documents drawn at random, and those of all other documents."""
    sizes = Counter(pair.document for pair in pairs)
    documents = sorted(sizes, key=str)
    rng.shuffle(documents)
    held, total = set(), 0
    for document in documents:
        if total + sizes[document] <= wanted:
            held.add(document)
            total += sizes[document]
    return [p for p in pairs if p.document in held], [p for p in pairs if p.document not in held]


def _of_corpus(row: Row) -> Document:
    return Document(row["src"], row["tgt"], row["domain"], row["noise"])


def _pair(row: Row, domain: str) -> Document:
    return Document(row["src"], row["tgt"], domain)


def _fields(pair: Pair) -> Row:
    row = asdict(pair)
    fields = {"src": row.pop("source"), "tgt": row.pop("target"), "noise": row.pop("noise")}
    return fields | {key: value for key, value in row.items() if value is not None}


def _rows(path: Path) -> Iterator[Row]:
    with open(path, "rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
            yield orjson.loads(line)


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"".join(orjson.dumps(row) + b"\n" for row in rows)))
