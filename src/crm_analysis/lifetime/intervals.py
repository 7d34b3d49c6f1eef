"""How far what customers will buy may probably lie from what is expected of them, without simulation.

A model tells the probability of each number of purchases of a customer, given its parameters. These are uncertain
themselves: a mean over `model.neighbours()` is a mean over what they may be. One customer's future is uncertain for the
customer's own sake. In the total of many customers this averages out; that the parameters are wrong for all does not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from scipy.optimize import brentq, elementwise

from crm_analysis import numerals
from crm_analysis.errors import Unanswerable

TAIL = 1e-6  # probability of more purchases than are looked at
MOST = 2**14  # purchases of one customer that are looked at
CELLS = 2**17  # probabilities of one task
EXACT = 2**23  # histories times purchases up to which a total is convolved
SEEN = 1e-6  # probability below which a number of purchases does not matter to the value
RANGE = 30.0  # of the logarithm of a value, relative to what is known of the customer's spend


def purchase_intervals(model: Any, histories: pd.DataFrame, weeks: float, level: float = 0.9) -> pd.DataFrame:
    """Return how many purchases customers with each history will probably make.

    The predictive distribution is the equal-weight mixture of those of the model's neighbours.

    Parameters
    ----------
    model
        A fitted purchase process.
    histories
        `frequency`, `recency`, `T` and the model's covariates; one row per distinct history (see `histories`).
    weeks
        The horizon, in the model's unit of time.
    level
        Of the interval: on each side it leaves out at most (1 - level) / 2.

    Returns
    -------
    pandas.DataFrame
        The histories with `expected` (at the estimates), `low` and `high` (purchases), `coverage` (probability of low
        to high: at least the level, since purchases are whole numbers) and `parameter_share` (of the variance: what
        the uncertainty of the parameters brings).

    Raises
    ------
    Unanswerable
        The probabilities of a history cannot be computed.
    """
    means, variance, low, high, coverage = _moments(model, histories, weeks, _outside(weeks, level))
    found = {"low": low.astype(int), "high": high.astype(int), "coverage": coverage}
    share = means.var(axis=0) / variance
    return histories.assign(expected=_expected(model, histories, weeks), **found, parameter_share=share)


def total_interval(model: Any, histories: pd.DataFrame, weeks: float, level: float = 0.9) -> dict[str, float]:
    """Return how many purchases all customers, or those of a group, will probably make together.

    W is the total if each customer's purchases are distributed as in `purchase_intervals`, and independent: a
    convolution. But the parameters are the same for all. That multiplies W by a factor G, gamma-distributed with mean
    1, that adds to the variance the customers' covariances: the variance of the neighbours' totals less that of each
    customer's means. The total is W G, rounded. W is convolved exactly (Fourier transform). Where that is too much
    (`EXACT`; W is then thousands of purchases, and next to normal), W stands for its mean, and G has its variance, too.

    Parameters are those of `purchase_intervals`; `customers` says how many have a history (each 1 without it).

    Returns
    -------
    dict
        `expected` (at the estimates), `low`, `high` (purchases), `coverage` and `parameter_share`.
    """
    out, customers = _outside(weeks, level), _customers(histories)
    means, variance, *_ = _moments(model, histories, weeks, out)
    mean, own, shared = customers @ means.mean(axis=0), customers @ variance, (means @ customers).var()
    total = own + max(shared - customers @ means.var(axis=0), 0.0)
    counts, chances, convolved = _convolved(model, histories, weeks, out, mean, own)
    spread = max((total - convolved) / max(convolved + mean**2, 1e-300), 1e-12)

    def below(count: int) -> float:
        return float(chances @ special.gammainc(1 / spread, (count + 0.5) / np.maximum(counts * spread, 1e-200)))

    low, high = bisect_right(range(2**50), out, key=below), bisect_left(range(2**50), 1 - out, key=below)
    coverage, share = below(high) - (below(low - 1) if low else 0.0), float(shared / max(total, 1e-300))
    expected = float(customers @ _expected(model, histories, weeks))
    return {"expected": expected, "low": low, "high": high, "coverage": coverage, "parameter_share": share}


def value_intervals(
    model: Any, spend: Any, histories: pd.DataFrame, weeks: float, level: float = 0.9, *, factor: Any = 1.0
) -> pd.DataFrame:
    """Return what the purchases of each customer will probably be worth.

    The number of purchases is as in `purchase_intervals`. What N of them bring together, relative to v + x z (x
    purchases of z on average were seen), is beta-prime(p N, q + p x): Gamma-Gamma, at its estimates. This relative
    amount is solved for once per distinct history.

    Parameters
    ----------
    model, weeks, level
        As for `purchase_intervals`.
    spend
        A fitted Gamma-Gamma model: its `params_` p, q and v.
    histories
        `frequency`, `recency`, `T`, `monetary_value` (average amount of the repeat purchases) and the covariates.
    factor
        Number or column that amounts are multiplied with: margin times discount (discounted over undiscounted
        purchases; an approximation, since early purchases lose less than late ones). Below 0 it turns the interval.

    Returns
    -------
    pandas.DataFrame
        The histories with `expected` (infinite where amounts have no mean: q + p x at most 1), `low`, `high` and
        `coverage`, which is above the level where buying nothing is probable.
    """
    out, (p, unit, shape) = _outside(weeks, level), _spend(spend, histories)
    unit = unit * np.asarray(factor, float)
    place = histories.groupby(["frequency", "recency", "T", *model.attributes], sort=False).ngroup().to_numpy()
    one_each = np.unique(place, return_index=True)[1]
    b, bounds, coverage = shape[one_each], np.zeros((2, len(one_each))), np.zeros(len(one_each))
    for rows, mixture, _ in _distributions(model, histories.iloc[one_each], weeks, out):
        bounds[:, rows] = [_quantile(mixture, p, b[rows], target) for target in (out, 1 - out)]
        coverage[rows] = np.where(mixture[0] > out, np.maximum(mixture[0], 1 - out), level)
    low, high = np.sort(bounds[:, place] * unit, axis=0)
    expected = _expected(model, histories, weeks) * p * unit
    expected = np.divide(expected, shape - 1, out=np.full(len(shape), np.inf), where=shape > 1)
    return histories.assign(expected=expected, low=low, high=high, coverage=coverage[place])


def total_value_interval(
    model: Any, spend: Any, histories: pd.DataFrame, weeks: float, level: float = 0.9, *, factor: Any = 1.0
) -> dict[str, float]:
    """Return what the purchases of all customers, or of those of a group, will probably be worth together.

    Mean and variance are exact, that of the means over the neighbours of both models included. The purchases are
    distributed as W in `total_interval`; a number N of them is taken to bring a gamma-distributed amount with mean and
    variance in proportion to N, so that the total has its own. If factors are of both signs, the total is normal.

    Parameters are those of `value_intervals`; `customers` says how many have a history (each 1 without it).

    Returns
    -------
    dict
        `expected`, `low`, `high` and `parameter_share`.

    Raises
    ------
    Unanswerable
        The amounts of some customers have no finite variance: q + p x is at most 2 (or at most 1 for a neighbour).
    """
    out, customers = _outside(weeks, level), _customers(histories)
    p, unit, shape = _spend(spend, histories)
    known = [_spend(one, histories) for one in getattr(spend, "neighbours", lambda: [spend])()]
    endless = (shape <= 2) | (np.min([one[2] for one in known], axis=0) <= 1)
    if endless.any():
        few = f"{numerals.count(customers[endless].sum())} of the {numerals.count(customers.sum())} customers"
        raise Unanswerable(f"What {few} spend on a purchase has no finite variance, so their total has no interval.")
    means, variance, *_ = _moments(model, histories, weeks, out)
    factor = np.broadcast_to(np.asarray(factor, float), len(histories))
    amount, own = factor * unit * p / (shape - 1), means.mean(axis=0)  # of one purchase; how many
    within = amount**2 * ((variance + own**2 + own / p) * (shape - 1) / (shape - 2) - own**2)
    totals = means @ np.transpose([customers * factor * unit * p / (shape - 1) for p, unit, shape in known])
    mean, shared = totals.mean(), totals.var()
    total = customers @ within + max(shared - customers @ (means.var(axis=0) * amount**2), 0.0)
    bounds = np.zeros(2)
    if (factor < 0).any() and (factor > 0).any():
        bounds = mean + np.sqrt(total) * special.ndtri([out, 1 - out])
    elif mean:
        count = customers @ own
        counts, chances, convolved = _convolved(model, histories, weeks, out, count, customers @ variance)
        each = mean / count
        scale = max(total - each**2 * convolved, 1e-6 * total) / mean

        def beyond(amount: float, share: float) -> float:
            return float(chances @ special.gammainc(np.maximum(counts * each / scale, 1e-300), amount / scale)) - share

        for side, share in enumerate((out, 1 - out)):
            if beyond(1e-9 * mean, share) < 0:
                most = mean + np.sign(mean) * np.sqrt(total / out)  # Chebyshev's inequality
                bounds[side] = brentq(beyond, 1e-9 * mean, most, (share,))
    expected = customers @ (_expected(model, histories, weeks) * amount)
    found = {"expected": expected, "low": bounds.min(), "high": bounds.max()}
    found["parameter_share"] = shared / max(total, 1e-300)
    return {name: float(value) for name, value in found.items()}


def chance_above(
    model: Any, spend: Any, histories: pd.DataFrame, weeks: float, amount: float, *, factor: Any = 1.0
) -> pd.DataFrame:
    """Return how probable it is that the purchases of each customer will be worth more than an amount.

    The distribution is that of `value_intervals`: the sum over k of the probability of k purchases times that of the
    beta-prime distribution of what these bring. The probability of more than the upper bound there is (1 - level) / 2.

    Parameters
    ----------
    model, spend, histories, weeks, factor
        As for `value_intervals`.
    amount
        In units of money.

    Returns
    -------
    pandas.DataFrame
        The histories with `chance`. Who buys nothing is worth 0, and of a factor below 0 purchases are a loss.
    """
    out, (p, unit, shape) = _outside(weeks, 0.9), _spend(spend, histories)
    unit = unit * np.asarray(factor, float)
    relative = np.divide(amount, unit, out=np.zeros(len(unit)), where=unit != 0)
    place = histories.groupby(["frequency", "recency", "T", *model.attributes], sort=False).ngroup().to_numpy()
    one_each, members = np.unique(place, return_index=True)[1], np.argsort(place, kind="stable")
    first, within = np.searchsorted(place[members], np.arange(len(one_each) + 1)), np.zeros(len(unit))
    for rows, mixture, _ in _distributions(model, histories.iloc[one_each], weeks, out):
        column = np.repeat(np.arange(len(rows)), first[rows + 1] - first[rows])
        mine = np.concatenate([members[first[row] : first[row + 1]] for row in rows])
        for few in np.array_split(np.arange(len(mine)), -(-len(mine) * len(mixture) // CELLS)):
            found = _relative_cdf(mixture[:, column[few]], p, shape[mine[few]], np.maximum(relative[mine[few]], 0.0))
            within[mine[few]] = found
    above = np.where(unit > 0, np.where(relative < 0, 1.0, 1 - within), np.where(amount < 0, within, 0.0))
    return histories.assign(chance=np.where(unit == 0, float(amount < 0), above))


def _outside(weeks: float, level: float) -> float:
    """Return the probability to leave out on each side."""
    if not (weeks > 0 and 0 < level < 1):
        raise ValueError(f"weeks must be above 0 and level between 0 and 1, not {weeks} and {level}")
    return (1 - level) / 2


def _customers(histories: pd.DataFrame) -> np.ndarray:
    return histories["customers"].to_numpy(float) if "customers" in histories else np.ones(len(histories))


def _expected(model: Any, histories: pd.DataFrame, weeks: float) -> np.ndarray:
    return np.asarray(model.conditional_expected_number_of_purchases_up_to_time(weeks, **model.known(histories)))


def _distributions(
    model: Any, histories: pd.DataFrame, weeks: float, out: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, their probabilities of 0, 1, … purchases (as many as matter), and the means of all neighbours."""
    left, most, models = np.lexsort([histories["T"], histories["frequency"]]), 15, model.neighbours()
    while len(left):
        if most > MOST:
            many, long = numerals.count(len(left)), numerals.plain(weeks)
            raise Unanswerable(f"What {many} purchase histories lead to in {long} weeks cannot be computed.")
        again = []
        for rows in np.array_split(left, -(-len(left) * most // CELLS)):
            known = model.known(histories.iloc[rows])
            each = np.stack([one.conditional_distribution(weeks, **known, most=most) for one in models])
            mixture, means = each.mean(axis=0), np.arange(most + 1) @ each
            enough = 1 - mixture.sum(axis=0) <= min(TAIL, out / 2)
            if enough.any():
                yield rows[enough], mixture[:, enough], means[:, enough]
            again.append(rows[~enough])
        left, most = np.concatenate(again), 4 * most + 3


def _moments(model: Any, histories: pd.DataFrame, weeks: float, out: float) -> list[np.ndarray]:
    """Return the neighbours' means, and their mixture's variance, low, high, and what these cover."""
    parts = [(np.zeros(0, int), np.zeros((len(model.neighbours()), 0)), *np.zeros((4, 0)))]
    for rows, mixture, means in _distributions(model, histories, weeks, out):
        below = np.cumsum(mixture, axis=0)
        low, high = (below <= out).sum(axis=0), (below < 1 - out).sum(axis=0)
        column = np.arange(len(rows))
        coverage = below[high, column] - (below - mixture)[low, column]
        variance = np.arange(len(mixture)) ** 2 @ mixture - means.mean(axis=0) ** 2
        parts.append((rows, means, variance, low, high, coverage))
    order, *found = (np.concatenate(column, axis=-1) for column in zip(*parts, strict=True))
    return [column[..., np.argsort(order)] for column in found]


def _convolved(
    model: Any, histories: pd.DataFrame, weeks: float, out: float, mean: float, variance: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return counts of purchases by all customers, their probabilities and variance; the mean if that is too much."""
    size = 2 ** int(np.ceil(np.log2(mean + 12 * np.sqrt(variance) + 32)))
    if size * len(histories) > EXACT:
        return np.array([mean]), np.ones(1), 0.0
    customers = _customers(histories)
    log_length, phase = np.zeros((2, size // 2 + 1))
    for rows, mixture, _ in _distributions(model, histories, weeks, out):
        for few in np.array_split(np.arange(len(rows)), -(-len(rows) * size // (4 * CELLS))):
            wave = np.fft.rfft(mixture[:, few], size, axis=0)
            log_length += np.log(np.maximum(np.abs(wave), 1e-300)) @ customers[rows[few]]
            phase += np.angle(wave) @ customers[rows[few]]
    chances = np.fft.irfft(np.exp(log_length + 1j * phase), size)
    counts = np.flatnonzero(chances > 1e-15)
    return counts, chances[counts], variance


def _spend(spend: Any, histories: pd.DataFrame) -> tuple[float, np.ndarray, np.ndarray]:
    """Return p, what each history's amounts are relative to (v + x z), and the shape of their rate (q + p x)."""
    p, q, v = (float(spend.params_[name]) for name in ("p", "q", "v"))
    x = histories["frequency"].to_numpy(float)
    return p, v + np.where(x > 0, x * histories["monetary_value"], 0.0), q + p * x


def _quantile(mixture: np.ndarray, p: float, b: np.ndarray, target: float) -> np.ndarray:
    """Return the y at which the sum over k of P(k) I(y / (1 + y); p k, b) is `target`; 0 if it is already there."""

    def lacking(log_y: Any, row: Any) -> Any:
        return _relative_cdf(mixture[:, row], p, b[row], np.exp(log_y)) - target

    found = np.zeros(len(b))
    rows = np.flatnonzero(lacking(np.full(len(b), -RANGE), np.arange(len(b))) < 0)
    if len(rows):
        solved = elementwise.find_root(lacking, (-RANGE, RANGE), args=(rows,), tolerances={"xatol": 1e-4})
        found[rows] = np.exp(solved.x)
    return found


def _relative_cdf(mixture: np.ndarray, p: float, b: np.ndarray, y: Any) -> np.ndarray:
    """Return the sum over k of P(k) I(y / (1 + y); p k, b): how probable up to y is, relative to the known spend."""
    a, share, chance = p * np.arange(1, len(mixture))[:, None], y / (1 + y), mixture[1:]
    each = special.betainc(a, b, share, out=np.zeros_like(chance), where=chance > SEEN)
    found: np.ndarray = mixture[0] + (chance * each).sum(axis=0)
    return found
