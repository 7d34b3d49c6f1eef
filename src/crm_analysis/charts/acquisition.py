"""How soon customers have earned back what it cost to win them."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from crm_analysis.charts.drawing import side_labels
from crm_analysis.charts.theme import ACCENT, GREY, INK, WARNING, new_figure
from crm_analysis.numerals import percent

COLORS = [ACCENT, WARNING, "#5b9bd5", INK, "#e3a57f", GREY]


def earned_back(curve: pd.DataFrame) -> Figure:
    """Which share of customers have brought what it cost to win one, month by month: a line for each way.

    Parameters
    ----------
    curve
        ``way``, ``month`` (from 1 on), ``rate`` (0 to 1), the months of a way in order.
    """
    with new_figure(4.2) as (figure, ax):
        lines = [(str(way), line) for way, line in curve.groupby("way", sort=False)]
        colors = [COLORS[at % len(COLORS)] for at in range(len(lines))]
        for (_, line), color in zip(lines, colors, strict=True):
            ax.plot(line["month"], line["rate"], color=color, linewidth=2.2, marker="" if len(line) > 1 else "o")
        ax.axhline(0.5, color=GREY, linewidth=0.8, linestyle="--")
        last = max([2, *curve["month"]])
        ax.set(xlim=(1, last), ylim=(0, 1), xlabel="Months since the first purchase")
        ax.set_ylabel("Share of customers")
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol="%"))
        ends = [line["rate"].iloc[-1] for _, line in lines]
        if lines:
            texts = [f"{way} {percent(end)}" for (way, _), end in zip(lines, ends, strict=True)]
            side_labels(ax, texts, ends, colors)
    return figure
