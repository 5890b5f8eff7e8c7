"""Writes the tables of `docs/reference/benchmarks.md` from JSON lines of `bench.quality --output`.

Those of `bench.translation judge --output` fill the table `translation` alone.

`python -m bench.report ROWS.jsonl docs/reference/benchmarks.md`

The document is a hand-written frame; what lies between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` is
replaced. Where a row was measured twice, the later one counts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.translation import tables as translation

Row = Mapping[str, Any]

# Figures to reach: good at least, noise at most, bits per token at most (budget: half of the domain's records).
BARS: dict[str, tuple[float, float, float | None]] = {
    "medical": (0.41, 0.008, 8.70),
    "finance": (0.455, 0.010, 6.36),
    "manpages": (0.55, 0.008, None),
    "gameui": (0.39, 0.010, 6.28),
    "fiction": (0.76, 0.010, 7.02),
    "cli": (0.52, 0.010, None),
    "web": (0.37, 0.010, 6.61),
}
_FAULTS = ("noise", "misaligned", "copy", "wronglang", "garbled", "dup", "near")
_COLUMNS = ("good", *_FAULTS, "kl", "own", "realised", "bits", "chrf")
_PEERS = ("random", "dsir-source", "dsir-both", "craft-batch", "craft-batch-regression")
_ORDER = (*_PEERS, "craft", "craft-plus", "ceiling")
_DIGITS = {"bits": 2, "chrf": 1, "selected": 0}


def _cell(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    text = f"{value:.{_DIGITS.get(column, 3)}f}"
    return text.lstrip("0") if text.startswith("0.") else text


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _setting(row: Row) -> str:
    return ", ".join(f"{key} = {value}" for key, value in row.get("set", {}).items())


def _microseconds(row: Row) -> str:
    return f"{sum(row['us'].values()):.1f}" if row["us"] else ""


def _rank(row: Row) -> int:
    """Place in a table: the peers first, the ceiling last."""
    return _ORDER.index(row["method"])


def _commands(rows: Sequence[Row]) -> str:
    found = dict.fromkeys(row["command"] for row in rows)
    return "```sh\n" + "\n".join(found) + "\n```"


def _quality(rows: Sequence[Row]) -> str:
    """One table for every domain: all methods with their defaults, on the plain stream."""
    kept = [row for row in rows if row["scenario"] == "plain" and not row.get("set")]
    parts = []
    for domain in dict.fromkeys(row["domain"] for row in kept):
        own = sorted((row for row in kept if row["domain"] == domain), key=_rank)
        lines = [
            [row["method"], *(_cell(row, column) for column in _COLUMNS), _microseconds(row)] for row in own
        ]
        parts.append(
            f"### {domain}, {own[0]['budget']:,} pairs\n\n" + _table(["method", *_COLUMNS, "us"], lines)
        )
    return "\n\n".join([*parts, _commands(kept)])


def _bars(rows: Sequence[Row]) -> str:
    """What was asked for beside what `craft-plus` reaches."""
    kept = {row["domain"]: row for row in rows if _is_default(row)}
    lines = []
    for domain, (good, noise, bits) in BARS.items():
        if domain not in kept:
            continue
        row, cells = kept[domain], [domain]
        for column, bar, upward in (("good", good, True), ("noise", noise, False), ("bits", bits, False)):
            if bar is None or row.get(column) is None:
                cells += [_cell(row, column), ""]
                continue
            reached = row[column] >= bar if upward else row[column] <= bar
            cells += [_cell(row, column), f"{bar:g} {'reached' if reached else 'missed'}"]
        lines.append(cells)
    return _table(["domain", "good", "at least", "noise", "at most", "bits", "at most"], lines)


def _is_default(row: Row) -> bool:
    return row["scenario"] == "plain" and row["method"] == "craft-plus" and not row.get("set")


def _stages(rows: Sequence[Row]) -> str:
    """CPU microseconds a pair by stage."""
    kept = [row for row in rows if row["scenario"] == "plain" and not row.get("set") and row["us"]]
    stages = list(dict.fromkeys(stage for row in kept for stage in row["us"]))
    lines = []
    for method in dict.fromkeys(row["method"] for row in kept):
        own = [row["us"] for row in kept if row["method"] == method]
        means = [np.mean([us.get(stage, 0.0) for us in own]) for stage in stages]
        lines.append([method, *(f"{mean:.2f}" if mean else "" for mean in means), f"{sum(means):.2f}"])
    return _table(["method", *stages, "all"], lines)


def _scenarios(rows: Sequence[Row]) -> str:
    """Every stream that is not the plain one, as a whole and by segment."""
    kept = [row for row in rows if row["scenario"] != "plain" and not row.get("set")]
    columns = ("selected", "realised", "good", "recall", "noise", "near", "kl", "own")
    whole = [
        [row["domain"], row["scenario"], row["method"], *(_cell(row, name) for name in columns)]
        for row in kept
    ]
    parts = [_table(["domain", "stream", "method", *columns], whole)]
    for row in kept:
        if "segments" not in row:
            continue
        lines = [
            [part["segment"], *(_cell(part, name) for name in ("spent", "good", "held"))]
            for part in row["segments"]
        ]
        title = f"{row['domain']}, {row['scenario']}, {row['method']}:"
        parts.append(title + "\n\n" + _table(["from pair", "spent", "good", "in the stream"], lines))
    return "\n\n".join([*parts, _commands(kept)])


def _ablations(rows: Sequence[Row]) -> str:
    """`craft-plus` with one thing changed: the mean over the domains, and the difference to the defaults."""
    kept = [row for row in rows if row["scenario"] == "plain" and row["method"] == "craft-plus"]
    defaults = {row["domain"]: row for row in kept if not row.get("set")}
    changed = [row for row in kept if row.get("set")]
    columns = ("good", "noise", "near", "kl", "own", "realised", "bits")
    if not changed:
        return "Not measured at this version."
    lines = []
    for name in dict.fromkeys(_setting(row) for row in changed):
        own = [row for row in changed if _setting(row) == name]
        part = own[-1].get("without")
        cells = [f"without {part} ({name})" if part else name, ", ".join(row["domain"] for row in own)]
        for column in columns:
            pairs = [(row.get(column), defaults.get(row["domain"], {}).get(column)) for row in own]
            known = [(value, base) for value, base in pairs if value is not None and base is not None]
            difference = np.mean([value - base for value, base in known]) if known else None
            cells.append(f"{np.mean([value for value, _ in known]):.3f} ({difference:+.3f})" if known else "")
        lines.append(cells)
    return "\n\n".join([_table(["changed", "domains", *columns], lines), _commands(changed)])


_TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "quality": _quality,
    "bars": _bars,
    "stages": _stages,
    "scenarios": _scenarios,
    "ablations": _ablations,
    "translation": translation.tables,
}


# of `bench.quality`; rows of translation come from a file of their own
_QUALITY = tuple(name for name in _TABLES if name != "translation")


def written(frame: str, rows: Iterable[Row], names: Sequence[str] = _QUALITY) -> str:
    """The frame with the tables of these names made anew from the rows."""
    last = {(row["domain"], row["scenario"], row["method"], _setting(row)): row for row in rows}
    for name in names:
        table = _TABLES[name]
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = f"{begin}\n\n{table(list(last.values()))}\n\n{end}"
        frame = pattern.sub(text.replace("\\", r"\\"), frame)
    return frame


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m bench.report", description=__doc__)
    parser.add_argument("rows", type=Path, help="JSON lines of `bench.quality --output`")
    parser.add_argument("document", type=Path, help="the Markdown file to rewrite in place")
    parser.add_argument(
        "--only", help="comma-separated tables; the others stay; all of these rows' unless told"
    )
    parser.add_argument(
        "--picture", type=Path, help="an SVG of BLEU over the share of the data, of `judge`'s rows"
    )
    chosen = parser.parse_args(arguments)
    rows = [json.loads(line) for line in chosen.rows.read_text(encoding="utf-8").splitlines()]
    frame = chosen.document.read_text(encoding="utf-8")
    translated = any(row["scenario"] == "translation" for row in rows)
    names = chosen.only.split(",") if chosen.only else ["translation"] if translated else _QUALITY
    chosen.document.write_text(written(frame, rows, names), encoding="utf-8")
    if chosen.picture:
        chosen.picture.write_text(translation.picture(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
