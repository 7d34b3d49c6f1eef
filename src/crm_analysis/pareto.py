"""How much of the value comes from how few customers: the 80/20 law, measured."""

from __future__ import annotations

import math

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum, total_value

STEPS = 1000  # points of the curve: one for each tenth of a per cent of the customers
ROUNDING = 1e-6  # of a customer: 0.07 × 100 customers are 7, not the 8 that 7.000000000000001 would be


def concentration(customers: Table, *shares: float) -> pd.DataFrame:
    """Return which share of all value the best customers bring: the concentration curve.

    Parameters
    ----------
    customers
        One row per customer: `customer_id`, `value`.
    shares
        Shares of the customers that get a point of their own; each tenth of a per cent has one anyway.

    Returns
    -------
    pandas.DataFrame
        At most 1,001 rows and one per share, best customers first, beginning at 0: `customers` (how many are
        counted), `customer_share`, `value` (their sum) and `value_share`. Where some customers lose money the curve
        rises above 1 before it ends there.

    Raises
    ------
    Unanswerable
        The total is not above 0, so that there are no shares of it.
    """
    ranked = _ranked(customers)
    rank, count = ranked["rank"], ranked["count"]
    # The customers at ceil(share × count) for each step: every point lies on the exact curve.
    on_curve = (rank * STEPS) // count > ((rank - 1) * STEPS) // count
    for share in shares:
        on_curve |= rank == (count * share - ROUNDING).ceil()
    points = ranked.filter(on_curve).select(customers="rank", value=ranked["running"].cast("float64"))
    curve = points.order_by("customers").to_pandas()
    total = total_value(curve["value"].iloc[-1] if len(curve) else math.nan)
    curve = pd.concat([pd.DataFrame({"customers": [0], "value": [0.0]}), curve], ignore_index=True)
    curve.insert(1, "customer_share", curve["customers"] / curve["customers"].iloc[-1])
    return curve.assign(value_share=curve["value"] / total)


def size_of_top(curve: pd.DataFrame, share: float) -> int:
    """Return how many customers the top share are; a part of one counts as a whole: 236 are the top 1 % of 23,570."""
    if not 0 < share <= 1:
        raise ValueError(f"a share of customers lies above 0 and not above 1, not at {share}")
    return math.ceil(curve["customers"].iloc[-1] * share - ROUNDING)


def share_of_top(curve: pd.DataFrame, share: float) -> float:
    """Return the share of all value that the top share of customers brings (see `size_of_top`).

    The curve has points for whole tenths of a per cent and for the shares given to `concentration`, with up to 1,000
    customers for all; elsewhere there is no exact answer, and so a `ValueError`.
    """
    point = curve.loc[curve["customers"] == size_of_top(curve, share), "value_share"]
    if point.empty:
        raise ValueError(f"the curve has no point at a share of {share}; give it to concentration(customers, {share})")
    return float(point.iloc[0])


def customers_for(customers: Table, share: float) -> float:
    """Return the smallest share of customers that together bring the given share of all value.

    Raises `Unanswerable` if the total is not above 0.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the value lies above 0 and not above 1, not at {share}")
    ranked = _ranked(customers)
    # The part in 10¹² forgives the product's last digit: 0.55 × 20 is 11, not 11.000000000000002.
    enough = ranked["running"].cast("float64") >= ranked["total"].cast("float64") * (share - 1e-12)
    found = ranked.aggregate(
        first=ranked["rank"].min(where=enough), count=ranked.count(), total=ranked["total"].max().cast("float64")
    )
    first, count, total = found.to_pandas().iloc[0]
    total_value(total)
    return float(first / count)


def gini(customers: Table) -> float:
    """Return the Gini coefficient of value: 0 if all customers are worth the same, near 1 if one brings all.

    It exceeds 1 where losses are large. Raises `Unanswerable` if the total is not above 0.
    """
    ranked = _ranked(customers)
    found = ranked.aggregate(
        count=ranked.count(),
        total=ranked["total"].max().cast("float64"),
        area=exact_sum(ranked["running"]).cast("float64"),
    )
    count, total, area = found.to_pandas().iloc[0]
    return float(2 * area / (count * total_value(total)) - (count + 1) / count)


def best(customers: Table, share: float) -> ir.Table:
    """Return the best share of customers, best first, each with its `value_share` of the whole.

    Customers of equal value at the edge are all in. The shares are NULL where the whole is 0.
    """
    table = as_table(customers)
    everyone = ibis.window()
    ranked = table.mutate(
        value_share=table["value"] / exact_sum(table["value"]).over(everyone).cast("float64").nullif(0),
        _more=ibis.rank().over(order_by=ibis.desc("value")),
        _count=table.count().over(everyone),
    )
    top = ranked.filter(ranked["_more"] < ranked["_count"] * share - ROUNDING)
    return top.drop("_more", "_count").order_by(ibis.desc("value"), ibis.asc("customer_id"))


def _ranked(customers: Table) -> ir.Table:
    """Rank customers by value, best first, with the running sum; the order of equals changes none of the sums."""
    table = as_table(customers)
    best_first = [ibis.desc("value"), ibis.asc("customer_id")]
    everyone = ibis.window()
    return table.select(
        rank=ibis.row_number().over(order_by=best_first) + 1,
        running=exact_sum(table["value"]).over(ibis.cumulative_window(order_by=best_first)),
        count=table.count().over(everyone),
        total=exact_sum(table["value"]).over(everyone),
    )
