"""How recently and how often customers buy, and where the value sits."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crm_analysis.charts.drawing import heat_map
from crm_analysis.numerals import percent


def recency_frequency(grid: pd.DataFrame) -> Figure:
    """Where the value comes from: its share by how recently (rows) and how often (columns) customers bought.

    Parameters
    ----------
    grid
        ``R`` and ``F`` (scores; 5 are the latest and the most frequent), ``value_share`` (1 = all). A missing pair or
        NaN stays blank.
    """
    table = grid.pivot(index="R", columns="F", values="value_share").astype(float)
    scores = range(1, 6)
    table = table.reindex(index=scores[::-1], columns=scores)
    most = np.nan_to_num(grid["value_share"].astype(float).max())
    return heat_map(table, max(most, 0) or 1, percent, "Recency (5: latest)", "Frequency (5: most purchases)")
