"""How long cases take, and how many come on 100 orders."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crm_analysis import numerals
from crm_analysis.charts.drawing import date_axis, number_axis
from crm_analysis.charts.theme import ACCENT, GREY, WASH, new_figure


def case_times(times: pd.DataFrame, names: str) -> Figure:
    """Time by which half of the cases were over, with its interval, and by which nine in ten were, from the top down.

    Parameters
    ----------
    times
        ``names``, ``median``, ``low``, ``high`` and ``most`` in days; what is NaN is not drawn.
    names
        The column of the rows' names.
    """
    rows, (median, low, high, most) = np.arange(len(times)), times[["median", "low", "high", "most"]].to_numpy(float).T
    reach = max([0.0, *filter(np.isfinite, [*median, *high, *most])]) or 1
    with new_figure(1.3 + 0.5 * len(times)) as (figure, ax):
        ax.hlines(rows, np.fmin(low, median), np.fmax(most, median), color=WASH, linewidth=9)
        ax.hlines(rows, low, np.where(np.isnan(high), reach, high), color=ACCENT, linewidth=2.5)
        ax.scatter(median, rows, color=ACCENT, s=55, zorder=3, label="half of the cases")
        ax.scatter(most, rows, color=GREY, s=45, marker="D", zorder=3, label="nine in ten")
        for row, number in enumerate(median):
            place, text = (0, "not known yet") if np.isnan(number) else (number, numerals.number(number, 1))
            align = "left" if np.isnan(number) else "center"
            ax.annotate(text, (place, row), (0, 8), textcoords="offset points", ha=align, fontsize=11)
        for row, number in enumerate(most):
            if not np.isnan(number):
                ax.annotate(
                    numerals.number(number, 1),
                    (number, row),
                    (9, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=11,
                )
        ax.set_xlim(0, 1.12 * reach)
        ax.set_ylim(max(len(times), 1) - 0.5, -0.7)
        ax.set_yticks(rows, times[names])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        ax.set_xlabel("Days")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0, handletextpad=0.2)
    return figure


def cases_per_100(quarters: pd.DataFrame, of: str) -> Figure:
    """Cases for each 100 orders, quarter by quarter, with the range that chance leaves.

    Parameters
    ----------
    quarters
        ``start`` (dates), ``per_100``, ``low``, ``high``.
    of
        What they are.
    """
    days = pd.DatetimeIndex(quarters["start"])
    with new_figure(3.4) as (figure, ax):
        ax.fill_between(days, quarters["low"], quarters["high"], color=WASH, linewidth=0)
        ax.plot(days, quarters["per_100"], color=ACCENT, marker="o", linewidth=2)
        number_axis(ax)
        date_axis(ax, days)
        ax.set_ylabel(f"{of} per 100 orders")
    return figure
