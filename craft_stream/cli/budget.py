"""How many pairs `select` may accept: a share of the stream, or a number of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from craft_stream.cli.files import read_messages
from craft_stream.cli.tell import tell
from craft_stream.errors import ConfigurationError
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.settings import Settings


def one_budget(
    settings: Settings,
    rate: float | None,
    count: int | None,
    overrides: Sequence[str] | None,
    pipe: str | None,
    length: int | None,
) -> Settings:
    """Settings without the count of a file or of the environment where the command line gives a rate.

    Raises:
        ConfigurationError: it gives both, but for a pipe of unknown length, which a rate paces up to a count.
    """
    if rate is None:
        return settings
    if count is None and not any(
        text.partition("=")[0].strip() == "budget.count" for text in overrides or ()
    ):
        budget = settings.budget.model_copy(update={"count": None})
        return settings.model_copy(update={"budget": budget})
    if pipe is None or length is not None:
        raise ConfigurationError(
            "--budget-rate and --budget-count both say how many pairs to accept: give one of them"
        )
    return settings


def paced(settings: Settings, inputs: list[str], pipe: str | None, length: int | None) -> Settings:
    """Settings whose rate spends `budget.count` over the stream's length, which is counted where it is not given.

    Args:
        settings: with or without a count.
        inputs: paths of the stream.
        pipe: the first of them that can be read once only.
        length: records, if known.

    Raises:
        ConfigurationError: a pipe cannot be counted.
    """
    count = settings.budget.count
    if count is None:
        return settings
    if length is None:
        if pipe:
            raise ConfigurationError(
                f"--budget-count on {pipe}, which can be read once only, needs --length or --budget-rate"
            )
        length = sum(len(run) for run in read_messages(inputs, settings.record))
    if count >= length > 0:
        tell(
            f"the budget of {count:,} pairs is no less than the stream's {length:,}: only what is no "
            "translation, or comes twice, can be rejected"
        )
    budget = settings.budget.model_copy(update={"rate": min(1.0, count / max(length, 1))})
    return settings.model_copy(update={"budget": budget})


def capped(decisions: Decisions, count: int | None, before: int) -> Decisions:
    """Decisions of which, with those before, no more than `count` are accepted: the rest is over budget."""
    if count is None or before + int(decisions.accepted.sum()) <= count:
        return decisions
    reason = decisions.reason.copy()
    reason[np.flatnonzero(decisions.accepted)[count - before :]] = Reason.OVER_BUDGET
    return replace(decisions, reason=reason)
