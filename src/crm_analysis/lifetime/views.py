"""Small tables of what the models say of the customers, as charts show them."""

from __future__ import annotations

from itertools import pairwise

import ibis
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table

SILENCES = [0, 2, 4, 8, 13, 26, 52, 104]  # weeks since the last purchase at which a row of the surface begins
REPEATS = [0, 1, 2, 3, 4, 6, 10, 20]  # repeat purchases at which a column begins


def alive_bands(valued: Table) -> pd.DataFrame:
    """Return how many customers are alive with which probability: `band` (ten of 10 % each), `customers`."""
    table = as_table(valued)
    band = ibis.least((table["p_alive"] * 10).floor().cast("int64"), 9)
    found = table.group_by(band=band).aggregate(customers=table.count()).to_pandas().set_index("band")["customers"]
    found = found.reindex(range(10), fill_value=0)
    labels = [f"{10 * i}–{10 * (i + 1)}%" for i in found.index]
    return pd.DataFrame({"band": labels, "customers": found.to_numpy()})


def surface(valued: Table) -> pd.DataFrame:
    """Return how much is to be expected of customers by how often and how long ago they bought.

    Returns
    -------
    pandas.DataFrame
        In order: `weeks_since_last` and `frequency` (labels of the steps that occur; repeat purchases), `customers`,
        and the means of `p_alive` and `expected_purchases` (NaN where there is nobody).
    """
    table = as_table(valued)
    silence, often = _step(table["T"] - table["recency"], SILENCES), _step(table["frequency"], REPEATS)
    found = table.group_by(row=silence, column=often).aggregate(
        customers=table.count(), p_alive=table["p_alive"].mean(), expected_purchases=table["expected_purchases"].mean()
    )
    frame = found.to_pandas().set_index(["row", "column"])
    grid = pd.MultiIndex.from_product([sorted(set(frame.index.get_level_values(level))) for level in (0, 1)])
    frame = frame.reindex(grid).fillna({"customers": 0}).astype({"customers": int})
    weeks, times = _labels(SILENCES, 0), _labels(REPEATS, 1)
    rows, columns = ([names[place] for place in grid.get_level_values(i)] for i, names in enumerate((weeks, times)))
    return frame.reset_index(drop=True).assign(weeks_since_last=rows, frequency=columns)


def value_bands(valued: Table) -> pd.DataFrame:
    """Return how the expected value is spread over the customers.

    Returns
    -------
    pandas.DataFrame
        `band` (of lifetime value, each three times as wide as the one before, the last open; "below 0" if anybody
        loses money), `customers` and `value_share` (of the value of all).
    """
    table = as_table(valued)
    mean = float(table["lifetime_value"].mean().execute())
    bounds = [0.0]
    if mean > 0:
        step = 10 ** np.floor(np.log10(mean))
        bounds += [step * part for part in (0.1, 0.3, 1, 3, 10, 30)]
    band = ibis.cases(*[(table["lifetime_value"] < bound, i) for i, bound in enumerate(bounds)], else_=len(bounds))
    found = table.group_by(band=band).aggregate(customers=table.count(), value=table["lifetime_value"].sum())
    frame = found.order_by("band").to_pandas().set_index("band")
    names = {0: "below 0", len(bounds): f"{numerals.plain(bounds[-1])} or more"}
    names |= {i: f"{numerals.plain(bounds[i - 1])}–{numerals.plain(bounds[i])}" for i in range(1, len(bounds))}
    first = 0 if 0 in frame.index else 1
    frame = frame.reindex(range(first, len(bounds) + 1), fill_value=0)
    total = frame["value"].sum()
    share = frame["value"] / total if total else np.nan
    return pd.DataFrame(
        {"band": [names[i] for i in frame.index], "customers": frame["customers"], "value_share": share}
    )


def _step(column: ibis.expr.types.NumericValue, starts: list[int]) -> ibis.expr.types.Value:
    """Return in which step, counted from 0, a number is."""
    return ibis.cases(*[(column < start, i) for i, start in enumerate(starts[1:])], else_=len(starts) - 1)


def _labels(starts: list[int], gap: int) -> list[str]:
    """Return the names of the steps, the end of each so much before the next."""
    pairs = [(start, end - gap) for start, end in pairwise(starts)]
    return [str(start) if start == end else f"{start}–{end}" for start, end in pairs] + [f"{starts[-1]}+"]
