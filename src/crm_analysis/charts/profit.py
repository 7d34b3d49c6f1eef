"""Why the profit has changed, and how its months compare with those before."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from crm_analysis import numerals
from crm_analysis.charts.drawing import hatch_losses
from crm_analysis.charts.theme import ACCENT, GREY, new_figure
from crm_analysis.numerals import count

PAST = "#c4c9ce"


def waterfall(steps: pd.DataFrame, amount_name: str) -> Figure:
    """What leads from one total to another: each part's bar begins where the one above it ends.

    Totals are grey, rises have the accent's colour, and falls are hatched in the warning colour.

    Parameters
    ----------
    steps
        From the top down, a total first: ``step`` (its name), ``amount``, ``total`` (whether it is a total, and so
        begins at 0; the parts in between lead from the first total to the last).
    amount_name
        What the amounts are, for example "Profit in EUR".
    """
    amounts, total = steps["amount"].to_numpy(float), steps["total"].to_numpy(bool)
    ends = np.where(total, amounts, amounts[:1].sum() + np.cumsum(np.where(total, 0, amounts)))
    starts, rows = np.where(total, 0, ends - amounts), np.arange(len(steps))
    texts = [
        ("+" if not whole and number > 0 else "") + count(number) for number, whole in zip(amounts, total, strict=True)
    ]
    with new_figure(1.0 + 0.42 * max(len(steps), 1)) as (figure, ax):
        hatch_losses(ax.barh(rows, amounts, left=starts, height=0.72, color=np.where(total, PAST, ACCENT)))
        ax.vlines(ends[:-1], rows[:-1] - 0.36, rows[1:] + 0.36, color=GREY, linewidth=0.8)
        ax.axvline(0, color=GREY, linewidth=0.8)
        for row, edge, text in zip(rows, np.maximum(starts, ends), texts, strict=True):
            ax.annotate(text, (edge, row), (5, 0), textcoords="offset points", va="center", fontsize=11)
        low, high = min([0, *starts, *ends]), max([0, *starts, *ends])
        ax.set(
            xlim=(low, high if high > low else 1), ylim=(max(len(steps), 1) - 0.5, -0.5), xticks=[], xlabel=amount_name
        )
        ax.set_yticks(rows, steps["step"])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def months_compared(
    months: pd.DataFrame, amount_name: str, names: tuple[str, str] = ("the period before", "the last period")
) -> Figure:
    """Each month of a period beside the month of the period before.

    Parameters
    ----------
    months
        ``month`` (a date in it), ``before``, ``now``.
    amount_name
        What the amounts are, for example "Contribution in EUR".
    names
        What the two months are called.
    """
    places, dates = np.arange(len(months)), pd.DatetimeIndex(months["month"])
    with new_figure(3.4) as (figure, ax):
        ax.bar(places - 0.2, months["before"], width=0.4, color=PAST, label=names[0])
        ax.bar(places + 0.2, months["now"], width=0.4, color=ACCENT, label=names[1])
        ax.axhline(0, color=GREY, linewidth=0.8)
        shown = places[:: max(1, -(-len(places) // 12))]
        first = dates.to_series().dt.year.diff().ne(0)  # the first month, and each January
        texts = np.where(first, dates.strftime("%b\n%Y"), dates.strftime("%b"))
        ax.set_xticks(shown, texts[shown])
        ax.tick_params(axis="x", length=0)
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: numerals.plain(x)))
        ax.set_ylabel(amount_name)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=11)
    return figure
