"""How far a selection is, on standard error, for a person who watches."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text


class Rate(ProgressColumn):
    """Records a second, of late."""

    def render(self, task: Task) -> Text:
        """The column's text."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class Progress(AbstractContextManager["Progress"]):
    """A line with counts; nothing is written where standard error is no terminal.

    Args:
        first: what is done before anything is counted.
    """

    def __init__(self, first: str = "learning from the beginning of the stream") -> None:
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task(first, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, read: int, accepted: int) -> None:
        """Records read and accepted so far."""
        self._bar.update(self._task, description=f"{read:,} read, {accepted:,} accepted", completed=read)

    def stage(self, name: str, done: int, total: int | None) -> None:
        """What is being done with records, how many of them it was done with, of how many (None: not known)."""
        self._bar.update(self._task, description=f"{done:,} {name}", completed=done, total=total)
