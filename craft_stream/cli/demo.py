"""`craft-stream demo`: the main job on real text, with no broker and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from craft_stream.cli.catalogues import DOMAIN, NOISE, PACKAGES, Catalogues, Labelled
from craft_stream.cli.options import Json
from craft_stream.cli.outputs import Outputs
from craft_stream.cli.select import decide, read_target
from craft_stream.cli.stream import Pass
from craft_stream.cli.summary import Summary
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.settings import Settings

app = typer.Typer()

RATE = 0.05
_SHOWN_CLUSTERS = 12
_BAR = 12


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Leave stream, target and outputs there.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the noise and the engine.")] = 0,
    as_json: Json = False,
) -> None:
    """Select sentences about a bug tracker from a stream of software messages, a third of it spoilt.

    English-French message catalogues of installed packages; half of one package's is the target, the rest is the
    stream, with noise injected as a crawl has it. The engine reads the two texts and nothing else; which package a
    pair came from and what was done to it is used for the report only.
    """
    with TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = _run(Catalogues.installed(seed), folder, seed)
    if as_json:
        print(orjson.dumps(report.values()).decode())
    else:
        report.print(Console(highlight=False), folder if keep else None)


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo shows.

    Attributes:
        catalogues: what was read.
        decisions: on the stream, in its order.
        shares: float64 [K], the target's share of each cluster.
        summary: of the pass.
    """

    catalogues: Catalogues
    decisions: Decisions
    shares: NDArray[np.float64]
    summary: Summary

    @property
    def accepted(self) -> list[Labelled]:
        """The accepted pairs, in order."""
        return self._pairs(self.decisions.accepted)

    def values(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            **self.summary.values(),
            "before": _quality(self.catalogues.stream),
            "after": _quality(self.accepted),
        }

    def print(self, console: Console, kept: Path | None) -> None:
        """Print it for a person."""
        stream = self.catalogues.stream
        spoilt = sum(pair.noise != "" for pair in stream)
        console.print(
            f"[bold]Target[/]: {len(self.catalogues.target):,} English-French messages of {DOMAIN}, a bug tracker and wiki.\n"
            f"[bold]Stream[/]: {len(stream):,} messages of {', '.join(PACKAGES.values())}; {spoilt:,} of them spoilt "
            f"({', '.join(NOISE)}). The labels are for this report only.\n"
        )
        console.print(_examples("accepted", self.accepted[:8], ["accepted"] * 8))
        console.print(self._rejected())
        console.print(self._match())
        console.print(self._before_and_after())
        values = self.summary.values()
        console.print(
            f"{values['accepted']:,} of {values['read']:,} pairs accepted (budget {values['rate']:.0%}) in "
            f"{values['seconds']:.1f} s; every decision can be explained: --keep FOLDER leaves them all."
        )
        if kept:
            console.print(
                f"kept in {escape(str(kept))}: {', '.join(sorted(path.name for path in kept.iterdir()))}"
            )

    def _pairs(self, chosen: NDArray[np.bool_]) -> list[Labelled]:
        return [self.catalogues.stream[index] for index in np.flatnonzero(chosen).tolist()]

    def _rejected(self) -> Table:
        chosen: list[Labelled] = []
        labels: list[str] = []
        for reason in Reason:
            if reason is Reason.ACCEPTED:
                continue
            found = self._pairs(self.decisions.reason == reason)[:2]
            chosen.extend(found)
            labels.extend(reason.label for _ in found)
        return _examples("rejected", chosen, labels)

    def _match(self) -> Table:
        table = Table(
            title="\ndistribution over the target's largest clusters", title_justify="left", box=None
        )
        for name in ("cluster", "target", "accepted", "stream"):
            table.add_column(name)
        size = len(self.shares)
        stream = np.bincount(self.decisions.cluster, minlength=size)
        taken = np.bincount(self.decisions.cluster[self.decisions.accepted], minlength=size)
        columns = [values / max(values.sum(), 1e-9) for values in (self.shares, taken, stream)]
        scale = max(float(values.max()) for values in columns)
        for cluster in np.argsort(-self.shares, kind="stable")[:_SHOWN_CLUSTERS]:
            bars = [
                f"[{style}]{'█' * round(_BAR * values[cluster] / scale):{_BAR}}[/] {values[cluster]:5.1%}"
                for style, values in zip(("cyan", "green", "dim"), columns, strict=True)
            ]
            table.add_row(self._name(int(cluster)), *bars)
        return table

    def _name(self, cluster: int) -> str:
        """The two source words that are most typical of a cluster."""
        inside = Counter(
            word for pair in self._pairs(self.decisions.cluster == cluster) for word in _words(pair)
        )
        overall = Counter(word for pair in self.catalogues.stream for word in _words(pair))
        best = sorted(inside, key=lambda word: (-(inside[word] ** 2) / overall[word], word))[:2]
        return escape(" ".join(best))

    def _before_and_after(self) -> Table:
        table = Table(title="\nwhat the labels say", title_justify="left", box=None)
        for name in ("", "stream", "accepted"):
            table.add_column(name, justify="right" if name else "left")
        before, after = _quality(self.catalogues.stream), _quality(self.accepted)
        table.add_row(
            "in the domain and clean", f"{before['good']:.1%}", f"[bold green]{after['good']:.1%}[/]"
        )
        table.add_row("another package", f"{before['other']:.1%}", f"{after['other']:.1%}")
        table.add_row("spoilt", f"{before['noise']:.1%}", f"{after['noise']:.1%}")
        return table


def _run(catalogues: Catalogues, folder: Path, seed: int) -> Report:
    stream, target = folder / "stream.jsonl", folder / "target.jsonl"
    for path, pairs in ((stream, catalogues.stream), (target, catalogues.target)):
        path.write_bytes(b"".join(pair.record() + b"\n" for pair in pairs))
    settings = Settings.load(None, [f"budget.rate={RATE}", f"learner.seed={seed}"])
    selection = Pass(settings)
    read_target(selection, [str(target)], settings.record)
    outputs = Outputs(
        selection.ledger.parameters.digest,
        str(folder / "accepted.jsonl"),
        str(folder / "rejected.tsv"),
        str(folder / "decisions.jsonl"),
        str(folder / "model.bin"),
    )
    decisions: list[Decisions] = []
    summary = decide(selection, [str(stream)], settings, outputs, decisions.append)
    assert selection.model is not None  # noqa: S101  # primed
    return Report(catalogues, Decisions.concatenate(decisions), selection.model.shares, summary)


def _quality(pairs: Sequence[Labelled]) -> dict[str, float]:
    """Shares of pairs that are in the domain and clean, of another package, and spoilt.

    A repeated pair is spoilt only where the other copy is there as well.
    """
    kinds: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        key = (pair.source, pair.target)
        spoilt = pair.noise not in ("", "repeated") or key in seen
        seen.add(key)
        kinds["noise" if spoilt else "good" if pair.package == DOMAIN else "other"] += 1
    return {kind: kinds[kind] / max(len(pairs), 1) for kind in ("good", "other", "noise")}


def _examples(title: str, pairs: Sequence[Labelled], labels: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, show_header=False, expand=True)
    table.add_column(style="bold", no_wrap=True, width=max(map(len, labels), default=0))
    for _ in range(2):
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True)
    for pair, label in zip(pairs, labels, strict=False):
        origin = f"[dim]{PACKAGES[pair.package]}[/]{', ' if pair.noise else ''}[red]{pair.noise}[/]"
        table.add_row(label, escape(_line(pair.source)), escape(_line(pair.target)), origin)
    return table


def _line(text: str) -> str:
    return " ".join(text.split())


def _words(pair: Labelled) -> set[str]:
    return {word for word in pair.source.lower().split() if word.isalpha() and len(word) > 3}
