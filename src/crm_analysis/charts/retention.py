"""Who comes back, and how sure that is: shares and differences with their intervals, and cohorts at equal age."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from crm_analysis import numerals
from crm_analysis.charts.drawing import heat_map, matrix
from crm_analysis.charts.theme import ACCENT, GREY, INK, WARNING, new_figure
from crm_analysis.numerals import count, percent


def rate_intervals(rates: pd.DataFrame, names: str, of: str = "customers") -> Figure:
    """Shares with their intervals, from the top down, and what is usual elsewhere as an upright mark.

    Parameters
    ----------
    rates
        ``names``, ``rate``, ``low``, ``high`` (0 to 1; not drawn where NaN) and, if there is something to compare
        with, ``reference`` (NaN: none for this row).
    names
        The column of the rows' names.
    of
        What they are shares of.
    """
    with new_figure(0.9 + 0.5 * len(rates)) as (figure, ax):
        ax.set_xlim(0, 1)
        _intervals(ax, rates[names], rates[["rate", "low", "high"]], percent, [ACCENT] * len(rates))
        if "reference" in rates.columns:
            rows, marks = np.arange(len(rates)), rates["reference"].to_numpy(float)
            ax.vlines(marks, rows - 0.3, rows + 0.3, color=WARNING, linewidth=2.5, label="reference")
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, handlelength=0.6, borderpad=0)
        ax.set_xlabel(f"Share of {of}")
    return figure


def cohort_retention(cohorts: pd.DataFrame, age_name: str) -> Figure:
    """Which share of each cohort (rows) bought at each age (columns).

    Parameters
    ----------
    cohorts
        ``cohort``, its ``customers``, ``age``, ``rate`` (0 to 1), in their order; a missing pair stays blank.
    age_name
        What the age is counted in, for example "Quarters since the first purchase".
    """
    labels = cohorts["cohort"] + "\n" + cohorts["customers"].map(count)
    table = matrix(cohorts.assign(label=labels), "label", "age", "rate", labels.unique())
    return heat_map(table, np.nanmax(table.to_numpy(), initial=0) or 1, percent, "Cohort", age_name)


def rate_differences(differences: pd.DataFrame, names: str) -> Figure:
    """Differences of two shares in percentage points with their intervals, around the line of no difference.

    What chance alone could explain, because the interval reaches over that line, is grey.

    Parameters
    ----------
    differences
        ``names``, ``adjusted``, ``adjusted_low``, ``adjusted_high`` (0.05 is 5 points; not drawn where NaN).
    names
        The column of the rows' names.
    """
    values = differences[["adjusted", "adjusted_low", "adjusted_high"]]
    low, high = (values[name].to_numpy(float) for name in ("adjusted_low", "adjusted_high"))
    colors = [WARNING if h < 0 else ACCENT if lo > 0 else GREY for lo, h in zip(low, high, strict=True)]
    with new_figure(0.9 + 0.5 * len(differences)) as (figure, ax):
        reach = 1.15 * np.nanmax(np.abs(values.to_numpy(float)), initial=0.01)
        ax.set_xlim(-reach, reach)
        _intervals(ax, differences[names], values, points, colors)
        ax.axvline(0, color=INK, linewidth=1, zorder=0.5)
        ax.set_xlabel("Difference in percentage points")
    return figure


def points(share: float) -> str:
    """Write a difference of shares: 0.123 → "+12", -0.04 → "−4.0" points."""
    digits = int(abs(share) < 0.095)
    return numerals.number(100 * share, digits, sign=True)


def _intervals(ax: Axes, names: pd.Series, values: pd.DataFrame, write: Callable[[float], str], colors: Any) -> None:
    """Draw a dot, its interval and its number for each row, from the top down."""
    middle, low, high = values.to_numpy(float).T
    rows = np.arange(len(names))
    ax.hlines(rows, low, high, color=colors, linewidth=2.5)
    ax.scatter(middle, rows, color=colors, s=55, zorder=3)
    for row, number in enumerate(middle):
        place, align = (0, "left") if np.isnan(number) else (number, "center")
        ax.annotate(write(number), (place, row), (0, 7), textcoords="offset points", ha=align, fontsize=11)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.6)
    ax.set_yticks(rows, names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: write(share) if share else "0"))
