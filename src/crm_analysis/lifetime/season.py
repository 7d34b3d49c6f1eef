"""How purchases vary over the year."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from crm_analysis import numerals
from crm_analysis.customers import Table, purchases
from crm_analysis.errors import Unanswerable

if TYPE_CHECKING:
    from crm_analysis.lifetime.dropout import DropoutFitter

ROUNDS = 30  # of fitting season and model in turn, at most
AGREED = 0.002  # that a level still changes by when they agree
YEARS = 100  # before and after the end of the data for which rates are laid out


class Season:
    """One profile of the year that multiplies every customer's purchase rate.

    Parameters
    ----------
    levels
        Relative rates by month (index 1 to 12) or by ISO week (1 to 53); only their proportions count. As they pass
        into each other over a month (week), that of a peak is higher than what the peak itself comes to.
    as_of
        The end of the data: ages are counted back from here, in weeks.
    repeats
        How many repeat purchases there were on each date; the likelihood of a model lacks the rates on these dates
        without it, and cannot be compared with that of a model without season.
    freedom
        How many levels were estimated from the data.

    Attributes
    ----------
    levels : pandas.Series
        1 on average over the days of two centuries.
    log_rates : float
        Sum of the logarithms of the rates over `repeats`.
    """

    def __init__(self, levels: pd.Series, as_of: dt.date, repeats: pd.Series | None = None, freedom: int = 0):
        levels = pd.Series(levels, dtype=float)
        if set(levels.index) not in (set(range(1, 13)), set(range(1, 54))):
            raise ValueError("a season has levels for the months 1 to 12 or for the weeks 1 to 53")
        if not (np.isfinite(levels) & (levels > 0)).all():
            raise ValueError("the levels of a season must be numbers above 0")
        self.as_of, self.freedom = as_of, freedom
        self.smooth = 26.0 if len(levels) == 12 else 6.0  # weeks over which few nodes follow the rate
        self._end = round(YEARS * 365.25)
        first = pd.Timestamp(as_of) - pd.Timedelta(days=self._end - 1)
        days = pd.date_range(first, periods=2 * self._end, freq="D")
        rates = levels.loc[_part(days, len(levels))].to_numpy(float)
        self.levels = levels.sort_index() / rates.mean()
        # The levels pass into each other smoothly, as an integral over them can be taken exactly only then.
        span = 15 if len(levels) == 12 else 5
        self._rates = uniform_filter1d(uniform_filter1d(rates / rates.mean(), span), span)
        self._clock = np.concatenate([[0.0], np.cumsum(self._rates)])
        self.log_rates = 0.0
        if repeats is not None:
            place = (pd.DatetimeIndex(repeats.index) - first).days
            self.log_rates = float(repeats.to_numpy() @ np.log(self._rates[place]))

    def __repr__(self) -> str:
        part = "month" if len(self.levels) == 12 else "week"
        low, high = self.levels.idxmin(), self.levels.idxmax()
        return (
            f"<Season by {part}: highest in {part} {high} ({self.levels[high]:.2f} times the mean),"
            f" lowest in {part} {low} ({self.levels[low]:.2f})>"
        )

    def passed(self, age: Any, time: Any) -> np.ndarray:
        """Return the weeks by the purchase clock in the first `time` weeks of customers who came `age` weeks ago."""
        return self._at(time - age) - self._at(np.negative(age))

    def _at(self, weeks: Any) -> np.ndarray:
        """Return the purchase clock some weeks after the end of the data (before it: less than there)."""
        days = np.asarray(weeks) * 7.0
        days += self._end
        whole = days.astype(np.int32)
        days -= whole
        days *= self._rates.take(whole, mode="clip")
        days += self._clock.take(whole, mode="clip")
        days /= 7
        return days

    def time_left(self, log_survival: Callable[[Any], Any], t: Any, T: Any, age: Any) -> np.ndarray:
        """Return the purchase clock's time that those alive at T are expected to stay in the next `t` weeks."""
        found = np.zeros(len(T))
        at_T = log_survival(T)
        since = T - age
        before = self._at(since)
        start, last = 0.0, np.max(t, initial=0.0)
        while start < last:
            stop = start + max(1 / 7, start / 500)  # within which survival hardly changes
            begin, end = np.minimum(start, t), np.minimum(stop, t)
            after = self._at(since + end)
            found += np.exp(log_survival(T + (begin + end) / 2) - at_T) * (after - before)
            start, before = stop, after
        return found


def _part(days: Any, parts: int) -> np.ndarray:
    """Return the month or the ISO week of each day."""
    days = pd.DatetimeIndex(days)
    return np.asarray(days.month if parts == 12 else days.isocalendar().week, dtype=int)


def seasonal(
    transactions: Table, histories: pd.DataFrame, as_of: dt.date, fitter: type[DropoutFitter], *, by: str = "month"
) -> DropoutFitter:
    """Fit a model together with the season of all customers' purchases.

    A level is the number of repeat purchases in a month (or ISO week), of all years, over the number that the model
    expects there; levels and model are fitted in turn until they agree.

    Parameters
    ----------
    transactions, as_of
        Clean transactions; those after the as-of date are not read.
    histories
        Of the customers at `as_of` (see `histories`).
    fitter
        The model without season, for example `ParetoNBDFitter`.
    by
        "month" or "week".

    Raises
    ------
    Unanswerable
        The histories span less than two years, so a season cannot be told from growth.
    """
    parts = {"month": 12, "week": 53}[by]
    if histories["T"].max() < 104:
        raise Unanswerable(
            f"A season needs two years of purchases; these span {numerals.count(7 * histories['T'].max())} days."
        )
    repeats = repeats_by_day(transactions, as_of)
    ages = (histories["T"] * 7).round().astype(int)
    came = np.bincount(ages, weights=histories["customers"])[::-1]  # customers by the day of their first purchase
    days = pd.date_range(end=pd.Timestamp(as_of), periods=len(came), freq="D")
    part = _part(days, parts)
    bought = np.bincount(_part(repeats.index, parts), weights=repeats.to_numpy(), minlength=parts + 1)[1:]
    season = Season(pd.Series(1.0, range(1, parts + 1)), as_of, repeats, parts - 1)
    model = fitter(season=season).fit_histories(histories)
    for _ in range(ROUNDS):
        r, alpha, *theta = model.params_
        alive = np.exp(fitter.lifetime((np.arange(len(days)) + 0.5) / 7, *theta)[0])
        rates = np.diff(season.passed(0.0, np.arange(-len(days), 1) / 7)) * r / alpha
        # Nobody buys again on the day of the first purchase.
        buying = np.concatenate([[0.0], fftconvolve(came, alive)[: len(days) - 1]])
        expected = np.bincount(part, weights=buying * rates, minlength=parts + 1)[1:]
        change = (bought + 1) / (expected + 1)  # one purchase more, so that no level is 0
        if np.abs(change / change.mean() - 1).max() < AGREED:
            return model
        season = Season(season.levels * change, as_of, repeats, parts - 1)
        model = fitter(season=season).fit_histories(histories, initial_params=model.params_)
    raise Unanswerable(f"Season and {fitter.label} model did not agree after {ROUNDS} rounds.")


def repeats_by_day(transactions: Table, as_of: dt.date) -> pd.Series:
    """Return how many repeat purchases there were on each date up to the as-of date."""
    bought = purchases(transactions)
    bought = bought.filter((bought["number"] > 1) & (bought["date"] <= as_of))
    counts = bought.group_by("date").aggregate(purchases=bought.count()).order_by("date").to_pandas()
    return counts.set_index("date")["purchases"]
