"""How ranks change with what is counted, and where the key customers of the categories come from."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crm_analysis.charts.drawing import bars, headings, side_labels
from crm_analysis.charts.theme import ACCENT, GREY, WARNING, WASH, new_figure
from crm_analysis.numerals import count

PART = "#eda63a"


def rank_changes(ranks: pd.DataFrame, before_label: str, after_label: str, top: int, top_label: str) -> Figure:
    """Who rises and who falls when customers are ranked another way: a line from one rank to the other.

    Those who rise have the accent's colour and those who fall the warning colour; the top is shaded. Ranks stand at
    equal distances for equal ratios, so that the first ones can be told apart.

    Parameters
    ----------
    ranks
        ``name`` of the customer, ``rank_before``, ``rank_after`` (1 is the best).
    before_label, after_label
        What the two rankings are by, for example "by value".
    top, top_label
        How many are the top, and what they are called.
    """
    sides = [np.log10(ranks[f"rank_{side}"].to_numpy(float)) for side in ("before", "after")]
    names = [name if len(name) <= 16 else name[:15] + "…" for name in ranks["name"].astype(str)]
    change = np.sign(sides[1] - sides[0]).astype(int)
    colors = [(GREY, WARNING, ACCENT)[step] for step in change]  # a larger rank is a fall, -1 is the last
    edge, heights = np.log10(top + 0.5), np.concatenate([*sides, [np.log10(top)]])
    first, last = heights.min() - 0.1, heights.max() + 0.1
    with new_figure(max(3.0, 1.2 + 0.34 * len(ranks))) as (figure, ax):
        ax.set(xlim=(0, 1), ylim=(last, first), yticks=[])
        headings(ax, [0, 1], [before_label, after_label])
        ax.axhspan(first, edge, color=WASH, linewidth=0)
        ax.annotate(top_label, (0.5, first), (0, -4), textcoords="offset points", ha="center", va="top", color=GREY)
        for before, after, color in zip(*sides, colors, strict=True):
            ax.plot([0, 1], [before, after], color=color, linewidth=2, marker="o", clip_on=False)
        for side, (heights, rank) in enumerate(zip(sides, ("rank_before", "rank_after"), strict=True)):
            written = [f"{name}  {count(place)}" for name, place in zip(names, ranks[rank], strict=True)]
            if written:
                side_labels(ax, written, heights, colors, side)
    return figure


def category_keys(categories: pd.DataFrame) -> Figure:
    """How many key customers each category has, and how many of them are key customers of no more than that.

    Parameters
    ----------
    categories
        ``category``, ``key_customers``, ``only_here`` (those of them who are not key customers overall), in the
        order of the bars.
    """
    alike, total = categories["key_customers"] - categories["only_here"], categories["key_customers"]
    texts = [f"{count(only)} of {count(all_)}" for only, all_ in zip(categories["only_here"], total, strict=True)]
    names = [name if len(name) <= 24 else name[:23] + "…" for name in categories["category"].astype(str)]
    both, alone = Patch(color=ACCENT, label="also overall"), Patch(color=PART, label="only in the category")
    with new_figure(1.3 + 0.32 * max(len(categories), 1)) as (figure, ax):
        bars(ax, names, total, texts, PART)
        ax.barh(range(len(alike)), alike, height=0.8, color=ACCENT)
        figure.legend(handles=[both, alone], loc="outside upper left", ncols=2, frameon=False, fontsize=11)
    return figure
