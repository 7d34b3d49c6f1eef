"""Why customers are to be called, and what they are worth."""

import pandas as pd
from matplotlib.figure import Figure

from crm_analysis.charts.drawing import bars, headings
from crm_analysis.charts.theme import ACCENT, new_figure
from crm_analysis.numerals import count


def calls_by_reason(kinds: pd.DataFrame, worth_name: str) -> Figure:
    """How many calls there are for each reason, and beside it what those called are worth.

    Parameters
    ----------
    kinds
        ``kind``, ``customers``, ``worth`` (money), in the order of the bars.
    worth_name
        What the worth is, for example "profit of a year (EUR)".
    """
    with new_figure(1.2 + 0.34 * len(kinds), 1, 2) as (figure, axes):
        for ax, column, name in zip(axes, ("customers", "worth"), ("calls", worth_name), strict=True):
            bars(ax, kinds["kind"].to_list(), kinds[column], [count(number) for number in kinds[column]], ACCENT)
            headings(ax, [sum(ax.get_xlim()) / 2], [name])
        axes[1].set_yticks([])
    return figure
