"""The command line: `python -m bench.translation prepare | cost | train | judge`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.translation.selections import Task

METHODS = (
    *("random", "all", "dsir", "craft-batch", "craft-batch-regression", "cross-entropy", "classifier"),
    *("craft", "craft-plus", "ceiling"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser("python -m bench.translation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _prepare_options(
        commands.add_parser("prepare", help="stream, targets, tests, every method's selection; CPU")
    )
    _select_options(commands.add_parser("select", help="one method's selection, as prepare calls it"))
    _cost_options(
        commands.add_parser("cost", help="what one run of a method takes, by the size of the stream")
    )
    _train_options(commands.add_parser("train", help="train on every selection and translate the tests"))
    judge = commands.add_parser("judge", help="BLEU, chrF++ and significance of what was translated")
    judge.add_argument("--prepared", type=Path, required=True)
    judge.add_argument("--results", type=Path, required=True, help="folder of `train --out` or `--bring`")
    judge.add_argument("--output", type=Path, required=True, help="JSON lines for bench.report")
    judge.add_argument("--no-chrf", action="store_true", help="leave out chrF++, most of the time")
    chosen = parser.parse_args(arguments)
    run = {"prepare": _prepare, "select": _select, "cost": _cost, "train": _train, "judge": _judge}
    return run[chosen.command](chosen)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _shares(text: str) -> list[float]:
    return [float(share) for share in _names(text)]


def _counts(text: str) -> list[int]:
    return [int(count) for count in _names(text)]


def _variant(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, options = text.partition("=")
    return name, tuple(shlex.split(options))


def _selectors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shares", type=_shares, default=[0.01, 0.05], help="budgets, of all source tokens")
    parser.add_argument("--tsds", type=Path, help="a checkout of TSDS; adds the method tsds")
    parser.add_argument("--tarot", type=Path, help="a checkout of TAROT; adds the method tarot")
    for name in ("tsds", "tarot"):
        parser.add_argument(
            f"--{name}-python", default=sys.executable, help="an interpreter that has what it needs"
        )
    parser.add_argument(
        "--variant",
        type=_variant,
        action="append",
        default=[],
        metavar="NAME=OPTIONS",
        help="another craft-plus: NAME, and what is added to craft-stream select; repeatable",
    )


def _prepare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the en-fr corpus")
    parser.add_argument("--real", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=int, help="of the corpus, at random; all unless told")
    parser.add_argument("--domain", type=_names, default=None, help="comma-separated; all six unless told")
    parser.add_argument("--method", type=_names, default=None, help="comma-separated; all unless told")
    _selectors(parser)


def _prepare(chosen: argparse.Namespace) -> int:
    from bench.translation import material, preparing
    from bench.translation.selections import BUILT_IN

    variants = dict(chosen.variant)
    published = [name for name in ("tsds", "tarot") if getattr(chosen, name) is not None]
    methods = chosen.method if chosen.method is not None else [*METHODS, *published]
    preparing.run(
        preparing.Plan(
            chosen.corpus,
            chosen.real,
            chosen.out,
            chosen.domain or material.DOMAINS,
            [*methods, *variants],
            chosen.shares,
            chosen.records,
            BUILT_IN | variants,
            chosen.tsds,
            chosen.tarot,
            chosen.tsds_python,
            chosen.tarot_python,
        ),
        lambda line: print(line, flush=True),
    )
    return 0


def _select_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--method", required=True)
    _selectors(parser)


def _select(chosen: argparse.Namespace) -> int:
    from bench.translation import preparing

    preparing.select(_task(chosen), chosen.method, chosen.shares, chosen.out)
    return 0


def _task(chosen: argparse.Namespace) -> Task:
    from bench.translation import selections

    return selections.Task(
        chosen.out / "corpus",
        chosen.out / "cache",
        chosen.domain,
        chosen.tsds,
        chosen.tarot,
        chosen.tsds_python,
        chosen.tarot_python,
        selections.BUILT_IN | dict(chosen.variant),
    )


def _cost_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="where prepare left its stream")
    parser.add_argument("--domain", required=True)
    parser.add_argument(
        "--method", type=_names, required=True, help="craft, craft-plus, tsds, tarot, variants"
    )
    parser.add_argument("--pairs", type=_counts, required=True, help="of the stream, comma-separated")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, added to")
    _selectors(parser)


def _cost(chosen: argparse.Namespace) -> int:
    from bench.translation import costs

    for row in costs.measure(_task(chosen), chosen.method, chosen.pairs, max(chosen.shares)):
        line = json.dumps(row)
        print(line, flush=True)
        with open(chosen.output, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 0


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prepared", type=Path, required=True, help="the folder `prepared` that prepare left"
    )
    parser.add_argument("--out", type=Path, required=True, help="results and the general model; resumed from")
    parser.add_argument("--bring", type=Path, help="where packed results go after every block")
    parser.add_argument("--form", choices=["gpu", "small", "tiny"], help="gpu where there is one, else small")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all of it; whole domains are left out")
    parser.add_argument("--mode", type=_names, default=["tuned", "scratch"])
    parser.add_argument("--domain", type=_names, default=None)
    parser.add_argument("--method", type=_names, default=None)
    parser.add_argument("--share", type=_shares, default=None, help="budgets to train on; all unless told")
    parser.add_argument("--steps", type=float, default=1.0, help="as many times the steps of the form")
    for name in ("workers", "seeds", "threads"):
        parser.add_argument(f"--{name}", type=int, help="another number than the form's")


def _train(chosen: argparse.Namespace) -> int:
    from dataclasses import replace

    import torch

    from bench.translation import plan, prepared
    from bench.translation.train import FORMS, run

    form = FORMS[chosen.form or ("gpu" if torch.cuda.is_available() else "small")]
    told = {name: getattr(chosen, name) for name in ("workers", "seeds", "threads")}
    form = replace(
        form.scaled(chosen.steps), **{name: value for name, value in told.items() if value is not None}
    )
    found = prepared.read(chosen.prepared)
    domains = list(dict.fromkeys(one.domain for one in found.selections if one.domain))
    blocks = plan.blocks(found.selections, chosen.mode, chosen.domain or domains, chosen.method, chosen.share)
    run(
        chosen.prepared,
        chosen.out,
        form,
        blocks,
        chosen.minutes,
        chosen.bring,
        lambda line: print(line, flush=True),
    )
    return 0


def _judge(chosen: argparse.Namespace) -> int:
    from bench.translation import judging, prepared, results

    rows = judging.judge(prepared.read(chosen.prepared), results.read(chosen.results), not chosen.no_chrf)
    chosen.output.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for row in rows:
        shown = {name: round(row[name], 2) for name in ("bleu", "greedy", "chrf", "bits") if name in row}
        print(row["domain"], row["method"], row["set"], shown, row.get("ours", {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
