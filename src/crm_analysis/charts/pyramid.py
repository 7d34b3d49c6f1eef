"""How the tiers mix from one period to the next, and what the value of those who rose and fell changed by."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crm_analysis.charts.customers import TIER_COLORS
from crm_analysis.charts.theme import DEEP, GREY, INK, PAPER, new_figure
from crm_analysis.numerals import count, percent

NOWHERE = PAPER  # where those are who are in no tier
PART_COLORS = (DEEP, "#9cc3e4", "#eda63a")
WRITTEN = 0.065  # the share of a bar from which it has room for its number


def tier_migration(steps: pd.DataFrame, tiers: Sequence[str]) -> Figure:
    """Where the customers of each tier are one period later: a bar of shares for each tier, in a group for each step.

    Parameters
    ----------
    steps
        ``step`` (from which period to which, the heading of its group), ``tier_before``, ``tier_now``, ``customers``.
    tiers
        What the tiers are called, best first, and then those who are in none; each of the names may be missing.
    """
    colors = dict(zip(tiers, [*TIER_COLORS.values(), NOWHERE], strict=False))
    counts = steps.astype({"customers": float})
    table = counts.pivot_table("customers", ["step", "tier_before"], "tier_now", "sum", 0.0, sort=False)
    rows = [(step, tier) for step in steps["step"].unique() for tier in tiers if (step, tier) in table.index]
    table = table.reindex(
        index=pd.MultiIndex.from_tuples(rows, names=table.index.names), columns=list(tiers), fill_value=0.0
    )
    first = [at == 0 or rows[at - 1][0] != step for at, (step, _) in enumerate(rows)]
    places = np.arange(len(rows)) + 1.1 * np.cumsum(first)
    bottom, total = places.max(initial=0.5) + 0.5, table.sum(axis=1)
    widths = table.div(total, axis=0)
    starts = widths.cumsum(axis=1) - widths
    with new_figure(0.7 + 0.34 * (bottom + 0.6)) as (figure, ax):
        for tier, color in colors.items():
            edge = {"edgecolor": GREY, "linewidth": 0.6}
            ax.barh(places, widths[tier], left=starts[tier], height=0.8, color=color, **edge)
            ink = "white" if color in [*TIER_COLORS.values()][:2] else INK if color == PAPER else "black"
            for place, start, width in zip(places, starts[tier], widths[tier], strict=True):
                if width >= WRITTEN:
                    style = {"ha": "center", "va": "center", "color": ink, "fontsize": 10}
                    ax.text(start + width / 2, place, percent(width), **style)
        for place, number in zip(places, total, strict=True):
            ax.annotate(count(number), (1, place), (5, 0), textcoords="offset points", va="center", fontsize=11)
        for place, (step, _) in zip(places[first], np.array(rows, dtype=object)[first], strict=True):
            heading = ax.annotate(step, (0, place - 0.9), va="center", fontsize=11, fontweight="bold")
            heading.set_in_layout(False)  # a long one does not make the bars shorter
        ax.set(xlim=(0, 1), ylim=(bottom, -0.1), xticks=[])
        ax.set_yticks(places, [tier for _, tier in rows])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        names = [Patch(facecolor=color, edgecolor=GREY, label=tier) for tier, color in colors.items()]
        figure.legend(handles=names, loc="outside upper left", ncols=3, frameon=False, fontsize=11)
    return figure


def value_changes(changes: pd.DataFrame, parts: Mapping[str, str], amount_name: str) -> Figure:
    """What each group's value changed by, and due to what: losses to the left, gains to the right, the sum at the end.

    Parameters
    ----------
    changes
        From the top down: ``direction`` (the group's name), ``change``, and a column for each of the parts.
    parts
        The column of each part and what it is called, three at most.
    amount_name
        What the amounts are, for example "Change of revenue in EUR".
    """
    values = changes[[*parts]].to_numpy(float)
    rows = np.arange(len(changes))
    ends = {side: np.where(values * side > 0, values, 0).sum(axis=1) for side in (-1, 1)}
    with new_figure(1.4 + 0.42 * max(len(changes), 1)) as (figure, ax):
        for side in (-1, 1):
            lengths = np.where(values * side > 0, values, 0)
            starts = lengths.cumsum(axis=1) - lengths
            for at, color in zip(range(len(parts)), PART_COLORS, strict=False):
                ax.barh(rows, lengths[:, at], left=starts[:, at], height=0.72, color=color)
        ax.axvline(0, color=GREY, linewidth=0.8)
        for row, change in zip(rows, changes["change"].to_numpy(float), strict=True):
            text = ("+" if change > 0 else "") + count(change)
            ax.annotate(text, (max(ends[1][row], 0), row), (5, 0), textcoords="offset points", va="center", fontsize=11)
        low, high = min([0, *ends[-1]]), max([0, *ends[1]])
        ax.set(xlim=(low, high if high > low else 1), ylim=(max(len(rows), 1) - 0.5, -0.5), xticks=[])
        ax.set_xlabel(amount_name)
        ax.set_yticks(rows, changes["direction"])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        names = [Patch(color=color, label=name) for name, color in zip(parts.values(), PART_COLORS, strict=False)]
        figure.legend(handles=names, loc="outside upper left", ncols=3, frameon=False, fontsize=11)
    return figure
