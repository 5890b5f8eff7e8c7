"""The report of a selection, written while it runs."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from connectors.files.fields import split_query
from connectors.files.open import OutputFile
from craft_stream import __version__
from craft_stream.cli.config import toml
from craft_stream.reading.chunk import Chunk
from craft_stream.report.about import About, Target
from craft_stream.report.gathered import Gathered
from craft_stream.report.page import page
from craft_stream.report.rows import Rows
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions
from craft_stream.settings import Settings

_NAMES = 3  # of files that a title names


class ReportFile:
    """Gathers what a report shows, and writes it where it was asked for.

    Args:
        path: of the page.
        stream: names of what is selected from.
        settings: in force.
    """

    def __init__(self, path: str, stream: Sequence[str], settings: Settings) -> None:
        self._path, self._stream, self._settings = path, stream, settings
        self._gathered = Gathered(settings.record)

    def open(self, opened: ExitStack) -> None:
        """Open the file, which appears when all that `opened` holds is left well.

        Raises:
            ConfigurationError: it cannot be written.
        """
        self._file = opened.enter_context(OutputFile(self._path))

    def add(self, chunk: Chunk, decisions: Decisions) -> None:
        """Take in a chunk that was decided."""
        self.gather(Rows.of(chunk, decisions))

    def gather(self, rows: Rows) -> None:
        """Take in pairs that were decided."""
        self._gathered.add(rows)

    def write(self, facts: Mapping[str, Any], model: Model | None) -> None:
        """Write the page.

        Args:
            facts: what else there is to be told of the selection, by name; what is None is left out.
            model: whose clusters the pairs were told; None: it is not known.
        """
        settings = self._settings
        versions = {
            "craft_stream": __version__,
            "model": None if model is None else f"{model.version}, {model.digest}",
            "encoder": None if model is None else model.translation.encoder,
            "languages": None if model is None else model.translation.languages or None,
        }
        about = About(
            title=_title("Selected from" if self._gathered.accepted else "Scores of", self._stream),
            command=shlex.join(["craft-stream", *sys.argv[1:]]),
            facts={name: _fact(value) for name, value in {**versions, **facts}.items() if value is not None},
            settings=toml(settings),
            rate=settings.budget.rate,
            quality_floor=settings.selection.quality_floor,
            target=None if model is None else _target(model),
            made=time.strftime("%d %B %Y, %H:%M %Z").lstrip("0"),
        )
        self._file.write(page(self._gathered, about))


def _title(what: str, stream: Sequence[str]) -> str:
    names = [split_query(path)[0].rpartition("/")[2] or path for path in stream]
    more = len(names) - _NAMES
    return f"{what} {', '.join(names[:_NAMES])}{f' and {more} more' if more > 0 else ''}"


def _fact(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _target(model: Model) -> Target:
    return Target(model.target_pairs, model.target_left_out, model.shares, model.translation.centroids)
