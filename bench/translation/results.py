"""Results of training, one JSON line a job, in a folder: what is there is not done again.

Beside `results.jsonl`, which grows by the job, a block of jobs can be packed into `results-NN.jsonl.xz`, small enough to be
carried; reading takes both.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, str, str, float]

PART = 12 << 20  # bytes of one packed file
_PLAIN = "results.jsonl"


def key(row: Row) -> Key:
    """What tells a job from others: how it is trained, domain, method, budget."""
    return row["mode"], row["domain"], row["method"], row["budget"]


def read(folder: Path) -> dict[Key, Row]:
    """All rows of a folder by their keys; a line that was cut off counts as not done."""
    rows: dict[Key, Row] = {}
    texts = [
        lzma.decompress(path.read_bytes()).decode() for path in sorted(folder.glob("results-*.jsonl.xz"))
    ]
    if (folder / _PLAIN).exists():
        texts.append((folder / _PLAIN).read_text(encoding="utf-8"))
    for line in (line for text in texts for line in text.splitlines()):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[key(row)] = row
    return rows


def append(folder: Path, row: Row) -> None:
    """Add a row."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _PLAIN
    cut_off = _cut_off(path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(("\n" if cut_off else "") + json.dumps(row, ensure_ascii=False) + "\n")


def pack(folder: Path, rows: Sequence[Row]) -> None:
    """Add a block of rows to the packed files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    packed = lzma.compress(text.encode())
    parts = sorted(folder.glob("results-*.jsonl.xz"))
    last = parts[-1] if parts else None
    if last is None or last.stat().st_size + len(packed) > PART:
        last = folder / f"results-{len(parts):02d}.jsonl.xz"
    with open(last, "ab") as file:
        file.write(packed)


def _cut_off(path: Path) -> bool:
    """Whether the last line has no end, as after a kill."""
    if not path.exists() or not path.stat().st_size:
        return False
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"
