"""The page for people at /: what the worker does now, drawn when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

from prometheus_client import CollectorRegistry

from craft_stream import meanings
from craft_stream.errors import CraftError
from craft_stream.observe.recent import NOW_SECONDS, SPAN_SECONDS
from craft_stream.observe.recorder import Recorder
from craft_stream.report import charts
from craft_stream.report.document import Document
from craft_stream.report.pairs import Example, pair
from craft_stream.report.shown import parts, visible
from craft_stream.selection.decisions import Reason

_LONGEST: Final = 10_000  # characters of a side, or a name, that is asked about


class Trouble(NamedTuple):
    """A line of the log that says that something is wrong.

    Attributes:
        time: seconds since the epoch.
        level: such as WARNING.
        text: without secrets.
    """

    time: float
    level: str
    text: str


class Questions(Protocol):
    """What can be asked; both raise CraftError where there is no answer."""

    def explain(self, source: str, target: str) -> Mapping[str, Any]:
        """What would become of a pair: see `Selector.explain`."""

    def find(self, identifier: str | None, place: str | None) -> Mapping[str, Any]:
        """What became of a record, by its id or its place: what `craft-stream explain --json` says."""


class Page:
    """Draws the page.

    Args:
        recorder: of the worker.
        settings: of the process, as TOML.
        everyone: whether others than this machine may see it.
        troubles: gives the last ones, the newest last.
        questions: of a worker that decides; None: it only learns.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: str,
        everyone: bool,
        troubles: Callable[[], Iterable[Trouble]],
        questions: Questions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.everyone = everyone
        self._recorder, self._settings, self._troubles = recorder, settings, troubles
        self._questions, self._clock = questions, clock
        self._document = Document(
            __package__, "connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
        )
        self.policy = self._document.policy

    def render(self, query: Mapping[str, str]) -> bytes:
        """The page; `source` and `target`, `id`, or `offset` in the query ask why."""
        now, state, lately = self._clock(), self._recorder.state(), self._recorder.lately()
        figures = _figures(self._recorder.registry)
        throughput = lately["throughput"]
        asked = {name: query.get(name, "")[:_LONGEST] for name in ("source", "target", "id", "offset")}
        return self._document.render(
            state=state,
            group=visible(str(state["worker"].get("group", ""))),
            topic=visible(str(state["worker"].get("topic", ""))),
            problem=visible(self._recorder.alive() or self._recorder.ready() or ""),
            up=_ago(now - state["worker"]["started"]),
            committed=_ago(now - figures["craft_last_commit_timestamp_seconds",]),
            per_second=float(throughput[-NOW_SECONDS:].mean()),
            most=float(throughput.max()),
            throughput=charts.steps(throughput),
            minutes=SPAN_SECONDS // 60,
            lag=int(sum(value for key, value in figures.items() if key[0] == "craft_lag_records")),
            partitions=[
                {
                    "seen": None,
                    "accepted": None,
                    **partition,
                    "lag": figures.get(("craft_lag_records", str(partition["partition"]))),
                    "behind": _ago(figures.get(("craft_lag_seconds", str(partition["partition"])), 0.0)),
                    "restored": figures.get(("craft_restore_progress_ratio", str(partition["partition"]))),
                    "threshold": figures.get(("craft_threshold_score", str(partition["partition"]))),
                }
                for partition in state["partitions"]
            ],
            reasons=_reasons(figures),
            dead=[
                (key[2], int(value))
                for key, value in sorted(figures.items())
                if key[0] == "craft_dead_letters_total" and value
            ],
            budget=figures["craft_budget_wanted_ratio",],
            versions=lately["versions"],
            published=_moment(state["model"].get("published_at_ms", 0) / 1000),
            accepted=[_linked(example) for example in lately["accepted"]],
            rejected=[_linked(example) for example in lately["rejected"]],
            troubles=[
                (_moment(one.time), one.level.lower(), visible(one.text, 600)) for one in self._troubles()
            ][::-1],
            settings=self._settings,
            changes=[visible(change) for change in state["settings"].get("changes", ())],
            asked=asked,
            answer=self._answer(asked),
            asks=self._questions is not None,
            moment=_moment(now),
        )

    def _answer(self, asked: Mapping[str, str]) -> dict[str, Any] | None:
        source, target, name, place = (text.strip() for text in asked.values())
        questions = self._questions
        try:
            if questions is None or not ((source and target) or name or place):
                return None
            if name or place:
                return _explained(questions.find(None if place else name, place or None))
            return _explained(
                {"parts": questions.explain(source, target), "source": source, "target": target}
            )
        except CraftError as error:
            return {"problem": visible(str(error), 600)}


def _figures(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """The metrics as they are now, by name and labels: the page shows what Prometheus reads."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def _reasons(figures: Mapping[tuple[str, ...], float]) -> list[dict[str, Any]]:
    counts = {
        key[2]: int(value) for key, value in figures.items() if key[0] == "craft_decisions_total" and value
    }
    whole = max(sum(counts.values()), 1)
    return [
        {
            "label": label,
            "text": meanings.REASONS[label],
            "count": count,
            "share": count / whole,
            "kind": "accepted" if label == Reason.ACCEPTED.label else "rejected",
        }
        for label, count in sorted(counts.items(), key=lambda item: (item[0] != "accepted", -item[1]))
    ]


def _linked(example: Example) -> dict[str, Any]:
    return {**pair(example), "why": f"/?{urlencode({'offset': example.place})}#why"}


def _explained(found: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as the template shows it."""
    answer: dict[str, Any] = {"place": visible(str(found.get("place") or ""), 200)}
    if (refused := found.get("refused")) is not None:
        return answer | {
            "refused": refused,
            "text": f"{meanings.REFUSALS[refused]} {visible(found['why_refused'])}",
        }
    given = found["parts"]
    reason, contributions = Reason[given["reason"].upper()], given["contributions"]
    source, target = str(found["source"])[:_LONGEST], str(found["target"])[:_LONGEST]
    return answer | {
        "reason": reason.label,
        "text": meanings.REASONS[reason.label],
        "fault": given.get("fault"),
        "accepted": reason is Reason.ACCEPTED,
        "source": parts(source, target, reason),
        "target": parts(target, source, reason),
        "partition": given.get("partition"),
        "version": given["model_version"],
        "differs": found.get("differs") or [],
        "parts": [(*meanings.PARTS[name], meanings.figure(given[name])) for name in meanings.EXPLAINED],
        "features": [
            (name, given["features"][name], contributions[name], meanings.FEATURES.get(name, ""))
            for name in meanings.telling(contributions)
        ],
    }


def _ago(seconds: float) -> str:
    """A stretch of time for people."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _moment(seconds: float) -> str:
    return time.strftime("%d %B %Y, %H:%M:%S %Z", time.localtime(seconds)).lstrip("0") if seconds else ""
