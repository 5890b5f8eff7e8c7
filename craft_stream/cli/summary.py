"""What a selection came to: counted while it runs, printed at its end for a person or a machine."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Protocol

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from craft_stream import meanings
from craft_stream.cli.faults import Faults
from craft_stream.errors import DataError
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.domain import TAIL_QUANTILE
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger

# Share of the accepted above which those that are far from the domain are told of; of the benchmarks' 1,500 of finance none is.
_MANY = 0.01


class Engine(Protocol):
    """What decided, see `SelectionSession` and `Ranking`."""

    @property
    def ledger(self) -> Ledger: ...  # noqa: D102
    @property
    def model(self) -> Model | None: ...  # noqa: D102


class Summary:
    """Counts of a selection.

    Args:
        count: of pairs that were asked for; None: a share was.

    Attributes:
        read: records.
        undecidable: records by why they could not be decoded.
        faults: the same in words, with places.
        reasons: decisions by `Reason`, int64 [reasons].
        far: accepted pairs that are farther from the domain than an average pair of the stream.
        embedded: pairs whose embedding counted.
        unknown: pairs of which a signal was not known, by its name.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self.read = 0
        self.undecidable: Counter[str] = Counter()
        self.faults = Faults()
        self.reasons = np.zeros(len(Reason), np.int64)
        self.far = self.embedded = 0
        self.unknown: Counter[str] = Counter()
        self._end: dict[str, Any] = {}

    @property
    def accepted(self) -> int:
        """Accepted pairs."""
        return int(self.reasons[Reason.ACCEPTED])

    def add(self, chunk: Chunk, decisions: Decisions) -> None:
        """Count one chunk."""
        self.read += len(chunk.messages)
        self.undecidable.update(str(refusal.reason) for _, refusal in chunk.refused)
        self.faults.add(chunk)
        self.reasons += np.bincount(decisions.reason, minlength=len(Reason))
        self.far += int((decisions.accepted & (decisions.domain < 0)).sum())
        self.embedded += decisions.embedded
        self.unknown.update(chunk.unknown_signals)

    def finish(self, session: Engine, seconds: float) -> None:
        """Note how the selection stands at its end, `seconds` after it began."""
        state = session.ledger.summary()
        self._end = {
            "kl": state["kl"] if math.isfinite(state["kl"]) else None,
            "like_target": _like_target(session.model),
            "domain_share": state["domain_share"],
            "unspendable": round(state["unspendable"]),
            "target": _target(session.model),
            "rate": session.ledger.parameters.selection.rate,
            "model_version": state["model_version"],
            "model_digest": session.model.digest if session.model else None,
            "parameters": session.ledger.parameters.digest,
            "seconds": round(seconds, 3),
            "pairs_per_second": round(self.read / max(seconds, 1e-9)),
        }

    def values(self) -> dict[str, Any]:
        """The summary as JSON values."""
        rejected = {r.label: int(self.reasons[r]) for r in Reason if r is not Reason.ACCEPTED}
        return {
            "read": self.read,
            "accepted": self.accepted,
            "far_from_domain": self.far,
            "rejected": sum(rejected.values()),
            "rejected_by_reason": rejected,
            "embedded": self.embedded,
            **({"signals_unknown": dict(self.unknown)} if self.unknown else {}),
            "undecidable": self.undecidable.total(),
            "undecidable_by_reason": dict(sorted(self.undecidable.items())),
            **self._end,
        }

    def facts(self) -> dict[str, Any]:
        """What of it a report tells beside its own figures."""
        names = {
            "rate": "budget, share of the pairs",
            "domain_share": "share of the stream that looks like the target",
            "unspendable": "pairs of the budget given up, as the stream held too little",
            "parameters": "fingerprint of the settings that decisions follow from",
            "seconds": "seconds",
            "pairs_per_second": "pairs a second",
        }
        return {text: self._end[name] for name, text in names.items()}

    def print(self, as_json: bool, to_stderr: bool) -> None:
        """Print it; to standard error where standard output carries records."""
        console = Console(stderr=to_stderr, highlight=False)
        if as_json:
            console.print(orjson.dumps(self.values()).decode(), soft_wrap=True, markup=False)
            return
        console.print(self._table())
        if self.undecidable.total() == self.read:
            return  # that it is empty, or holds no pair, was said
        if self._end["like_target"] == 0:
            console.print(
                "Nothing in the last part of the stream looks like the target. Are both in the same languages, and does "
                "the stream hold the domain at all?"
            )
        elif (share := self._end["domain_share"]) is not None and share < self._end["rate"]:
            console.print(
                f"By a rough estimate {share:.2%} of the stream looks like the target, but the budget asks for "
                f"{self._end['rate']:.2%}: many of the accepted pairs are likely from outside the domain. A smaller budget "
                "would be purer; --report shows which pairs it would leave out."
            )
        if self.far > _MANY * self.accepted:
            counted = "One accepted pair" if self.far == 1 else f"{self.far:,} accepted pairs"
            console.print(
                f"{counted} ({self.far / self.accepted:.0%}) {'is' if self.far == 1 else 'are'} farther from the domain than "
                "an average pair of the stream: it held nothing better that was new. A smaller budget would leave them out."
            )
        if short := self._end["unspendable"]:
            console.print(
                f"{short:,} pairs of the budget were given up: too few pairs of the stream meet the requirements, or, with "
                "selection.abstain, it holds less of the domain than it did at its best."
            )

    def _table(self) -> Table:
        values = self.values()
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column()
        table.add_row("read", f"{self.read:,}", "", "records")
        table.add_row("accepted", f"{self.accepted:,}", _share(self.accepted, self.read), self._budget())
        table.add_row("rejected", f"{values['rejected']:,}", _share(values["rejected"], self.read))
        self._add_reasons(table, values["rejected_by_reason"], meanings.REASONS)
        if values["undecidable"]:
            share = _share(values["undecidable"], self.read)
            table.add_row("no pair", f"{values['undecidable']:,}", share, "records that cannot be decided")
            self._add_reasons(table, values["undecidable_by_reason"], meanings.REFUSALS)
        if self.embedded < self.read - values["undecidable"]:
            table.add_row(
                "embedded",
                f"{self.embedded:,}",
                _share(self.embedded, self.read),
                meanings.SUMMARY["embedded"],
            )
        for name, count in self.unknown.items():
            table.add_row(
                f"without {name}", f"{count:,}", _share(count, self.read), "records that lack this signal"
            )
        if target := values["target"]:
            left_out = ", ".join(f"{count:,} {finding}" for finding, count in target["left_out"].items())
            table.add_row(
                "target",
                f"{target['pairs']:,}",
                "",
                "pairs learned from" + (left_out and f"; left out: {left_out}"),
            )
        kl = values["kl"]
        table.add_row("topic mismatch", "-" if kl is None else f"{kl:.3f}", "nats", meanings.SUMMARY["kl"])
        table.add_row(
            "speed", f"{values['pairs_per_second']:,}", "pairs/s", f"{values['seconds']:.1f} s in all"
        )
        table.add_row("model", f"{values['model_version']}", "version", values["model_digest"] or "")
        return table

    def _budget(self) -> str:
        if self._count is not None:
            return f"the budget was {self._count:,} pairs"
        rate, pairs = self._end["rate"], int(self.reasons.sum())
        return f"the budget was {rate * 100:.4g}% of {pairs:,} pairs, which is {round(rate * pairs):,}"

    def _add_reasons(self, table: Table, counts: dict[str, int], meaning: dict[str, str]) -> None:
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            if count:
                table.add_row(f"  {reason}", f"{count:,}", _share(count, self.read), meaning[reason])

    def check(self, limit: float) -> None:
        """Raise DataError when more of the records could not be decided than the limit allows."""
        count = self.undecidable.total()
        if count > limit * self.read:
            raise DataError(
                f"{count:,} of {self.read:,} records hold no pair, more than errors.dead_letter_limit = "
                f"{limit} allows; --rejected FILE keeps them with their reasons"
            )


def _like_target(model: Model | None) -> int | None:
    """How many of the pairs that the model was calibrated on score as the upper fifth of the target does."""
    if model is None:
        return None
    # the inverse of how the learner makes `tail_share` of the count: (count + .5) / (pairs + 1) / .2
    return round(model.domain.tail_share * (1 - TAIL_QUANTILE) * (len(model.calibration.domain) + 1) - 0.5)


def _target(model: Model | None) -> dict[str, Any] | None:
    """Pairs of the target that were learned from, and those that were not, by what was found of them."""
    return None if model is None else {"pairs": model.target_pairs, "left_out": model.target_left_out}


def _share(count: int, whole: int) -> str:
    return f"{count / max(whole, 1):.2%}"
