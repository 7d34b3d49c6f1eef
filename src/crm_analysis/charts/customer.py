"""The chart of one customer."""

import pandas as pd
from matplotlib.figure import Figure

from crm_analysis.charts.drawing import date_axis, number_axis
from crm_analysis.charts.theme import ACCENT, GREY, new_figure


def purchase_timeline(purchases: pd.DataFrame, until: object, money: str = "") -> Figure:
    """Draw each purchase as a line as high as its amount, from the first one to the as-of date.

    Parameters
    ----------
    purchases
        `date`, `amount`; at least one.
    until
        The as-of date, where the axis ends.
    money
        What amounts are counted in.
    """
    dates = pd.DatetimeIndex(purchases["date"])
    span = (pd.Timestamp(until) - dates.min()).days
    margin = pd.Timedelta(days=max(span // 40, 1))
    with new_figure(2.4) as (figure, ax):
        ax.vlines(dates, 0, purchases["amount"], color=ACCENT, linewidth=2 if len(dates) < 100 else 1)
        ax.plot(dates, purchases["amount"], "o", color=ACCENT, markersize=4 if len(dates) < 100 else 2)
        ax.axhline(0, color=GREY, linewidth=0.8)
        number_axis(ax)
        date_axis(ax, dates)
        ax.set_xlim(dates.min() - margin, pd.Timestamp(until) + margin)
        ax.set_ylabel(f"Amount{f' ({money})' if money else ''}")
    return figure
