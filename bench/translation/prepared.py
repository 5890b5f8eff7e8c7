"""What travels from `prepare` to `train`: one folder of a few compressed files.

`pieces.model` is the SentencePiece model of both languages; `tokens.npz.xz` the pieces of the whole stream, `tests.json.xz`
the texts of the test sets, and `selections.npz.xz` with `selections.json` what each method selected. Reading needs numpy
alone.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pieces of a side that a model is shown; what is longer is cut, and counts no more than this in a budget.
LONGEST = 100
PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
# of the records that come back in one file
_SELECTIONS, _TOKENS, _TESTS, _PIECES = "selections", "tokens.npz.xz", "tests.json.xz", "pieces.model"


@dataclass(frozen=True)
class Side:
    """Texts of one language as pieces, end to end.

    Attributes:
        pieces: uint16 [total].
        offsets: int64 [n + 1], where each text begins.
    """

    pieces: NDArray[np.uint16]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Side:
        """Pack lists of pieces, each cut at `LONGEST`."""
        cut = [text[:LONGEST] for text in texts]
        flat = np.fromiter((piece for text in cut for piece in text), np.uint16)
        return cls(flat, np.concatenate([[0], np.cumsum([len(text) for text in cut], dtype=np.int64)]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Int64 [n], pieces of each text."""
        return np.diff(self.offsets)

    def text(self, index: int) -> NDArray[np.uint16]:
        """The pieces of one text."""
        return self.pieces[self.offsets[index] : self.offsets[index + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Selected:
    """What a method selected at a budget.

    Attributes:
        domain, method: of whom; the domain is empty where all share the selection.
        budget: share of the stream's source tokens.
        chosen: int32 [m], places in the stream.
        notes: tokens, seconds and what else is worth a row.
    """

    domain: str
    method: str
    budget: float
    chosen: NDArray[np.int32]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """Everything that training and translating need."""

    folder: Path
    source: Side
    target: Side
    tests: Mapping[str, tuple[list[str], list[str]]]
    selections: Sequence[Selected]
    notes: Mapping[str, Any]

    @property
    def pieces(self) -> Path:
        """The SentencePiece model's file."""
        return self.folder / _PIECES

    @property
    def domains(self) -> list[str]:
        """Names of the tests that are a domain's, not general."""
        return [name for name in self.tests if name not in self.notes["general"]]

    def judged_by(self, domains: Sequence[str]) -> list[str]:
        """Names of the tests of models of these domains: theirs first, then the general ones."""
        return [*domains, *self.notes["general"]]


def write_tokens(folder: Path, source: Side, target: Side) -> None:
    """Write the stream's pieces."""
    arrays: dict[str, NDArray[Any]] = {
        "source": source.pieces,
        "source_lengths": source.lengths.astype(np.uint8),
        "target": target.pieces,
        "target_lengths": target.lengths.astype(np.uint8),
    }
    _write_arrays(folder / _TOKENS, arrays)


def read_tokens(folder: Path) -> tuple[Side, Side]:
    """The stream's pieces, source and target."""
    arrays = _read_arrays(folder / _TOKENS)
    sides = []
    for name in ("source", "target"):
        lengths = arrays[f"{name}_lengths"].astype(np.int64)
        sides.append(Side(arrays[name], np.concatenate([[0], np.cumsum(lengths)])))
    return sides[0], sides[1]


def write_tests(folder: Path, tests: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Write the texts of the test sets, sources and references by name."""
    with lzma.open(folder / _TESTS, "wt", encoding="utf-8") as file:
        json.dump(dict(tests), file, ensure_ascii=False)


def write_selections(folder: Path, selections: Sequence[Selected], notes: Mapping[str, Any]) -> None:
    """Write all selections and the notes of what they were made from."""
    _write_arrays(
        folder / f"{_SELECTIONS}.npz.xz",
        {str(number): np.sort(one.chosen).astype(np.int32) for number, one in enumerate(selections)},
    )
    rows = [
        {"domain": one.domain, "method": one.method, "budget": one.budget, "notes": dict(one.notes)}
        for one in selections
    ]
    text = json.dumps({"notes": dict(notes), "selections": rows}, indent=1)
    (folder / f"{_SELECTIONS}.json").write_text(text, encoding="utf-8")


def read(folder: Path) -> Prepared:
    """Read a prepared folder."""
    source, target = read_tokens(folder)
    with lzma.open(folder / _TESTS, "rt", encoding="utf-8") as file:
        tests = {name: (sides[0], sides[1]) for name, sides in json.load(file).items()}
    described = json.loads((folder / f"{_SELECTIONS}.json").read_text(encoding="utf-8"))
    arrays = _read_arrays(folder / f"{_SELECTIONS}.npz.xz")
    selections = [
        Selected(row["domain"], row["method"], row["budget"], arrays[str(number)], row["notes"])
        for number, row in enumerate(described["selections"])
    ]
    return Prepared(folder, source, target, tests, selections, described["notes"])


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path.write_bytes(lzma.compress(buffer.getvalue(), preset=6))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as stored:
        return {name: stored[name] for name in stored.files}
