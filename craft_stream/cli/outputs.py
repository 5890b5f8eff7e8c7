"""What a selection writes; every file appears at its place only when all of them are whole."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from connectors.files import ending, open_sink
from connectors.files.open import OutputFile
from craft_stream.cli.reporting import ReportFile
from craft_stream.ports.files import Sink
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions
from craft_stream.writing.decisions import decision_lines, with_texts
from craft_stream.writing.rejected import rejected_lines
from craft_stream.writing.scores import scored_records


class Outputs:
    """The files that a selection writes. A context manager that discards them when an error leaves it.

    Args:
        accepted: gets the accepted records, unchanged but for `scores`.
        rejected: gets all others, as `rejected_lines` writes them; None: they are not kept.
        decisions: gets a JSON object for each decision; None: they are not kept.
        model: gets the last version; None: it is not kept.
        scores: fields that accepted records get, of `writing.scores.FIELDS`.
        texts: whether decisions hold the texts.
        report: is told of every chunk, and written by `report`; None: there is none.

    Raises:
        ConfigurationError: one cannot be written.
    """

    def __init__(
        self,
        accepted: str,
        rejected: str | None = None,
        decisions: str | None = None,
        model: str | None = None,
        scores: Sequence[str] = (),
        *,
        texts: bool = False,
        report: ReportFile | None = None,
    ) -> None:
        self._scores, self._texts, self._report = scores, texts, report
        with ExitStack() as opened:
            self._rejected = _open(rejected, opened)
            self._decisions = _open(decisions, opened)
            self._model = _open(model, opened)
            if report:
                report.open(opened)
            self._path, self._accepted = accepted, open_sink(accepted)
            opened.push(leaving(self._accepted))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def write(self, chunk: Chunk, decisions: Decisions) -> None:
        """Write one chunk, in its order."""
        accepted = np.flatnonzero(decisions.accepted)
        if self._scores:
            self._accepted.write(scored_records(chunk, decisions, accepted, self._scores))
        else:
            chosen = (chunk.message(pair).value for pair in accepted.tolist())
            self._accepted.write([value for value in chosen if value is not None])
        if self._rejected:
            self._rejected.write(b"".join(rejected_lines(chunk, decisions)))
        if self._decisions:
            pairs = np.arange(len(decisions))
            lines = decision_lines(chunk, decisions, pairs)
            if self._texts:
                lines = with_texts(lines, chunk, pairs)
            self._decisions.write(b"\n".join([*lines, b""]))

        if self._report:
            self._report.add(chunk, decisions)

    def report(self, facts: dict[str, Any], model: Model | None) -> None:
        """Write the report, where one was asked for; arguments as for `ReportFile.write`."""
        if self._report:
            self._report.write(facts, model)

    def remarks(self) -> list[str]:
        """See `remarks`, of the accepted records."""
        return remarks(self._path, self._accepted)

    def save(self, model: Model | None) -> None:
        """Keep the version that decided last, where that was asked for."""
        if self._model and model:
            self._model.write(model.encode())


def _open(path: str | None, stack: ExitStack) -> OutputFile | None:
    return stack.enter_context(OutputFile(path)) if path else None


def remarks(path: str, sink: Sink) -> list[str]:
    """What the user should know of an output, once it is written, and what to type instead."""
    found = []
    if lost := sorted(getattr(sink, "left_out", ())):
        typed = "" if ending(path) == "moses" else "name columns (?columns=*) or "
        found.append(f"{path} has no room for {', '.join(lost)}: {typed}take another format")
    if getattr(sink, "languages_unknown", False):
        typed = shlex.quote(f"{path}{'&' if '?' in path else '?'}langs=SOURCE,TARGET")
        found.append(f"{path} calls its languages qaa and qab, as no record names them: type {typed}")
    return found


def leaving(sink: Sink) -> Any:
    """What leaves a `with` block with a sink: closes it, or discards what was written when an error leaves it."""

    def leave(kind: object, *_: object) -> None:
        if kind is not None and hasattr(sink, "discard"):
            sink.discard()
        else:
            sink.close()

    return leave
