"""Good customers and big customers: what is left of the price, who earns how much, what is owed, and who grows."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from crm_analysis import numerals
from crm_analysis.charts.drawing import bars, headings, side_labels
from crm_analysis.charts.theme import ACCENT, GREY, HEAT, INK, PAPER, WARNING, new_figure
from crm_analysis.numerals import count, percent

TAKEN = "#9cc3e4"


def price_waterfalls(steps: pd.DataFrame) -> Figure:
    """What is left of each group's price, and what takes the rest: a waterfall for each group, beside each other.

    Parameters
    ----------
    steps
        From the top down, for each ``group`` the same ``step``s with their ``share`` of the first: the whole, what is
        taken (below 0), and what is left (below 0 if it is a loss).
    """
    names, groups = steps["step"].unique(), steps["group"].unique()
    rows = range(len(names))
    with new_figure(1.1 + 0.42 * len(names), 1, len(groups)) as (figure, axes):
        for ax, group in zip(np.atleast_1d(axes), groups, strict=True):
            shares = steps[steps["group"] == group].set_index("step")["share"].reindex(names).fillna(0).to_numpy(float)
            ends = np.cumsum(shares[:-1])
            starts = np.concatenate([[0], ends[:-1], [0]])
            colors = [GREY, *[TAKEN] * (len(names) - 2), WARNING if shares[-1] < 0 else ACCENT]
            ax.barh(rows, shares, left=starts, height=0.72, color=colors)
            for row, (start, share) in enumerate(zip(starts, shares, strict=True)):
                ax.annotate(
                    *(percent(share), (max(start, start + share), row), (4, 0)),
                    **{"textcoords": "offset points", "va": "center", "fontsize": 11},
                )
            ax.axvline(0, color=GREY, linewidth=0.8)
            low, high = min(0, ends.min(), shares[-1]), max(1, ends.max())
            ax.set(xlim=(low, high + 0.28 * (high - low)), ylim=(len(names) - 0.5, -0.5))
            ax.set_yticks(rows, names if ax is np.atleast_1d(axes)[0] else [""] * len(names))
            headings(ax, [(low + high) / 2], [group])
    return figure


def customer_map(cells: pd.DataFrame, named: pd.DataFrame, big_from: float, good_from: float, currency: str) -> Figure:
    """Who is big and who is good: all customers by revenue (each step ten times as much) and margin.

    The darker a cell, the more customers; the lines part big from small and good from not good, and the big customers
    who are not good have a dot, the first of them a name.

    Parameters
    ----------
    cells
        ``revenue_from``, ``revenue_to``, ``margin_from``, ``margin_to`` (1 = all revenue) and their ``customers``.
    named
        ``customer_id``, ``name`` (empty: a dot alone), ``revenue`` (above 0), ``margin``. Names that are alike when cut
        short are told apart by their ids.
    big_from, good_from
        The revenue and the margin from which a customer is big, and good.
    currency
        The name of the revenue's unit.
    """
    number = cells["customers"].to_numpy(float)
    shade = np.log1p(number) / (np.log1p(number.max(initial=1)))
    with new_figure(4.6) as (figure, ax):
        ax.set_xscale("log")
        ax.bar(
            cells["revenue_from"],
            cells["margin_to"] - cells["margin_from"],
            cells["revenue_to"] - cells["revenue_from"],
            cells["margin_from"],
            align="edge",
            color=HEAT(0.12 + 0.88 * shade),
        )
        low = min(0.0, cells["margin_from"].min(), named["margin"].min() if len(named) else 0.0)
        low, left = max(low, -1.0) - 0.12, min(cells["revenue_from"].min(), big_from) / 1.2
        top, right = min(max(good_from, cells["margin_to"].max()), 1) + 0.1, cells["revenue_to"].max() * 1.2
        ax.set(xlim=(left, max(right, big_from * 1.2)), ylim=(low, top))
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.axhline(good_from, color=INK, linewidth=1, linestyle=":")
        ax.axvline(big_from, color=INK, linewidth=1, linestyle=":")
        margins = np.clip(named["margin"].to_numpy(float), low + 0.02, None)
        ax.scatter(named["revenue"], margins, s=26, color=WARNING, edgecolor=PAPER, linewidth=0.6, zorder=3)
        told = (named["name"].astype(str) != "").to_numpy()
        if told.any():
            right = ax.get_xlim()[1]
            ax.hlines(margins[told], named["revenue"][told], right, color=WARNING, linewidth=0.6, zorder=2.5)
            names = named["name"][told].astype(str)
            short = names.where(names.str.len() <= 20, names.str[:19] + "…")
            ids = named["customer_id"][told].astype(str)
            names = short.where(~short.duplicated(keep=False), names.str[:12] + "… " + ids.str[-12:]).to_list()
            side_labels(ax, names, margins[told], [WARNING] * len(names))
        corners = {(0.01, 0.985): "small and good", (0.99, 0.985): "big and good"}
        corners |= {(0.01, 0.015): "small, not good", (0.99, 0.015): "big, not good"}
        for (x, y), text in corners.items():
            ax.text(
                *(x, y, text),
                transform=ax.transAxes,
                ha="left" if x < 0.5 else "right",
                va="top" if y > 0.5 else "bottom",
                color=GREY,
                fontsize=12,
                zorder=4,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 2},
            )
        left, right = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 50 * left else (1,), numticks=7))
        ax.xaxis.set_major_formatter(FuncFormatter(_rounded))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol="%"))
        ax.set(xlabel="Revenue" + f" in {currency}" * bool(currency), ylabel="Profit margin")
    return figure


def _rounded(number: float, _: int | None = None) -> str:
    """Write a number of an axis whose steps are powers of ten: 10000 → "10k", 1000000 → "1m"."""
    size, unit = next(((size, unit) for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")) if number >= size), (1, ""))
    return f"{numerals.plain(number / size)}{unit}"


def overdue_ages(aged: pd.DataFrame) -> Figure:
    """What is open by how long it is overdue, and how much of it is at risk.

    Parameters
    ----------
    aged
        In the order of the bars: ``age``, ``owed``, ``at_risk`` (money), ``customers``.
    """
    texts = [
        f"{count(owed)}, {count(customers)} customer{'s' * (customers != 1)}"
        for owed, customers in zip(aged["owed"], aged["customers"], strict=True)
    ]
    with new_figure(1.3 + 0.36 * max(len(aged), 1)) as (figure, ax):
        bars(ax, aged["age"], aged["owed"], texts, TAKEN)
        ax.barh(range(len(aged)), aged["at_risk"].clip(lower=0), height=0.8, color=WARNING)
        known = [Patch(color=WARNING, label="at risk"), Patch(color=TAKEN, label="owed in all")]
        figure.legend(handles=known, loc="outside upper left", ncols=2, frameon=False, fontsize=11)
    return figure


def projected_changes(changes: pd.DataFrame, label: str) -> Figure:
    """How much more or less each customer will bring if the trend goes on, with the interval of it.

    Parameters
    ----------
    changes
        From the top down: ``name``, ``change``, ``low``, ``high`` (money).
    label
        What the change is of, with its unit.
    """
    middle, low, high = (changes[name].to_numpy(float) for name in ("change", "low", "high"))
    names = [name if len(name) <= 24 else name[:23] + "…" for name in changes["name"].astype(str)]
    colors = np.where(middle < 0, WARNING, ACCENT)
    rows = np.arange(len(changes))
    with new_figure(0.9 + 0.4 * max(len(changes), 1)) as (figure, ax):
        ax.hlines(rows, low, high, color=colors, linewidth=2.5)
        ax.scatter(middle, rows, color=colors, s=45, zorder=3)
        ax.axvline(0, color=INK, linewidth=1, zorder=0.5)
        ax.set_ylim(max(len(changes), 1) - 0.5, -0.5)
        ax.set_yticks(rows, names)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: numerals.plain(x)))
        ax.set_xlabel(label)
    return figure
