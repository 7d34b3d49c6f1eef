"""The company's calendar: days are counted from its opening, and a season makes some of them busier."""

from __future__ import annotations

import numpy as np
import pandas as pd

OPENING = pd.Timestamp("2023-01-01")
END = 1095  # the last day, 2025-12-31
MONTHS = (0.78, 0.85, 1.05, 1.22, 1.25, 1.12, 1.00, 0.95, 1.05, 1.00, 0.95, 0.78)  # demand; 1 on average

_days = pd.date_range(OPENING, periods=END + 1)
_elapsed = np.concatenate([[0.0], np.cumsum(np.array(MONTHS)[_days.month - 1])])


def later(day: np.ndarray, wait: np.ndarray, seasonal: np.ndarray) -> np.ndarray:
    """Return the day on which a wait ends, at the earliest the next; inf: after the end.

    For the seasonal, time passes as fast as demand is strong: where they buy at random, they do so at a rate that
    follows the season.
    """
    elapsed = np.interp(day, np.arange(END + 2), _elapsed) + wait
    steady, in_season = day + wait, np.interp(elapsed, _elapsed, np.arange(END + 2), right=np.inf)
    found = np.where(seasonal, in_season, steady)
    return np.where(found < END + 1, np.maximum(np.floor(found), day + 1), np.inf)


def dates(days: np.ndarray | pd.Series) -> pd.Series:
    """Return days as dates; fractions are times of day, not a number is no date."""
    moments = OPENING + pd.to_timedelta(np.asarray(days, float), unit="D")
    return pd.Series(moments).dt.floor("min").astype("datetime64[s]")


def month(days: np.ndarray | pd.Series) -> np.ndarray:
    """Return the month, 1 to 12, in which each day lies."""
    return pd.DatetimeIndex(dates(days)).month.to_numpy()


def past_sunday(days: np.ndarray) -> np.ndarray:
    """Move Sundays to the Monday after; day 0 is a Sunday."""
    return np.where(days % 7 == 0, days + 1, days)
