"""Equal budgets in source tokens: what is left of a ranking, or how many pairs to ask of a method that ranks nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Chosen = NDArray[np.int64]


def prefix(ranked: Chosen, tokens: NDArray[np.int64], budget: int) -> Chosen:
    """The longest beginning of a ranking that stays within the budget.

    Args:
        ranked: places in the stream, best first.
        tokens: source tokens of every pair of the stream.
        budget: source tokens in all.
    """
    return ranked[: int(np.searchsorted(np.cumsum(tokens[ranked]), budget, "right"))]


def asked(
    select: Callable[[int], Chosen],
    tokens: NDArray[np.int64],
    budget: int,
    length: float | None = None,
    seed: int = 0,
) -> Chosen:
    """What a method selects that is told a number of pairs, as many as fill the budget.

    The number is corrected by what came, as a power law between the last two answers, up to four times; the surplus of a
    few per cent is left out at random. A method that has no more to give stays below the budget.

    Args:
        select: from a number of pairs to places in the stream.
        tokens: source tokens of every pair of the stream.
        budget: source tokens in all.
        length: source tokens that a selected pair is expected to have; the stream's mean unless told.
        seed: of what is left out.
    """
    most = len(tokens)
    count = max(1, min(math.ceil(1.03 * budget / (length or tokens.mean())), most))
    chosen, power, before = select(count), 1.0, (0, 0)
    for _ in range(4):
        spent = int(tokens[chosen].sum())
        if not spent or budget <= spent <= 1.1 * budget:
            break
        if before[1] not in (0, spent):
            power = math.log(spent / before[1]) / math.log(count / before[0])
        corrected = max(1, min(math.ceil(count * (1.03 * budget / spent) ** (1 / max(power, 0.3))), most))
        if corrected == count:
            break
        before, count = (count, spent), corrected
        chosen = select(count)
    if int(tokens[chosen].sum()) <= budget:
        return chosen
    return prefix(np.random.default_rng(seed).permutation(chosen), tokens, budget)
