"""Tables and a picture of what `judge` found, for `bench.report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import log10
from typing import Any

Row = Mapping[str, Any]

ORDER = (
    *("general", "random", "dsir", "craft-batch", "craft-batch-regression", "tsds", "tarot", "cross-entropy"),
    *("classifier", "craft", "craft-plus"),
)
LAST = ("ceiling", "all")
SIGNIFICANT = 0.05
_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bbbbbb",
    "#000000",
    "#994455",
    "#997700",
)
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 220, 46, 34, 30


def tables(rows: Sequence[Row]) -> str:
    """For every way to train and budget one table of BLEU by method and domain, one of what is forgotten, and one of costs."""
    kept = [row for row in rows if row["scenario"] == "translation"]
    if not kept:
        return "Not measured at this version."
    domains = list(dict.fromkeys(row["domain"] for row in kept))
    general = [name for name in ("flores", "ntrex") if name in kept[0]]
    parts = [_what(kept)]
    for mode, budget in _settings(kept):
        own = [row for row in kept if _in(row, mode, budget)]
        title = f"### {_TITLES[mode]}, {budget:.0%} of the source tokens"
        parts.append(f"{title}\n\n{_scores(own, domains)}")
        if general:
            parts.append(
                f"Greedy BLEU on general text, the mean of the domains' models:\n\n{_general(own, general)}"
            )
    parts.append("### What the methods took\n\n" + _costs(kept))
    return "\n\n".join(parts)


_TITLES = {"tuned": "On from the general model", "scratch": "From nothing"}


def _what(rows: Sequence[Row]) -> str:
    devices = sorted({row["device"] for row in rows})
    sizes = sorted({round(row["parameters"] / 1e6, 1) for row in rows})
    seeds = sorted({len(row["seeds"]) for row in rows})
    form = "The small form on a CPU" if devices == ["cpu"] else f"On {', '.join(devices)}"
    steps = {row["set"]["mode"]: row["steps"] for row in rows}
    listed = ", ".join(f"{mode} {count:,}" for mode, count in steps.items())
    return (
        f"{form}: {', '.join(map(str, sizes))} million parameters, {', '.join(map(str, seeds))} seed(s), steps: {listed}. "
        f"BLEU with a beam of 4; in brackets how much craft-plus is above, bold where p < {SIGNIFICANT:g}."
    )


def _settings(rows: Iterable[Row]) -> list[tuple[str, float]]:
    found = {(row["set"]["mode"], row["set"]["budget"]) for row in rows}
    return sorted((mode, budget) for mode, budget in found if mode in _TITLES and budget < 1)


def _in(row: Row, mode: str, budget: float) -> bool:
    """Whether a row belongs into the table: at the budget, or the general model or all data beside it."""
    own = row["set"]
    return own["mode"] == "general" or (own["mode"] == mode and own["budget"] in (budget, 1.0))


def _methods(rows: Iterable[Row]) -> list[str]:
    names = dict.fromkeys(row["method"] for row in rows)
    middle = [name for name in names if name not in (*ORDER, *LAST)]  # variants, after craft-plus
    return [name for name in (*ORDER, *middle, *LAST) if name in names]


def _scores(rows: Sequence[Row], domains: Sequence[str]) -> str:
    lines = []
    for method in _methods(rows):
        cells = []
        for domain in domains:
            row = next((row for row in rows if row["method"] == method and row["domain"] == domain), None)
            cells.append("" if row is None else _cell(row, domain))
        bits = [row["bits"] for row in rows if row["method"] == method]
        chrf = [row["chrf"] for row in rows if row["method"] == method and "chrf" in row]
        lines.append([method, *cells, _mean(chrf, 1), _mean(bits, 3)])
    return _table(["method", *domains, "chrF++", "bits a piece"], lines)


def _cell(row: Row, domain: str) -> str:
    text = f"{row['bleu']:.1f}"
    difference, p = row.get("ours", {}).get(domain, (None, 1))
    if difference is None:
        return text
    shown = f"{difference:+.1f}"
    return f"{text} ({f'**{shown}**' if p < SIGNIFICANT else shown})"


def _general(rows: Sequence[Row], tests: Sequence[str]) -> str:
    lines = [
        [method, *(_mean([row[test] for row in rows if row["method"] == method], 1) for test in tests)]
        for method in _methods(rows)
    ]
    return _table(["method", *tests], lines)


def _costs(rows: Sequence[Row]) -> str:
    lines = []
    for method in _methods(rows):
        own = [row for row in rows if row["method"] == method]
        columns = (
            [row.get("selection_cpu_seconds") for row in own],
            [row.get("selection_peak_mb") for row in own],
            [row.get("selection_noise") for row in own],
            [row.get("selection_in_domain") for row in own],
            [row["train_seconds"] for row in own],
            [row["translate_seconds"] for row in own],
        )
        lines.append(
            [
                method,
                *(
                    _mean([value for value in column if value is not None], digits)
                    for column, digits in zip(columns, (0, 0, 3, 2, 0, 0), strict=True)
                ),
            ]
        )
    header = ["method", "CPU s", "peak MB", "noise", "in domain", "training s", "translating s"]
    return _table(header, lines)


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{sum(values) / len(values):.{digits}f}" if values else ""


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def picture(rows: Sequence[Row], mode: str = "tuned") -> str:
    """An SVG: BLEU over the share of the data (in powers of ten), a panel for each domain, a line for each method."""
    kept = [row for row in rows if row["scenario"] == "translation" and row["set"]["mode"] == mode]
    domains = list(dict.fromkeys(row["domain"] for row in kept))
    methods = [name for name in _methods(kept) if name != "all"]
    columns = min(3, max(1, len(domains)))
    height = _TOP + -(-len(domains) // columns) * (_HEIGHT + _GAP) + 20 * -(-len(methods) // 3)
    width = columns * (_WIDTH + _LEFT) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="16" font-size="13">BLEU over the share of the stream that is trained on</text>',
    ]
    for number, domain in enumerate(domains):
        x = _LEFT + number % columns * (_WIDTH + _LEFT)
        y = _TOP + number // columns * (_HEIGHT + _GAP)
        parts += _panel([row for row in kept if row["domain"] == domain], domain, methods, x, y)
    for number, method in enumerate(methods):
        x = _LEFT + number % 3 * 220
        y = height - 20 * -(-len(methods) // 3) + 20 * (number // 3) + 8
        parts.append(
            f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" stroke="{_colour(number)}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(method)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(rows: Sequence[Row], domain: str, methods: Sequence[str], x: float, y: float) -> list[str]:
    shares = sorted({row["set"]["budget"] for row in rows})
    scores = [row["bleu"] for row in rows]
    low, high = min(scores), max(scores)
    margin = max(0.5, 0.08 * (high - low))
    low, high = low - margin, high + margin
    first, last = log10(shares[0]), log10(shares[-1])
    wide = max(last - first, 1e-9)

    def place(share: float, score: float) -> tuple[float, float]:
        across = (log10(share) - first) / wide * (_WIDTH - 30) + 15
        return x + across, y + _HEIGHT - 20 - (score - low) / (high - low) * (_HEIGHT - 40)

    parts = [
        f'<text x="{x}" y="{y + 10}" font-weight="bold">{escape(domain)}</text>',
        f'<rect x="{x}" y="{y + 16}" width="{_WIDTH - 10}" height="{_HEIGHT - 36}" fill="none" stroke="#999"/>',
    ]
    parts += [
        f'<text x="{place(share, low)[0]:.0f}" y="{y + _HEIGHT - 6}" text-anchor="middle">{share:.0%}</text>'
        for share in shares
    ]
    parts += [
        f'<text x="{x - 4}" y="{place(shares[0], score)[1] + 4:.0f}" text-anchor="end">{score:.1f}</text>'
        for score in (low + margin, high - margin)
    ]
    whole = [row["bleu"] for row in rows if row["method"] == "all"]
    if whole:
        level = place(shares[0], whole[0])[1]
        parts.append(
            f'<line x1="{x}" x2="{x + _WIDTH - 10}" y1="{level:.1f}" y2="{level:.1f}" stroke="#333" stroke-dasharray="4 3"/>'
        )
        parts.append(f'<text x="{x + _WIDTH - 14}" y="{level - 3:.1f}" text-anchor="end">all data</text>')
    for number, method in enumerate(methods):
        own = sorted((row["set"]["budget"], row["bleu"]) for row in rows if row["method"] == method)
        points = [place(share, score) for share, score in own]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        if len(points) > 1:
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>'
            )
        parts += [
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{_colour(number)}"/>'
            for across, down in points
        ]
    return parts


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
