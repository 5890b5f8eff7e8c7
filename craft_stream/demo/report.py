"""What the demo shows: examples, the distribution over the clusters, and what the labels say of before and after."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from craft_stream.demo.catalogues import DOMAIN, NOISE, PACKAGES, Catalogues, Labelled

_SHOWN_CLUSTERS = 12
_BAR = 12


@dataclass(frozen=True, slots=True)
class Report:
    """A selection from the demo's stream.

    Attributes:
        catalogues: what was read.
        decisions: as `select --decisions` writes them, one for each pair of the stream, in its order.
        shares: the target's share of each cluster.
        summary: as `select --json` prints it.
    """

    catalogues: Catalogues
    decisions: Sequence[dict[str, Any]]
    shares: Sequence[float]
    summary: dict[str, Any]

    def values(self) -> dict[str, Any]:
        """The figures as JSON values."""
        accepted = self._by_reason()["accepted"]
        return self.summary | {"before": _quality(self.catalogues.stream), "after": _quality(accepted)}

    def print(self, console: Console) -> None:
        """Print it for a person."""
        stream, by_reason = self.catalogues.stream, self._by_reason()
        spoilt = sum(pair.noise != "" for pair in stream)
        console.print(
            f"[bold]Target[/]: {len(self.catalogues.target):,} English-French messages of {DOMAIN}, a bug tracker and wiki.\n"
            f"[bold]Stream[/]: {len(stream):,} messages of {', '.join(PACKAGES.values())}; {spoilt:,} of them spoilt "
            f"({', '.join(NOISE)}). The labels are for this report only.\n"
        )
        accepted = by_reason.pop("accepted", [])
        console.print(_examples("accepted", {"accepted": accepted[:8]}))
        console.print(
            _examples("rejected", {reason: pairs[:2] for reason, pairs in sorted(by_reason.items())})
        )
        console.print(self._match())
        console.print(_before_and_after(_quality(stream), _quality(accepted)))
        console.print(
            f"{len(accepted):,} of {len(stream):,} pairs accepted (budget {self.summary['rate']:.0%}) in "
            f"{self.summary['seconds']:.1f} s; every decision can be explained: --keep FOLDER leaves them all."
        )

    def _by_reason(self) -> dict[str, list[Labelled]]:
        pairs: dict[str, list[Labelled]] = defaultdict(list)
        for pair, decision in zip(self.catalogues.stream, self.decisions, strict=True):
            pairs[decision["reason"]].append(pair)
        return pairs

    def _match(self) -> Table:
        table = Table(
            title="\ndistribution over the target's largest clusters", title_justify="left", box=None
        )
        for name in ("cluster", "target", "accepted", "stream"):
            table.add_column(name)
        stream = Counter(decision["cluster"] for decision in self.decisions)
        accepted = Counter(d["cluster"] for d in self.decisions if d["outcome"] == "accepted")
        clusters = range(len(self.shares))
        columns = [
            self.shares,
            *([counts[k] / max(counts.total(), 1) for k in clusters] for counts in (accepted, stream)),
        ]
        scale = max(max(values) for values in columns)
        words = self._words()
        overall = sum(words.values(), Counter[str]())
        for cluster in sorted(clusters, key=lambda k: -self.shares[k])[:_SHOWN_CLUSTERS]:
            bars = [
                f"[{style}]{'█' * round(_BAR * values[cluster] / scale):{_BAR}}[/] {values[cluster]:5.1%}"
                for style, values in zip(("cyan", "green", "dim"), columns, strict=True)
            ]
            table.add_row(_typical(words[cluster], overall), *bars)
        return table

    def _words(self) -> dict[int | None, Counter[str]]:
        """By cluster, in how many of its pairs a source word stands."""
        words: dict[int | None, Counter[str]] = defaultdict(Counter)
        for pair, decision in zip(self.catalogues.stream, self.decisions, strict=True):
            found = {word for word in pair.source.lower().split() if word.isalpha() and len(word) > 3}
            words[decision["cluster"]].update(found)
        return words


def _typical(inside: Counter[str], overall: Counter[str]) -> str:
    """The two words that are most typical of a cluster."""
    best = sorted(inside, key=lambda word: (-(inside[word] ** 2) / overall[word], word))[:2]
    return escape(" ".join(best))


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


def _before_and_after(before: dict[str, float], after: dict[str, float]) -> Table:
    table = Table(title="\nwhat the labels say", title_justify="left", box=None)
    for name in ("", "stream", "accepted"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("in the domain and clean", f"{before['good']:.1%}", f"[bold green]{after['good']:.1%}[/]")
    table.add_row("another package", f"{before['other']:.1%}", f"{after['other']:.1%}")
    table.add_row("spoilt", f"{before['noise']:.1%}", f"{after['noise']:.1%}")
    return table


def _examples(title: str, pairs: dict[str, list[Labelled]]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, show_header=False, expand=True)
    table.add_column(style="bold", no_wrap=True, width=max(map(len, pairs), default=0))
    for _ in range(2):
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True)
    for label, examples in pairs.items():
        for pair in examples:
            origin = f"[dim]{PACKAGES[pair.package]}[/]{', ' if pair.noise else ''}[red]{pair.noise}[/]"
            texts = (escape(" ".join(text.split())) for text in (pair.source, pair.target))
            table.add_row(label, *texts, origin)
    return table
