"""How the customer base changed: its flows, whose change makes the difference, cohorts at equal age, refunds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from crm_analysis import numerals
from crm_analysis.charts.drawing import date_axis, number_axis
from crm_analysis.charts.theme import ACCENT, GREY, HEAT, INK, PALE, PAPER, WARNING, new_figure
from crm_analysis.numerals import count

BACK = "#9cc3e4"


def base_flows(flows: pd.DataFrame) -> Figure:
    """How the customer base grew and shrank: its size over time, and below it who came and who went.

    Parameters
    ----------
    flows
        ``period`` (its last day), ``closing`` (customers at its end) and a column for each flow, named as it is called:
        customers who came, or, below 0, went.
    """
    dates = pd.DatetimeIndex(flows["period"])
    named = flows.drop(columns=["period", "closing"]).astype(float)
    colors = dict(zip(named, [ACCENT, BACK, WARNING, PALE], strict=False))
    width = 0.8 * (min((dates[1:] - dates[:-1]).days) if len(dates) > 1 else 28)
    with new_figure(5.0, 2) as (figure, (upper, lower)):
        upper.plot(dates, flows["closing"], color=INK, linewidth=2, marker="o" if len(dates) == 1 else None)
        upper.set_ylabel("Customers")
        number_axis(upper)
        for sign in (1, -1):
            bottom = np.zeros(len(flows))
            for name, column in named.items():
                part = (column * sign).clip(lower=0).to_numpy() * sign
                lower.bar(dates, part, width, bottom=bottom, color=colors[name], label=name if sign > 0 else None)
                bottom += part
        lower.axhline(0, color=GREY, linewidth=0.8)
        lower.grid(axis="y")
        lower.set_ylabel("Came and went")
        lower.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        lower.yaxis.set_major_formatter(lambda number, _: count(number))
        date_axis(lower, dates)
        figure.legend(loc="outside lower left", ncols=len(named), frameon=False, fontsize=11, handlelength=1)
    return figure


def change_tenths(tenths: pd.DataFrame, value_name: str) -> Figure:
    """How few customers make the difference: the change of each tenth of the customers, the largest losses on top.

    Parameters
    ----------
    tenths
        ``tenth`` (1: those who changed most for the worse), ``customers``, ``change`` (money).
    value_name
        What changed, for example "revenue".
    """
    change, rows = tenths["change"].to_numpy(float), np.arange(len(tenths))
    ends = {1: "largest losses  1", 10: "largest gains  10"}
    with new_figure(1.0 + 0.3 * len(tenths)) as (figure, ax):
        ax.barh(rows, change, height=0.8, color=np.where(change < 0, WARNING, ACCENT))
        for row, amount in enumerate(change):
            side = -1 if amount < 0 else 1
            text = numerals.number(amount, sign=True) if amount else "0"
            align = "right" if side < 0 else "left"
            ax.annotate(
                text, (amount, row), (5 * side, 0), textcoords="offset points", va="center", ha=align, fontsize=11
            )
        reach = max(change.max(), 0) - min(change.min(), 0) or 1
        ax.set(
            xlim=(min(change.min(), 0) - 0.3 * reach, max(change.max(), 0) + 0.3 * reach),
            ylim=(len(tenths) - 0.4, -0.6),
            xticks=[],
        )
        ax.set_yticks(rows, [ends.get(tenth, str(tenth)) for tenth in tenths["tenth"]])
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"Change of {value_name} of each tenth of the customers")
    return figure


def value_by_age(cohorts: pd.DataFrame, value_name: str) -> Figure:
    """What a customer of each cohort has been worth at equal age: a line for each, the newest darkest.

    Parameters
    ----------
    cohorts
        ``cohort`` (its name), ``age`` (months), ``value`` (per customer), the oldest cohort first.
    value_name
        What the value is, for example "revenue".
    """
    names = cohorts["cohort"].unique()
    shades = HEAT(np.linspace(0.25, 1, len(names)))
    with new_figure() as (figure, ax):
        for name, shade in zip(names, shades, strict=True):
            line = cohorts[cohorts["cohort"] == name].sort_values("age")
            newest = name == names[-1]
            ax.plot(
                line["age"],
                line["value"],
                color=WARNING if newest else shade,
                linewidth=2.8 if newest else 1.8,
                marker="o",
                markersize=7 if newest else 4,
                label=name,
                zorder=3 if newest else 2,
            )
        ax.set_xticks(sorted(cohorts["age"].unique()))
        ax.set(xlabel="Months since the first purchase", ylabel=f"{value_name.capitalize()} per customer")
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: numerals.plain(x)))
        handles, labels = ax.get_legend_handles_labels()
        if labels:
            figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False, fontsize=11)
    return figure


def refunds_both_ways(refunds: pd.DataFrame, currency: str) -> Figure:
    """What came back by month: as it happened, and put to the month of its order, with what is still to come.

    Parameters
    ----------
    refunds
        ``month``, ``happened``, ``orders``, ``expected`` (still to come of the month's orders): money above 0.
    currency
        Its name, for the axis.
    """
    months = pd.DatetimeIndex(refunds["month"])
    happened, orders, expected = (refunds[name].to_numpy(float) for name in ("happened", "orders", "expected"))
    mark = "o" if len(months) == 1 else None
    with new_figure(3.6) as (figure, ax):
        ax.plot(months, happened, color=GREY, linewidth=1.8, marker=mark, label="when they happened")
        ax.plot(months, orders, color=ACCENT, linewidth=2.4, marker=mark, label="by month of the order")
        if (expected > 0).any():
            ax.vlines(months, orders, orders + expected, color=ACCENT, linewidth=2, linestyle=":")
            ax.scatter(months[expected > 0], (orders + expected)[expected > 0], color=PAPER, edgecolor=ACCENT, zorder=3)
            ax.plot([], [], "o:", color=ACCENT, markerfacecolor=PAPER, label="still to come")
        ax.set_ylabel(f"Refunds, {currency}" if currency else "Refunds")
        number_axis(ax)
        date_axis(ax, months)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=11)
    return figure
