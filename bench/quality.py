"""Selection quality, measured: one line for every domain, scenario, method and setting.

`python -m bench.quality --corpus PATH/en-fr --domain finance,medical --method craft-plus --json`

`--set key=value` overrides a parameter of the engine; several values, `--set relaxation=0,.5`, make one run
each. `--ablate` runs it whole and then with each of its parts turned off alone (`bench.methods.PARTS`).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpus import Corpus
from bench.methods import PARTS, methods
from bench.metrics import quality, twins
from bench.orders import CONTEXTS, ORDERS
from bench.scenarios import Scenario, scenario

DOMAINS = ("medical", "finance", "manpages", "gameui", "fiction", "cli", "web")


def measure(
    corpus: Corpus,
    setting: Scenario,
    method: str,
    overrides: Mapping[str, Any],
    near: bool = True,
    downstream: bool = False,
) -> dict[str, Any]:
    """Run one method on one stream and judge what it chose."""
    selection = methods()[method](corpus, setting, overrides)
    labels, (assigned, shares) = corpus.labels.take(setting.order), corpus.clusters(setting.domain)
    row: dict[str, Any] = {
        "domain": setting.domain,
        "scenario": setting.name,
        "method": method,
        "budget": setting.budget,
        **({"set": dict(overrides)} if overrides else {}),
        **quality(
            selection.chosen, labels, setting.domain, setting.budget, (assigned[setting.order], shares)
        ),
    }
    chosen = setting.order[selection.chosen]
    if near:
        row |= twins(chosen, corpus.pairs)
    if downstream:
        from bench.downstream import figures

        row |= figures(corpus, setting.domain, chosen)
    row["us"] = {stage: 1e6 * spent / len(setting.order) for stage, spent in selection.seconds.items()}
    if setting.segments:
        row["segments"] = list(_segments(selection.chosen, setting, corpus))
    row |= selection.notes
    return row


def _segments(
    chosen: np.ndarray[Any, np.dtype[np.int64]], setting: Scenario, corpus: Corpus
) -> Iterator[dict[str, Any]]:
    """Of every segment the spent share of its budget and the good share, against the target in force."""
    labels = corpus.labels.take(setting.order)
    for name, start, stop in setting.segments:
        swapped = setting.swap and start >= setting.swap[0]
        inside = labels.of(setting.swap[1] if setting.swap and swapped else setting.domain) & labels.sound
        here = chosen[(chosen >= start) & (chosen < stop)]
        yield {
            "segment": name,
            "spent": len(here) / max(setting.rate * (stop - start), 1e-9),
            "good": float(inside[here].mean()) if len(here) else None,
            "held": float(inside[start:stop].mean()),
        }


def _value(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _variants(settings: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The product of all values of `key=value,value`."""
    keys = [text.partition("=")[0] for text in settings]
    values = [[_value(value) for value in text.partition("=")[2].split(",")] for text in settings]
    for combination in itertools.product(*values):
        yield dict(zip(keys, combination, strict=True))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _line(row: Mapping[str, Any]) -> str:
    """A row for reading: what was run, then the figures."""
    what = f"{row['domain']:9s} {row['scenario']:10s} {row['method']:22s} {row.get('set') or ''}"
    skipped = ("domain", "scenario", "method", "set", "us", "segments", "summary", "command")
    figures = [f"{key}={_rounded(value)}" for key, value in row.items() if key not in skipped]
    spent = " ".join(f"{stage} {value:.2f}" for stage, value in row["us"].items())
    lines = [f"{what}\n    {' '.join(figures)}\n    us a pair: {spent}"]
    lines += [f"    {_rounded(segment)}" for segment in row.get("segments", ())]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m bench.quality", description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder with stream.jsonl.zst, target/ and test/"
    )
    parser.add_argument("--cache", type=Path, help="folder for what is prepared once")
    parser.add_argument("--domain", default=",".join(DOMAINS), help="comma-separated")
    parser.add_argument("--method", default="craft-plus", help=f"comma-separated, of {', '.join(methods())}")
    parser.add_argument("--scenario", default="plain", help="comma-separated; see bench/scenarios.py")
    parser.add_argument(
        "--order", default="shuffled", help=f"of the plain scenario; comma-separated, of {', '.join(ORDERS)}"
    )
    parser.add_argument(
        "--passes",
        default="1",
        help="comma-separated, 1 or 2, over a file: craft-plus with an even sample to begin with",
    )
    parser.add_argument(
        "--context",
        help=f"that passes over a file are told of, in place of --method; comma-separated, of {', '.join(CONTEXTS)}",
    )
    parser.add_argument(
        "--budget", type=float, default=0.5, help="share of the domain's records of the stream"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE[,VALUE]", dest="settings")
    parser.add_argument(
        "--ablate",
        nargs="?",
        const=",".join(PARTS),
        metavar="PART[,PART]",
        help="then without each of these parts; all of them if none is named",
    )
    parser.add_argument("--downstream", action="store_true", help="bits per token and retrieval chrF as well")
    parser.add_argument("--no-near", action="store_true", help="leave the count of near duplicates out")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--output", type=Path, help="append the JSON lines to this file too")
    chosen = parser.parse_args(arguments)
    corpus, rows = Corpus(chosen.corpus, chosen.cache), []
    command = _command(arguments if arguments is not None else sys.argv[1:])
    variants: list[tuple[str | None, Mapping[str, Any]]] = [(None, own) for own in _variants(chosen.settings)]
    if chosen.ablate:
        for part in chosen.ablate.split(","):
            variants += [(part, own | dict(PARTS[part])) for own in _variants(chosen.settings)]
    runs = itertools.product(
        chosen.domain.split(","),
        chosen.scenario.split(","),
        chosen.order.split(","),
        _methods(chosen.method, chosen.passes, chosen.context),
        variants,
    )
    for domain, name, order, method, (part, overrides) in runs:
        setting = scenario(corpus, name, domain, chosen.budget, order)
        row = measure(corpus, setting, method, overrides, not chosen.no_near, chosen.downstream)
        row |= {"command": command} | ({"without": part} if part else {})
        rows.append(row)
        text = json.dumps(_rounded(row), default=str)
        print(text if chosen.json else _line(row), flush=True)
        if chosen.output:
            with open(chosen.output, "a", encoding="utf-8") as file:
                file.write(text + "\n")
    if not chosen.json:
        _means(rows)
    return 0


def _methods(methods: str, passes: str, contexts: str | None) -> list[str]:
    """Names of methods: those given, or passes over a file with each context."""
    if contexts is None and passes == "1":
        return methods.split(",")
    kinds = [{"1": "one-pass", "2": "two-passes"}[count] for count in passes.split(",")]
    return [f"{kind}@{context}" for kind in kinds for context in (contexts or "none").split(",")]


def _command(arguments: Sequence[str]) -> str:
    """The command as written into the results: without this machine's paths."""
    shown = list(arguments)
    for flag, name in (("--corpus", "CORPUS"), ("--cache", "CACHE"), ("--output", "ROWS.jsonl")):
        shown = [name if index and arguments[index - 1] == flag else text for index, text in enumerate(shown)]
    return shlex.join(["python", "-m", "bench.quality", *shown])


def _means(rows: Sequence[Mapping[str, Any]]) -> None:
    """The means over domains, of every method and setting that ran on more than one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['scenario']} {row['method']} {row.get('set') or ''}", []).append(row)
    for name, members in groups.items():
        keys = [
            key
            for key in ("good", "noise", "kl", "dup", "near", "realised", "of_budget", "away", "bits", "chrf")
            if key in members[0]
        ]
        means = " ".join(f"{key}={np.mean([member[key] for member in members]):.4f}" for key in keys)
        print(f"MEAN of {len(members)}: {name} {means}")


if __name__ == "__main__":
    sys.exit(main())
