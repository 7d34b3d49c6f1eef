"""How much of the value comes from how few customers: the 80/20 law, measured."""

from __future__ import annotations

import math

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum, total_value

STEPS = 1000  # points of the curve: one for each tenth of a per cent of the customers
ROUNDING = 1e-6  # of a customer or a coin: 0.07 × 100 customers are 7, not the 8 that 7.000000000000001 would be


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
    table = as_table(customers)
    ranked = table.select("value", rank=ibis.row_number().over(order_by=ibis.desc("value")) + 1)
    value, rank = ranked["value"], ranked["rank"]
    found = ranked.aggregate(
        count=ranked.count(), total=exact_sum(value).cast("float64"), by_rank=exact_sum(value * rank).cast("float64")
    )
    count, total, by_rank = found.to_pandas().iloc[0]
    return float(1 + (1 - 2 * by_rank / total_value(total)) / count)


def best(customers: Table, share: float, by: str | None = None) -> ir.Table:
    """Return the best share of customers, best first, each with its `value_share` of the whole.

    Customers of equal value at the edge are all in. The shares are NULL where the whole is 0. The second screening,
    the best of the best, is `best(best(customers, share), share)`.

    Parameters
    ----------
    customers
        One row per customer: `customer_id`, `value`; with `by`, one row per customer and group.
    share
        The share of customers that is the best.
    by
        The column of the groups: each has its own best customers, and its value is their whole.
    """
    table = as_table(customers)
    ranked = table.mutate(
        value_share=table["value"] / exact_sum(table["value"]).over(group_by=by).cast("float64").nullif(0),
        _best=among_best(table, table["value"], share, by),
    )
    order = [ibis.desc("value"), *([by] if by else []), ibis.asc("customer_id")]
    return ranked.filter(ranked["_best"]).drop("_best").order_by(order)


def among_best(customers: ir.Table, value: ir.NumericValue, share: float, by: str | None = None) -> ir.BooleanValue:
    """Return whether each customer is of the best share by a value: whether few enough are worth strictly more."""
    more = ibis.rank().over(group_by=by, order_by=ibis.desc(value))
    return more < customers.count().over(group_by=by) * share - ROUNDING


def one_off(bought: Table, *, times: float = 5.0, share: float = 0.5, quantile: float = 0.95) -> ir.Table:
    """Return the purchases that look like a one-off, on which no customer's ranking should rest.

    A customer's largest purchase is a one-off if it is at least `times` what is usual for this customer, more than
    `share` of all that the customer has bought, and large for the company too: the share `quantile` of all customers
    have never bought more at once.

    What is usual is the median of the customer's purchases. One or two of them tell too little: then it is the median
    that the share `quantile` of all customers do not exceed, or the customer's other purchase if that is more. Without
    this caution every large customer's first order would be a one-off.

    Parameters
    ----------
    bought
        Every purchase (see `customers.purchases`).
    times, share, quantile
        What makes a one-off. The share is at least one half, so that only one purchase can be more than that.

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `amount`, `value` of the one-off, `usual` (an amount): at most one row per customer.

    Notes
    -----
    Goods that came back on another day are not known to be from this purchase, so returns are not looked at here.
    """
    if not (times >= 1 and 0.5 <= share < 1 and 0 <= quantile <= 1):
        raise ValueError(
            "for a one-off, times >= 1, 0.5 <= share < 1 and 0 <= quantile <= 1 must hold, "
            f"not {times}, {share}, {quantile}"
        )
    bought = as_table(bought)
    amount = bought["amount"].cast("float64")
    largest = bought.group_by("customer_id").aggregate(
        date=bought["date"].argmax(bought["amount"]),  # two equal amounts are no one-off, so either will do
        amount=amount.max(),
        value=bought["value"].argmax(bought["amount"]).cast("float64"),
        median=amount.quantile(0.5),
        total=exact_sum(bought["amount"]).cast("float64"),
        purchases=bought.count(),
    )
    everyone = largest.aggregate(
        typical=largest["median"].quantile(quantile), large=largest["amount"].quantile(quantile)
    )
    known = largest.cross_join(everyone)
    little_known = ibis.greatest(known["total"] - known["amount"], known["typical"])
    known = known.mutate(usual=(known["purchases"] > 2).ifelse(known["median"], little_known))
    found = known.filter(
        known["amount"] >= known["usual"] * times - ROUNDING,
        known["amount"] > known["total"] * share + ROUNDING,
        known["amount"] >= known["large"] - ROUNDING,
    )
    return found.select("customer_id", "date", "amount", "value", "usual")


def without(customers: Table, one_offs: Table) -> ir.Table:
    """Return all customers as they would be without their one-off purchases.

    Nobody loses more by that than all that they have brought: of a one-off whose goods came back on another day, no
    value is left to take away.

    Returns
    -------
    ibis.Table
        `customer_id`, `value` (less that of the one-off), `value_with` it, and of the one-off `date`, `amount` and
        `usual`, which are NULL for those who have none.
    """
    offs = as_table(one_offs)
    offs = offs.select("date", "amount", "usual", buyer="customer_id", lost="value")
    joined = as_table(customers).select("customer_id", value_with="value")
    joined = joined.left_join(offs, joined["customer_id"] == offs["buyer"])
    value_with = joined["value_with"]
    lost = ibis.least(joined["lost"].fill_null(0), ibis.greatest(value_with, 0))
    return joined.select("customer_id", "value_with", "date", "amount", "usual", value=value_with - lost)


def reranked(left_out: Table, share: float) -> ir.Table:
    """Return where the customers with a one-off purchase stand with it and without all of these purchases.

    Parameters
    ----------
    left_out
        All customers without their one-off purchases (see `without`).
    share
        The share of customers that is the top.

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `amount`, `usual`, then twice, `…_with` the one-offs and `…_without` them: `value`,
        `rank` (1 is the best; equals share a rank), `top` (whether among the best share). One row per customer who
        has a one-off, that which weighs most in value first.
    """
    table = as_table(left_out).rename(value_without="value")
    ways = {way: table[f"value_{way}"] for way in ("with", "without")}
    ranked = table.mutate(
        **{f"rank_{way}": ibis.rank().over(order_by=ibis.desc(value)) + 1 for way, value in ways.items()},
        **{f"top_{way}": among_best(table, value, share) for way, value in ways.items()},
    )
    found = ranked.filter(ranked["date"].notnull())
    return found.order_by(ibis.desc(found["value_with"] - found["value_without"]), "customer_id")


def _ranked(customers: Table) -> ir.Table:
    """Rank customers by value, best first, with the running sum; the order of equals changes none of the sums."""
    table = as_table(customers)
    best_first, everyone = ibis.desc("value"), ibis.window()
    return table.select(
        rank=ibis.row_number().over(order_by=best_first) + 1,
        running=exact_sum(table["value"]).over(ibis.cumulative_window(order_by=best_first)),
        count=table.count().over(everyone),
        total=exact_sum(table["value"]).over(everyone),
    )
