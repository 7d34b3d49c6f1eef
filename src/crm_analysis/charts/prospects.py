"""Whether what was foretold of leads can be relied on: how many were to buy beside how many did."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from crm_analysis.charts.theme import ACCENT, GREY, new_figure


def calibration(bins: pd.DataFrame, of: str = "leads") -> Figure:
    """How many of the leads with about the same propensity did buy, against the line on which all would be foretold.

    Parameters
    ----------
    bins
        ``predicted``, ``rate`` and its interval, ``low`` and ``high`` (0 to 1; what is NaN is not drawn).
    of
        Who they are.
    """
    predicted, rate, low, high = (bins[name].to_numpy(float) for name in ("predicted", "rate", "low", "high"))
    with new_figure(4.6) as (figure, ax):
        ax.grid()
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="as foretold")
        ax.vlines(predicted, low, high, color=ACCENT, linewidth=2)
        ax.scatter(predicted, rate, color=ACCENT, s=45, zorder=3, clip_on=False, label=f"{of} of past dates")
        top = min(1.0, 1.05 * np.nanmax([0.1, *predicted, *high]))
        ax.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
        ax.set(xlabel="Propensity foretold", ylabel=f"Share of {of} who bought")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol="%"))
        ax.legend(frameon=False, loc="upper left")
    return figure
