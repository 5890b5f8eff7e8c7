"""Pacing: how much may be accepted by now, and which score that takes.

Everything here is fixed at the start of an epoch (1,024 offsets) from what came before it, so that decisions do not depend
on how the log is cut into batches.

Allowance. A(t) grows by rho a pair, and never is more accepted than A(t) + ahead(t): half of what the budget earns in twice the
time so far, a horizon's at most. A crawl comes site by site: a domain that comes in a few long stretches finds what was saved
while it was away, and may take something of what is to come. With `abstain` A grows by rho_t = rho min(1, 2 pi / max pi) where
the stream holds less of the domain than it did; pi is the share of recent pairs whose uncorrected domain score lies in the
target's own upper tail, in units of the target's share there. In the order of sites that is worse: finance .29 good pairs a
pair of budget for .38.

Threshold. credit = A - accepted; the score is taken above which rho + credit / H of the pairs lie that came, H the horizon,
between a quarter of rho and twice. The memory is long: a threshold of the last 50,000 pairs spends on whatever is there while
the domain is away.

What cannot be accepted. Of a stream whose pairs come four times a quarter is new, and a Model's sample of it does not tell
which: with a threshold from all pairs half of the budget was spent. So a ledger counts of the pairs that passed the gate
those that are on no list, and of those that reached the threshold those that neither the stream nor the target brought before.
Where more than .18 others come to each of these, which is more than in streams without many copies, so much more is wanted
of what a Model's sample stands for, and the gate is as much wider. It is also wider where the sample says that less than twice
the budget would be fit behind it, as in a stream that is mostly noise. What the ordinary others leave is kept for what is to
come: corrected for them too, web by id had .47 good pairs a pair of budget for .50.

One global threshold with duals for clusters: quantiles for each cluster accept 5 to 46 % too much.

Duals hold cluster c's accepted pairs between (1 - lambda) p_c A and p_c A / (1 - lambda), p_c its share of the target:

    nu_c = clip(kappa behind_c, 0, 8) - clip(kappa ahead_c, 0, 8)
    behind_c = ((1 - lambda) p_c A - accepted_c) / (1 + (1 - lambda) p_c rho W)
    ahead_c = (accepted_c - p_c A / (1 - lambda)) / (1 + p_c rho W / (1 - lambda))

A lower bound alone left KL(target || accepted) at .17-.19 for lambda = 1/2 where one cluster took seven times its share
(.11-.12 with both). kappa = 8; with 2 and lambda = 0, KL is .064 for 660 accepted pairs in 62 clusters, .0016 with 8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from craft_stream.parameters import SelectionParameters

_DUAL_SLOPE = 8.0
_LARGEST_DUAL = 8.0
_DUAL_PAIRS = 50_000
# pi is estimated over this many pairs: 100 expected acceptances, within bounds.
_TAIL_ACCEPTANCES = 100
_TAIL_HORIZON = (16_384, 65_536)
# The horizon is so many times what has been seen, within bounds; what may be ahead is of a shorter one.
_HORIZON_GROWTH = 4
_AHEAD_GROWTH = 2
_SHORTEST_HORIZON = 4096
# Of the rate: the shares that are accepted at least and at most.
_LEAST_SHARE, _MOST_SHARE = 0.25, 2.0
# Pairs that a share begins from, all of them a part; the share of the stream that it is estimated over; and the least that is
# taken for one.
_SHARE_PRIOR = 16.0
_SHARE_GROWTH = 0.25
_LEAST_KNOWN_SHARE = 0.01
# Of the pairs that score enough, those that cannot be accepted for each that can, in streams without many copies: .01 to .18.
_ORDINARY = 0.18
# max pi halves in this many horizons, so that a level that never comes back does not starve the budget for ever.
_TAIL_HALF_LIFE = 20


def tail_horizon(rate: float) -> int:
    """Pairs over which pi is estimated."""
    low, high = _TAIL_HORIZON
    return int(np.clip(_TAIL_ACCEPTANCES / max(rate, 1e-9), low, high))


def tail_forgetting(rate: float) -> float:
    """Factor that max pi takes in a pair."""
    return float(0.5 ** (1 / (_TAIL_HALF_LIFE * tail_horizon(rate))))


def spending(parameters: SelectionParameters, share: float, largest: float) -> float:
    """rho_t / rho: the part of the budget that the stream can bear."""
    if not parameters.abstain or largest <= 0:
        return 1.0
    return min(1.0, 2 * share / largest)


def duals(
    parameters: SelectionParameters,
    shares: NDArray[np.float64],
    accepted: NDArray[np.float64],
    allowance: float,
) -> NDArray[np.float32]:
    """nu, float32 [K]; all 0 for lambda = 1.

    Args:
        parameters: of the selector.
        shares: float64 [K], of the target.
        accepted: float64 [K], since the clustering began.
        allowance: since the clustering began.
    """
    firm = 1 - parameters.relaxation
    if not firm:
        return np.zeros(len(shares), np.float32)
    due, width = shares * allowance, shares * parameters.rate * _DUAL_PAIRS
    behind = (firm * due - accepted) / (1 + firm * width)
    ahead = (accepted - due / firm) / (1 + width / firm)
    up, down = (np.clip(_DUAL_SLOPE * distance, 0, _LARGEST_DUAL) for distance in (behind, ahead))
    return (up - down).astype(np.float32)


def ahead(parameters: SelectionParameters, seen: int) -> float:
    """Pairs by which the budget may run ahead: a share of what it has earned lately, and one at least if any may be accepted.

    Args:
        parameters: of the selector.
        seen: pairs decided so far.
    """
    earned = parameters.rate * np.clip(_AHEAD_GROWTH * seen, _SHORTEST_HORIZON, parameters.horizon)
    return max(parameters.ahead * float(earned), 1.0 if parameters.rate else 0.0)


def share_of(part: float, whole: float) -> float:
    """Share that a part was of what came so far, as if 16 pairs of it had come before; a hundredth at least."""
    return max((part + _SHARE_PRIOR) / (whole + _SHARE_PRIOR), _LEAST_KNOWN_SHARE)


def beyond_ordinary(share: float) -> float:
    """What a share would be without the pairs outside of it that ordinary streams hold as well."""
    return 1 / max(1 / share - _ORDINARY, 1.0)


def share_horizon(parameters: SelectionParameters, seen: int) -> float:
    """Pairs over which such a share is estimated: a quarter of those that were seen, and of the horizon at most."""
    return float(np.clip(_SHARE_GROWTH * seen, _SHORTEST_HORIZON, _SHARE_GROWTH * parameters.horizon))


def wanted_at_most(parameters: SelectionParameters) -> float:
    """The largest share of coming pairs that is ever to be accepted."""
    return min(parameters.rate * _MOST_SHARE, 1.0)


def wanted_share(parameters: SelectionParameters, credit: float, seen: int) -> float:
    """Share of coming pairs to accept, between a quarter of the rate and twice the rate.

    Args:
        parameters: of the selector.
        credit: allowance less accepted; a debt is negative.
        seen: pairs decided so far. The horizon grows with it, so that a short stream spends its budget too: of 9,355 pairs
            at 5 %, 80 % with a fixed horizon of 20,000.
    """
    horizon = int(np.clip(_HORIZON_GROWTH * seen, _SHORTEST_HORIZON, parameters.horizon))
    wanted = parameters.rate + credit / horizon
    return float(np.clip(wanted, parameters.rate * _LEAST_SHARE, wanted_at_most(parameters)))
