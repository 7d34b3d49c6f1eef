"""How much rests on how few customers, and whether that grows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum, total_value
from crm_analysis.pareto import best

COUNTS = (1, 5, 10, 20)


def dependence(worth: Table, counts: Sequence[int] = COUNTS) -> pd.DataFrame:
    """Return how much of each period's value the largest customers bring.

    Parameters
    ----------
    worth
        One row per customer and period (`periods.by_period`).
    counts
        How many of the largest customers are looked at, each period its own.

    Returns
    -------
    pandas.DataFrame
        `period` (its last day, the earliest first), `customers`, `value`, `effective_customers` (how many customers of
        equal value would make it as concentrated: 1 / the sum of squared shares, the Herfindahl index), `top_1`, … (the
        share of the largest; NaN if the period's value is not above 0).

    Raises
    ------
    Unanswerable
        The value of the last period is not above 0, or there is none.
    """
    if min(counts) < 1:
        raise ValueError(f"at least one customer is looked at, not {min(counts)}")
    table = as_table(worth)
    table = table.mutate(place=ibis.row_number().over(group_by="period", order_by=ibis.desc("value")))
    value, place = table["value"], table["place"]
    tops = {f"top_{count}": exact_sum((place < count).ifelse(value, 0)).cast("float64") for count in counts}
    found = table.group_by("period").aggregate(
        customers=table.count(),
        value=exact_sum(value).cast("float64"),
        squares=exact_sum(value * value).cast("float64"),
        **tops,
    )
    frame = found.to_pandas().sort_values("period", ignore_index=True)
    total_value(frame["value"].iloc[-1] if len(frame) else float("nan"))
    total = frame["value"].where(frame["value"] > 0)
    frame.insert(3, "effective_customers", total**2 / frame.pop("squares"))
    return frame.assign(**{name: frame[name] / total for name in tops})


def largest(worth: Table, period: dt.date, count: int) -> pd.DataFrame:
    """Return the customers who are worth most in a period, of equals the first id.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `value`, `value_share` (of all; see `pareto.best`), `revenue`.
    """
    table = as_table(worth)
    table = table.filter(table["period"] == period)
    found = best(table, 1.0).limit(count)
    return found.select("customer_id", "value", "value_share", "revenue").to_pandas()
