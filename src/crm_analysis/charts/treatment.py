"""Which warnings key customers give, and how many of them each account manager looks after."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crm_analysis.charts.drawing import bars, headings
from crm_analysis.charts.theme import ACCENT, GREY, INK, PAPER, WARNING, new_figure
from crm_analysis.numerals import count


def warning_signs(signs: pd.DataFrame, value_name: str) -> Figure:
    """How many key customers show each warning sign, and beside it what they brought.

    Parameters
    ----------
    signs
        ``sign``, ``customers``, ``value`` (money), in the order of the bars; the last, all together, is grey.
    value_name
        What the value is, for example "profit (EUR)".
    """
    colors = [ACCENT] * (len(signs) - 1) + [GREY]
    with new_figure(1.2 + 0.34 * len(signs), 1, 2) as (figure, axes):
        for ax, column, name in zip(axes, ("customers", "value"), ("key customers", value_name), strict=True):
            bars(ax, signs["sign"].to_list(), signs[column], [count(number) for number in signs[column]], colors)
            headings(ax, [sum(ax.get_xlim()) / 2], [name])
        axes[1].set_yticks([])
    return figure


def account_load(load: pd.DataFrame, most: int) -> Figure:
    """How many key customers each account manager has, how many of them show warning signs, and the most for one.

    Parameters
    ----------
    load
        ``account_manager_id``, ``key_customers``, ``with_signs`` (of these), in the order of the bars.
    most
        How many key customers one manager can look after: a line.
    """
    names = [name if len(name) <= 24 else name[:23] + "…" for name in load["account_manager_id"].astype(str)]
    total, marked = load["key_customers"], load["with_signs"]
    texts = [f"{count(part)} of {count(whole)}" for part, whole in zip(marked, total, strict=True)]
    handles = [
        Patch(color=WARNING, label="with a warning sign"),
        Patch(color=ACCENT, label="without"),
        Line2D([], [], color=INK, linestyle="--", label=f"most for one: {count(most)}"),
    ]
    with new_figure(1.3 + 0.34 * max(len(load), 1)) as (figure, ax):
        for text in bars(ax, names, total, texts, ACCENT):
            text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 1})  # above the line
        ax.barh(range(len(load)), marked, height=0.8, color=WARNING)
        ax.axvline(most, color=INK, linestyle="--", linewidth=1.2)
        ax.set_xlim(0, max([most, *total]))
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=11)
    return figure
