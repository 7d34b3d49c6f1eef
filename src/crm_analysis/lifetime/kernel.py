"""The integral over the unknown moment at which a customer stopped, with its exact derivatives.

Every purchase process here is the same but for the lifetime: purchases come at random at a rate of each customer's
own, rate ~ Gamma(r, alpha), until the customer stops at a moment tau of density f and survival S. Of a customer with x
repeat purchases, the last t_x after the first purchase, observed until T, the likelihood is

    L = Gamma(r + x) / Gamma(r) alpha^r [ S(T) (alpha + T)^-(r + x) + integral t_x..T of f(y) (alpha + y)^-(r + x) dy ]

The integral is taken by a Gauss-Legendre rule in log(m + y - t_x), where m is the scale of the integrand at t_x. The
last coefficients of the integrand's own Legendre series tell whether the rule suffices for a row; where it does not,
the interval is halved. Nothing overflows: all powers are relative to their value at t_x.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
from numpy.polynomial import legendre

NODES, WEIGHTS = ((legendre.leggauss(16)[0] + 1) / 2)[:, None], legendre.leggauss(16)[1] / 2
# Rows that give the last two coefficients of a function's Legendre series from its values at the nodes.
LAST = np.stack([legendre.legval(2 * NODES[:, 0] - 1, [0] * j + [2 * j + 1]) * WEIGHTS for j in (14, 15)])
PRECISION = 1e-12  # of an integral, relative to the likelihood of its row
WITH_CLOCK = 1e-6  # the same where the clock is only as smooth as a table by day
WIDEST = 4.0  # a panel in this logarithm that is wider is halved unseen: the nodes could miss what is in it
CROWD = 2**17  # panels at a time; more are not halved any more
NARROWEST = 1e-12  # a panel that is not halved any more
ROWS = 8192  # of one task: enough that the arithmetic outweighs the calls

# log S, log hazard, and the derivatives of both by the logarithm of each parameter, at times t
Lifetime = Callable[..., tuple[Any, Any, Sequence[Any], Sequence[Any]]]


def log_likelihood(
    lifetime: Lifetime,
    pace: Callable[..., Any],
    parameters: Sequence[Any],
    history: Sequence[np.ndarray],
    clock: Callable[[Any, Any], Any] | None = None,
    longest: float = np.inf,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how probable each history is, how that changes with the parameters, and whether the customer is alive.

    Parameters
    ----------
    lifetime, pace
        The lifetime's functions, and how fast its density changes from a time on, as a share per unit of time.
    parameters
        r, alpha and those of the lifetime; alpha and any of the lifetime may differ by row.
    history
        Frequency (whole numbers), recency and T, one of each a row.
    clock
        Of customers of age T, how much the purchase clock has run (column) when a time (row) has passed since the
        first purchase; without it both run alike.
    longest
        Time over which the clock's speed is smooth.

    Returns
    -------
    values : (rows,) log-likelihood
    slopes : (parameters, rows) its derivatives by the logarithms of the parameters
    alive : (rows,) probability of being alive at T
    """
    n = len(history[0])
    values, slopes, alive = np.empty(n), np.empty((len(parameters), n)), np.empty(n)
    r = parameters[0]
    steps = np.arange(int(history[0].max(initial=0)))
    rising = np.log(r + steps), 1 / (r + steps)
    log_rising, digamma_rising = (np.concatenate([[0], np.cumsum(step)]) for step in rising)

    def work(start: int) -> None:
        rows = slice(start, start + ROWS)
        own = [_of(parameter, rows) for parameter in parameters]
        x, t_x, T = (column[rows] for column in history)
        log_odds, slope, alive[rows] = _bracket(lifetime, pace, own, x, t_x, T, clock, longest)
        times = x.astype(np.intp)
        values[rows] = log_rising[times] - x * np.log(own[1]) + log_odds
        slope[0] += r * digamma_rising[times]
        slope[1] -= x
        slopes[:, rows] = slope

    tasks = range(0, n, ROWS)
    if len(tasks) < 2:
        for start in tasks:
            work(start)
    else:
        with ThreadPoolExecutor(min(len(tasks), os.cpu_count() or 1)) as pool:
            list(pool.map(work, tasks))
    return values, slopes, alive


def _bracket(
    lifetime: Lifetime,
    pace: Callable[..., Any],
    parameters: list[Any],
    x: Any,
    t_x: Any,
    T: Any,
    clock: Any,
    longest: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the logarithm of the bracket times alpha^(r + x), its derivatives, and the share of its first term."""
    r, alpha, *theta = parameters
    k = r + x
    # Under a clock the nodes do not move with the parameters, so that slopes are those of the sums.
    m = 1 / (pace(t_x, *theta) + (1 + k) / (alpha + t_x)) if clock is None else longest
    begin = t_x if theta else T  # of what all powers are relative to
    past, at_T = (np.log1p((t if clock is None else clock(T, t)) / alpha) for t in (begin, T))
    survival, _, survival_slopes, _ = lifetime(T, *theta)
    reference = lifetime(begin, *theta)[0] - k * past
    first = np.exp(survival - k * at_T - reference)

    def stopped(y: np.ndarray, log_step: np.ndarray, rows: Any, weigh: np.ufunc = np.exp) -> tuple[Any, list[Any]]:
        """Density of having stopped at y, times what it has left of the power; the slopes of its logarithm."""
        log_S, log_hazard, S_slopes, hazard_slopes = lifetime(y, *(_of(value, rows) for value in theta))
        passed = np.log1p((y if clock is None else clock(T[rows], y)) / _of(alpha, rows))
        powered = passed * -k[rows]
        log_step += log_S
        log_step += log_hazard
        if weigh is np.exp:
            log_step += powered
            log_step -= reference[rows]
            mass = np.exp(log_step, out=log_step)
        else:
            mass = np.exp(log_step, out=log_step) * weigh(powered)
        elapsed = -np.expm1(-passed)  # y / (alpha + y)
        return mass, [passed, elapsed, *(a + b for a, b in zip(S_slopes, hazard_slopes, strict=True))]

    sums = integral(stopped, m, t_x, T, first, longest) if theta else np.zeros((3, len(x)))
    whole = first + sums[0]
    value = np.log(whole) + reference
    slopes = np.empty((len(parameters), len(x)))
    slopes[0] = -r * (first * at_T + sums[1]) / whole
    slopes[1] = k * (first * -np.expm1(-at_T) + sums[2]) / whole
    for j, slope in enumerate(survival_slopes):
        slopes[2 + j] = (first * slope + sums[3 + j]) / whole
    # Of one who never bought again the bracket may be close to 1: then what it lacks to 1 is summed up instead.
    close = np.flatnonzero((t_x == 0) & (whole > 0.5))
    if theta and len(close):

        def lacking(y: np.ndarray, log_step: np.ndarray, rows: Any) -> tuple[Any, list[Any]]:
            return stopped(y, log_step, close[rows], np.expm1)

        lack = (np.exp(survival) * np.expm1(-k * at_T))[close]
        sums = integral(lacking, _of(m, close), t_x[close], T[close], lack, longest)
        value[close] = np.log1p(lack + sums[0])
        for j, slope in enumerate(survival_slopes):
            slopes[2 + j, close] = (lack * _of(slope, close) + sums[3 + j]) / whole[close]
    return value, slopes, first / whole


def integral(
    integrand: Callable[..., tuple[Any, list[Any]]],
    m: Any,
    lower: np.ndarray,
    upper: np.ndarray,
    other: np.ndarray,
    longest: float = np.inf,
) -> np.ndarray:
    """Return each row's integral, and those of the integrand times further factors.

    Parameters
    ----------
    integrand
        Of times (nodes, panels), the logarithm of their step (which it may overwrite) and the rows of the panels: its
        value times the step, and the factors.
    m
        The integral is taken in log(m + time since `lower`).
    lower, upper
        Its limits.
    other
        What the first integral is to be added to; the precision is relative to the sum.
    longest
        Time over which the integrand is smooth.

    Returns
    -------
    numpy.ndarray
        (1 + factors, rows).
    """
    rows = np.flatnonzero(upper > lower)
    start = np.log(m + np.zeros_like(lower))
    left, width = start[rows], np.log1p((upper - lower) / m)[rows]
    sums = np.zeros((0, len(start)))
    for depth in count():
        crowd = len(rows) > CROWD
        wide = (width > WIDEST) | (np.exp(left) * np.expm1(width) > longest)
        wide &= np.isfinite(width) & (not crowd)
        seen = np.flatnonzero(~wide) if wide.any() else slice(None)
        at, a, W = rows[seen], left[seen], width[seen]
        log_step = a + NODES * W
        time = np.exp(log_step)
        time -= _of(m, at)
        time += lower[at]
        mass, factors = integrand(time, log_step, at)
        tail = np.abs(np.einsum("jn,nr->jr", LAST, mass)).max(axis=0) * W  # not @: its threads would fight with ours
        mass *= WEIGHTS[:, None] * W
        found = np.stack([mass.sum(axis=0), *((mass * factor).sum(axis=0) for factor in factors)])
        if depth == 0:
            sums = np.zeros((len(found), len(start)))
        precision = PRECISION if np.isinf(longest) else WITH_CLOCK
        # The rule's error falls with the square of what the last coefficients fall with.
        size = np.abs(found[0])
        fine = tail**2 <= precision * size * (size + np.abs(other[at]) + np.abs(sums[0, at]))
        fine &= (size > 0) | (a > start[at])  # what lies before the first node would not be seen
        fine |= (W < NARROWEST) | ~np.isfinite(size) | crowd
        if depth == 0:
            sums[:, at[fine]] += found[:, fine]
        else:  # a row may have many panels
            for total, part in zip(sums, found[:, fine], strict=True):
                total += np.bincount(at[fine], weights=part, minlength=len(total))
        again = np.concatenate([np.flatnonzero(wide), np.arange(len(rows))[seen][~fine]])
        if not len(again):
            break
        rows, left, width = np.tile(rows[again], 2), left[again], width[again] / 2
        left, width = np.concatenate([left, left + width]), np.tile(width, 2)
    return sums


def _of(value: Any, rows: Any) -> Any:
    """Return the rows of a column; a number is that of all rows."""
    return value[rows] if np.ndim(value) else value
