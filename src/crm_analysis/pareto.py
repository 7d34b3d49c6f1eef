"""How much of the value comes from how few customers: the 80/20 law, measured."""

from __future__ import annotations

import math

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, total_value

STEPS = 1000  # points of the curve: one for each tenth of a per cent of the customers


def concentration(customers: Table) -> pd.DataFrame:
    """Return which share of all value the best customers bring: the concentration curve.

    Parameters
    ----------
    customers
        One row per customer with `value`.

    Returns
    -------
    pandas.DataFrame
        At most 1,001 rows, best customers first, beginning at 0: `customers` (how many are counted),
        `customer_share`, `value` (their sum) and `value_share`. Where some customers lose money the curve rises
        above 1 before it ends there; where the total is not above 0 there are no shares (NaN).
    """
    ranked = _ranked(customers)
    rank, count = ranked["rank"], ranked["count"]
    # The customers at ceil(share × count) for each step: every point lies on the exact curve.
    points = ranked.filter((rank * STEPS) // count > ((rank - 1) * STEPS) // count)
    curve = points.select(customers="rank", value="running").order_by("customers").to_pandas()
    curve = pd.concat([pd.DataFrame({"customers": [0], "value": [0.0]}), curve], ignore_index=True)
    total = total_value(curve["value"].iloc[-1])
    curve.insert(1, "customer_share", curve["customers"] / max(curve["customers"].iloc[-1], 1))
    return curve.assign(value_share=curve["value"] / total)


def share_of_top(curve: pd.DataFrame, share: float) -> float:
    """Return the share of all value that the top share of customers brings.

    A part of a customer counts as a whole one: of 23,570 customers the top 1 % are 236.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of customers lies between 0 and 1, not at {share}")
    top = math.ceil(round(share * curve["customers"].iloc[-1], 6))
    return float(np.interp(top, curve["customers"], curve["value_share"]))


def customers_for(customers: Table, share: float) -> float:
    """Return the smallest share of customers that together bring the given share of all value.

    Raises `Unanswerable` if the total is not above 0.
    """
    ranked = _ranked(customers)
    total = ranked["value"].sum()
    enough = (ranked["running"] >= share * ranked["total"]).ifelse(ranked["rank"], ibis.null("int64"))
    found = ranked.aggregate(first=enough.min(), count=ranked["rank"].max(), total=total).to_pandas().iloc[0]
    total_value(found["total"])
    return float(found["first"] / found["count"])


def gini(customers: Table) -> float:
    """Return the Gini coefficient of value: 0 if all customers are worth the same, near 1 if one brings all.

    It exceeds 1 where losses are large. Raises `Unanswerable` if the total is not above 0.
    """
    ranked = _ranked(customers)
    found = ranked.aggregate(
        count=ranked["rank"].max(), total=ranked["value"].sum(), weighted=(ranked["rank"] * ranked["value"]).sum()
    )
    count, total, weighted = found.to_pandas().iloc[0]
    return float((count + 1) / count - 2 * weighted / (count * total_value(total)))


def _ranked(customers: Table) -> ir.Table:
    """Rank customers by value, best first, with the running sum; the order of equals changes none of the sums."""
    table = as_table(customers)
    best_first = [ibis.desc("value"), ibis.asc("customer_id")]
    everyone = ibis.window()
    return table.select(
        "value",
        rank=ibis.row_number().over(order_by=best_first) + 1,
        running=table["value"].sum().over(ibis.cumulative_window(order_by=best_first)),
        count=table.count().over(everyone),
        total=table["value"].sum().over(everyone),
    )
