"""Who brings the value: few customers much, most customers little."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from crm_analysis.charts.drawing import hatch_losses, headings, heat_map, matrix
from crm_analysis.charts.theme import ACCENT, DEEP, GREY, PALE, WASH, new_figure
from crm_analysis.numerals import count, percent

# Tiers, best first, from deep blue to grey.
TIER_COLORS = {"important": DEEP, "major": "#4a8ac4", "ordinary": "#9cc3e4", "small": "#c4c9ce"}


def concentration_curve(concentration: pd.DataFrame, mark: float, share: float, value_name: str) -> Figure:
    """How much of the value the best customers bring, against everyone bringing the same.

    Parameters
    ----------
    concentration
        ``customer_share`` (0 to 1, best first, starting at 0) and ``value_share`` (cumulative, 1 = all; above
        1 or below 0 where customers lose money).
    mark
        The share of customers to point out, for example 0.20.
    share
        The share of the value that they bring.
    value_name
        What the value is, for example "revenue".
    """
    customers, value = (concentration[name].to_numpy(float) for name in ("customer_share", "value_share"))
    height, known = np.nan_to_num(share), value[np.isfinite(value)]
    low, high = min([0, *known]), max([1, *known])
    bring = "an unknown share" if np.isnan(share) else percent(share)
    label = f"{percent(mark)} of customers\nbring {bring} of {value_name}"
    halo = [withStroke(linewidth=4, foreground=WASH)]
    with new_figure() as (figure, ax):
        ax.grid()
        ax.fill_between(customers, customers, value, color=WASH, linewidth=0)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        ax.plot(customers, value, color=ACCENT, linewidth=2.5, clip_on=False)
        ax.plot([mark, mark, 0], [low, height, height], color=ACCENT, linewidth=1, linestyle=":")
        ax.plot([mark], [height], "o", color=ACCENT, markersize=8, clip_on=False)
        place = min(mark + 0.025, 0.6), max(height - 0.03, 0.15)
        ax.text(*place, label, va="top", color=ACCENT, weight="bold", path_effects=halo)
        if low < 0 or high > 1:
            ax.hlines([0, 1], 0, 1, color=GREY, linewidth=0.8)
        ax.set(xlim=(0, 1), xlabel="Share of customers, best first")
        ax.set(ylim=(low, high), ylabel=f"Share of {value_name}")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol="%"))
    return figure


def pyramids(tiers: pd.DataFrame, value_name: str) -> Figure:
    """Few customers bring much: the pyramid of customers beside the upside-down pyramid of their value.

    A tier that loses money is hatched in the warning colour; one whose share is unknown has no bar.

    Parameters
    ----------
    tiers
        One row a tier, best first: ``tier`` (its name; a bracket in it has a line of its own), ``customers``,
        ``customer_share`` (0 to 1), ``value`` (money),
        ``value_share`` (1 = all; negative where the tier loses money, NaN where there is no total).
    value_name
        What the value is, for example "revenue".
    """
    rows, colors = range(len(tiers)), [*TIER_COLORS.values(), *[PALE] * len(tiers)][: len(tiers)]
    sides = [("customers", "customer_share", "customers"), ("value", "value_share", value_name)]
    with new_figure(3.6, 1, 2) as (figure, axes):
        for ax, (amount, share, name) in zip(axes, sides, strict=True):
            shares, amounts = tiers[share].to_numpy(float), tiers[amount].to_numpy(float)
            widths = np.nan_to_num(shares)
            hatch_losses(ax.barh(rows, widths, left=-widths / 2, height=0.86, color=colors))
            reach = max(abs(widths)) / 2 or 1
            ax.set(xlim=(-reach, reach), ylim=(len(tiers) - 0.5, -0.5))
            ax.set_yticks(rows, [f"{percent(s)}\n{count(a)}" for s, a in zip(shares, amounts, strict=True)])
            headings(ax, [0], [name])
        axes[1].yaxis.tick_right()
        place = {"xycoords": axes[1].get_yaxis_transform(), "textcoords": "offset points"}
        for row, tier in zip(rows, tiers["tier"], strict=True):
            axes[1].annotate(tier.replace(" (", "\n("), (0, row), (-44, 0), **place, ha="center", va="center")
    return figure


def tier_moves(moves: pd.DataFrame, tiers: Sequence[str] = tuple(TIER_COLORS)) -> Figure:
    """Who rose and who fell: customers by their tier before (rows) and now (columns).

    Parameters
    ----------
    moves
        ``tier_before`` (a tier or "not yet a customer"), ``tier_now``, ``customers``; a missing pair is 0.
    tiers
        What the tiers are called in it, best first.
    """
    table = matrix(moves, "tier_before", "tier_now", "customers", tiers).fillna(0)
    table = table.rename(lambda tier: tier.replace(" (", "\n(")).rename(columns=lambda tier: tier.replace(" (", "\n("))
    return heat_map(table, table.to_numpy().max() or 1, count, "Tier before", "Tier now")
