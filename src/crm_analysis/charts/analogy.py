"""Whether new customers were judged rightly: what was expected of them beside what they brought."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crm_analysis.charts.drawing import number_axis
from crm_analysis.charts.theme import ACCENT, new_figure
from crm_analysis.numerals import count


def judged_fifths(fifths: pd.DataFrame, value_name: str) -> Figure:
    """Whether those judged best did bring most: first-year value of a customer by fifth of the judgement.

    Parameters
    ----------
    fifths
        In order: ``fifth`` (1: judged best), ``expected`` and ``actual`` (mean value of a customer).
    value_name
        What the value is, with its currency, for example "revenue (EUR)".
    """
    places, width = np.arange(len(fifths)), 0.4
    sides = [("expected", -width / 2, ACCENT), ("actual", width / 2, "#b0b0b0")]
    with new_figure() as (figure, ax):
        number_axis(ax)
        for name, shift, color in sides:
            values = fifths[name].to_numpy(float)
            drawn = ax.bar(places + shift, values, width, color=color, label=name)
            ax.bar_label(drawn, [count(value) for value in values], padding=3, fontsize=9)
        lows, highs = fifths[["expected", "actual"]].min().min(), fifths[["expected", "actual"]].max().max()
        ax.set_ylim(min(0, 1.1 * np.nan_to_num(lows)), 1.1 * max(np.nan_to_num(highs), 0) or 1)
        names = {1: "1\njudged best", 5: "5\njudged least"}
        ax.set_xticks(places, [names.get(fifth, str(fifth)) for fifth in fifths["fifth"]])
        ax.tick_params(axis="x", length=0)
        ax.set(xlabel="Fifth of the customers", ylabel=f"First-year {value_name}\nper customer")
        ax.legend(frameon=False, loc="upper right")
    return figure
