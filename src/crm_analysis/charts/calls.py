"""How many calls and visits there are, how long callers wait, and shares that rise from step to step."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from crm_analysis.charts.drawing import date_axis, number_axis, side_labels
from crm_analysis.charts.theme import ACCENT, GREY, INK, PALE, WARNING, new_figure
from crm_analysis.numerals import count, percent

COLORS = [ACCENT, WARNING, GREY, "#5b9bd5"]


def monthly_contacts(months: pd.DataFrame) -> Figure:
    """How many contacts of each purpose there were in each month: a line for each.

    Parameters
    ----------
    months
        ``month`` (its first day), ``purpose``, ``contacts``; the latest month last, the same months for each purpose.
    """
    table = months.pivot_table(index="month", columns="purpose", values="contacts", sort=False)
    colors = [COLORS[at % len(COLORS)] for at in range(len(table.columns))]
    dates = pd.DatetimeIndex(table.index)
    with new_figure(3.6) as (figure, ax):
        for purpose, color in zip(table.columns, colors, strict=True):
            ax.plot(dates, table[purpose], color=color, linewidth=2.2, marker="" if len(dates) > 1 else "o")
        number_axis(ax)
        date_axis(ax, dates)
        ax.set_ylabel("Contacts in a month")
        side_labels(ax, table.columns.to_list(), table.iloc[-1] if len(table) else [], colors)
    return figure


def waiting_by_hour(waits: pd.DataFrame, service_seconds: float, hour_name: str) -> Figure:
    """How long callers wait, by the hour of the day: the median, what nine in ten do not exceed, and the limit.

    Parameters
    ----------
    waits
        ``hour`` (0 to 23), ``median``, ``most`` (seconds).
    service_seconds
        How long nobody should wait: a line.
    hour_name
        What the hours are, for example "Hour that begins at".
    """
    hours = waits["hour"].to_numpy(int)
    with new_figure(3.6) as (figure, ax):
        ax.bar(hours, waits["most"], width=0.8, color=PALE, label="nine in ten wait no longer")
        ax.bar(hours, waits["median"], width=0.8, color=ACCENT, label="half wait no longer")
        ax.axhline(
            service_seconds, color=INK, linestyle="--", linewidth=1.2, label=f"limit: {count(service_seconds)} s"
        )
        number_axis(ax)
        ax.set_xticks(hours[:: 1 + len(hours) // 12])
        ax.tick_params(axis="x", length=0)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f}:00"))
        ax.set(xlabel=hour_name, ylabel="Seconds")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=11, columnspacing=1)
    return figure


def rates_by_step(rates: pd.DataFrame, steps: str, step_name: str, of: str, kinds: str = "") -> Figure:
    """Shares with their intervals, upright, from step to step: a line for each kind.

    Parameters
    ----------
    rates
        ``steps``, ``rate``, ``low``, ``high`` (0 to 1; not drawn where NaN), in order, and ``kinds``.
    steps
        The column of the steps' names.
    step_name
        What the steps are.
    of
        What they are shares of.
    kinds
        The column of the lines' names; empty: one line.
    """
    places = {step: at for at, step in enumerate(rates[steps].unique())}
    lines = list(rates.groupby(kinds, sort=False)) if kinds else [("", rates)]
    with new_figure(3.6) as (figure, ax):
        for at, (name, line) in enumerate(lines):
            x = line[steps].map(places).to_numpy(float) + 0.1 * (at - (len(lines) - 1) / 2)
            color = COLORS[at % len(COLORS)]
            ax.vlines(x, line["low"], line["high"], color=color, linewidth=2.5)
            ax.plot(x, line["rate"], color=color, linewidth=1, marker="o", markersize=7, label=name)
            # A rising line leaves room above it on the left; the last of several has its numbers on the right.
            offset, align = ((9, 0), "left") if 0 < at == len(lines) - 1 else ((-9, 6), "right")
            for place, rate in zip(x, line["rate"], strict=True):
                text = "" if np.isnan(rate) else percent(rate)
                spot = (place, np.nan_to_num(rate))
                ax.annotate(text, spot, offset, textcoords="offset points", ha=align, va="center", fontsize=11)
        ax.set_ylim(0, max(1.08 * np.nanmax(rates["high"].to_numpy(float), initial=0.01), 0.02))
        ax.set_xlim(-0.6, max(len(places), 1) - 0.4)
        ax.set_xticks(range(len(places)), [str(step) for step in places])
        ax.tick_params(axis="x", length=0)
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))
        ax.set(xlabel=step_name, ylabel=f"Share of {of}")
        if kinds and lines:
            figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=11)
    return figure
