"""Where the profit comes from: contribution by any cut, two periods side by side, and why the profit has changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import permutations

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import periods, pyramid
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.pyramid import by_period

CUTS = ("customer_id", "order_id", "product_id", "category", "salesperson_id", "channel", "month", "year")
AT_A_LOSS = "purchases and service at a loss"
TO_DO = by_period.TO_DO | {  # about why somebody is worth less
    "returns or service without a purchase": "ask what went wrong, and look at returns and service",
    "no revenue left after returns": "ask why they have returned it",
    **{f"{kind}{AT_A_LOSS}": "raise the price, or do less service" for kind in ("", "larger ", "more ")},
}
# Each factor of the profit, and what it is called when it is less and more than before.
FACTORS = {
    "customers": ("fewer customers", "more customers"),
    "purchases per customer": ("fewer purchases per customer", "more purchases per customer"),
    "amount per purchase": ("smaller purchases", "larger purchases"),
    "margin": ("a lower margin", "a higher margin"),
}


def contribution(lines: Table, *by: str, products: Table | None = None) -> ir.Table:
    """Return what each part of the sales contributes: what is left of its revenue after the cost of what was sold.

    Service cost is left out, because it belongs to a customer and not to a line: a customer's value is the
    contribution less the service cost.

    Parameters
    ----------
    lines
        Transaction lines with their `value` (`customers.transaction_lines`), of the time that is looked at.
    by
        What the sales are cut by, together: any of `CUTS`. `month` (its first day) and `year` (a text) are those of
        the calendar in which the line's date is; without any, there is one row for everything.
    products
        Their `category`, where the sales are cut by it; one row per product.

    Returns
    -------
    ibis.Table
        The columns `by` (NULL where it is not known), `revenue`, `cost` (where costs are known), `contribution`
        (revenue - cost, else revenue), `margin` (contribution for each unit of revenue; NULL unless there is revenue),
        `customers` and `orders` (different ones with a line that is no return; lines without an `order_id` belong to
        an order of the customer's day, and an `order_id` of two customers is two orders), `lines_without_cost` (where
        costs are known: lines that are no return and have a cost of 0, as those have whose cost is not known). Any cut
        sums to the same revenue, cost and contribution.

    Raises
    ------
    Unanswerable
        The data do not have the column.
    """
    table = as_table(lines)
    if unknown := set(by) - set(CUTS):
        raise ValueError(f"contribution is cut by {', '.join(CUTS)}, not by {', '.join(sorted(unknown))}")
    if "category" in by and "category" not in table.columns and products is not None and "product_id" in table.columns:
        named = as_table(products)
        if "category" in named.columns:
            named = named.select(of="product_id", category="category")
            table = table.left_join(named, table["product_id"] == named["of"])
    calendar = {"month": table["date"].truncate("M").cast("date"), "year": table["date"].year().cast("string")}
    table = table.mutate(**{name: calendar[name] for name in by if name in calendar})
    if lacking := set(by) - set(table.columns):
        raise Unanswerable(f"The data do not tell the {' and the '.join(sorted(lacking))} of what was sold.")
    sold = table["amount"] >= 0
    order = ibis.struct({"customer": table["customer_id"], "order": _order(table)})
    costless = {"lines_without_cost": table.count(where=sold & (table["cost"] == 0))} if "cost" in table.columns else {}
    found = table.aggregate(
        by=[*by],
        **{
            name: exact_sum(table[column]).fill_null(0).cast("float64")
            for name, column in (("revenue", "amount"), ("cost", "cost"), ("contribution", "value"))
            if column in table.columns
        },
        customers=table["customer_id"].nunique(where=sold),
        orders=order.nunique(where=sold),
        **costless,
    )
    found = found.mutate(margin=(found["revenue"] > 0).ifelse(found["contribution"] / found["revenue"], None))
    return found.relocate("margin", after="contribution")


def by_month(lines: Table, edges: Sequence[dt.date], first: dt.date) -> pd.DataFrame:
    """Return the contribution of each whole calendar month of a period beside that of the period before.

    Parameters
    ----------
    lines
        Transaction lines with their `value`.
    edges
        The day before the first period, and the last days of the two (see `periods.edges`).
    first
        The first date in the data: where it is later than the first of a month, that month is not whole either.

    Returns
    -------
    pandas.DataFrame
        `month` (its first day, as a timestamp), `before` (of the month as far from the end of its period), `now`.
    """
    start, middle, end = (pd.Timestamp(day) for day in edges)
    start = max(start, pd.Timestamp(first) - pd.Timedelta(days=1))
    table = as_table(lines)
    table = table.filter(table["date"] > edges[0], table["date"] <= edges[2])
    found = contribution(table, "month").select("month", "contribution").to_pandas()
    worth = found.set_index(pd.to_datetime(found["month"]))["contribution"]
    # Months that begin after the period before has ended, and end by the as-of date.
    now = pd.date_range(middle + pd.Timedelta(days=1), end, freq="MS")
    now = now[now + pd.offsets.MonthEnd() <= end]
    before = now - pd.DateOffset(months=12 * (end.year - middle.year) + end.month - middle.month)
    columns = {"before": worth.reindex(before), "now": worth.reindex(now)}
    frame = pd.DataFrame({name: column.fillna(0.0).to_numpy() for name, column in columns.items()})
    frame.insert(0, "month", now)
    return frame[before > start]


def ranked(compared: Table, shares: Sequence[float] = pyramid.SHARES) -> ir.Table:
    """Return the customers of two periods side by side: what they were worth, their ranks, and their tiers.

    Parameters
    ----------
    compared
        One row per customer of either period (see `periods.compare`).
    shares
        The nominal shares of the tiers (see `pyramid.tiers`).

    Returns
    -------
    ibis.Table
        Their columns; for both periods `rank_…` (1 is worth most; equals share a rank) and `tier_…` by the value in
        that period alone, among its customers: both are NULL for those who made no purchase in it; `rank_change` (above
        0: up); `change` of value; `share` of the value of all in the last period, and `cumulated`: the share of all
        who are worth as much or more (both NULL if that value is not above 0).
    """
    table = as_table(compared)
    upward = ibis.range_window(order_by=ibis.desc("value_now"), preceding=None, following=0)
    worth = table["value_now"].cast("decimal(38, 6)")
    table = table.mutate(
        change=table["value_now"] - table["value_before"],
        _total=worth.sum().over(ibis.window()).cast("float64"),
        _running=worth.sum().over(upward).cast("float64"),
    )
    whole = (table["_total"] > 0).ifelse(table["_total"], None)
    table = table.mutate(share=table["value_now"] / whole, cumulated=table["_running"] / whole)
    table = table.drop("_total", "_running")
    for side in ("before", "now"):
        bought = as_table(compared).filter(lambda t, side=side: t[f"purchases_{side}"] > 0)
        placed = pyramid.tiers(bought.select(buyer="customer_id", value=f"value_{side}"), shares)
        rank = ibis.rank().over(order_by=ibis.desc("value")) + 1
        placed = placed.select("buyer", **{f"rank_{side}": rank, f"tier_{side}": placed["tier"]})
        table = table.left_join(placed, table["customer_id"] == placed["buyer"]).drop("buyer")
    return table.mutate(rank_change=table["rank_before"] - table["rank_now"])


def tiers(ranked: Table) -> pd.DataFrame:
    """Return what each tier brought in two periods: the tier of each period by the value in that period.

    Returns
    -------
    pandas.DataFrame
        `tier` (best first; last those who made no purchase in the period, but had returns or service), and for both
        periods `customers_…`, `value_…`, `share_…` of that value (NaN if all of it is not above 0).
    """
    table = as_table(ranked)
    found = pd.DataFrame({"tier": [*pyramid.TIERS, pyramid.NO_PURCHASE]}).set_index("tier")
    for side in ("before", "now"):
        tier, worth = (
            table[f"tier_{side}"].fill_null(pyramid.NO_PURCHASE),
            exact_sum(table[f"value_{side}"]).cast("float64"),
        )
        there = (table[f"purchases_{side}"] > 0) | (table[f"value_{side}"] != 0)
        sums = table.group_by(tier=tier).aggregate(customers=there.cast("int64").sum(), value=worth).to_pandas()
        sums = sums.set_index("tier").reindex(found.index).fillna(0)
        total = sums["value"].sum()
        found[f"customers_{side}"] = sums["customers"].astype(int)
        found[f"value_{side}"] = sums["value"]
        found[f"share_{side}"] = sums["value"] / total if total > 0 else float("nan")
    return found.reset_index()


def fallen(ranked: Table) -> ir.Table:
    """Return the customers who are worth less than in the period before, the largest loss first, and mainly why.

    Returns
    -------
    ibis.Table
        The customers' columns, `by_orders`, `by_amount`, `by_margin` (what the change is due to, see
        `periods.explained`; the margin is what is left after service cost, too), `cause`, the worst of the three in
        words, and `to_do` about it. Of equal parts the margin goes first, then the amount; of equal losses the lower
        customer id.
    """
    table = periods.explained(ranked)
    table = table.filter(table["change"] < 0)
    bought_before, bought_now = table["purchases_before"] > 0, table["purchases_now"] > 0
    orders, amount, margin = table["by_orders"], table["by_amount"], table["by_margin"]
    smaller = table["revenue_now"] / table["purchases_now"] < table["revenue_before"] / table["purchases_before"]
    cause = ibis.cases(
        (bought_before & ~bought_now, "no more purchases"),
        (~bought_now, "returns or service without a purchase"),
        (~bought_before & (table["revenue_now"] >= 0), AT_A_LOSS),
        (table["revenue_now"] <= 0, "no revenue left after returns"),
        (table["revenue_before"] <= 0, AT_A_LOSS),
        ((margin <= orders) & (margin <= amount), "lower margin"),
        ((amount <= orders) & smaller, "smaller purchases"),
        (amount <= orders, f"larger {AT_A_LOSS}"),
        (table["purchases_now"] < table["purchases_before"], "fewer purchases"),
        else_=f"more {AT_A_LOSS}",
    )
    return table.mutate(cause=cause, to_do=cause.substitute(TO_DO)).order_by("change", "customer_id")


def causes(fallen: Table) -> pd.DataFrame:
    """Return what the losses come from: `cause`, `customers`, `change`; the largest loss first, then by cause."""
    table = as_table(fallen)
    lost = exact_sum(table["change"]).cast("float64")
    found = table.group_by("cause").aggregate(customers=table.count(), change=lost)
    return found.order_by("change", "cause").to_pandas()


def totals(compared: Table) -> pd.DataFrame:
    """Return what all customers did in two periods, `before` and `now` (the index).

    Returns
    -------
    pandas.DataFrame
        `customers` (who made a purchase), `purchases`, `revenue`, `value`.
    """
    table = as_table(compared)
    sums = {}
    for side in ("before", "now"):
        sums[f"customers_{side}"] = table.count(where=table[f"purchases_{side}"] > 0)
        sums[f"purchases_{side}"] = table[f"purchases_{side}"].sum().fill_null(0)
        for name in ("revenue", "value"):
            sums[f"{name}_{side}"] = exact_sum(table[f"{name}_{side}"]).cast("float64").fill_null(0.0)
    found = table.aggregate(**sums).to_pandas().iloc[0]
    names = ["customers", *periods.MEASURES]
    return pd.DataFrame({side: [found[f"{name}_{side}"] for name in names] for side in ("before", "now")}, names).T


def decomposition(totals: pd.DataFrame) -> pd.DataFrame:
    """Return what the change of the profit is due to: customers, purchases of each, amount of a purchase, margin.

    The profit of a period is the product of the four. Each is given what its change brings on average over all orders
    in which the four can change (Shapley value), so that the parts sum to the change, whatever their signs. The margin
    is what is left of the revenue after all costs, those of service too, also of service to people who bought
    nothing. Where a period has no purchase, or no revenue above 0, the factors cannot be compared: the whole change is
    then due to customers.

    Parameters
    ----------
    totals
        See `totals`.

    Returns
    -------
    pandas.DataFrame
        The four rows of `FACTORS`: `factor`, `before`, `now` (NaN where it cannot be told), `part` of the change, and
        `change`, what happened in words ("fewer customers"; empty where the factor is the same or cannot be told).

    Notes
    -----
    Shapley, L. S. (1953). A value for n-person games.
    """
    before, now = (_factors(totals.loc[side]) for side in ("before", "now"))
    parts = dict.fromkeys(FACTORS, 0.0)
    if min(totals["purchases"].min(), totals["revenue"].min()) > 0:
        orders = list(permutations(FACTORS))
        for order in orders:
            at, worth = dict(before), _product(before)
            for factor in order:
                at[factor] = now[factor]
                worth, last = _product(at), worth
                parts[factor] += (worth - last) / len(orders)
    change = float(totals["value"]["now"] - totals["value"]["before"])
    parts["customers"] = change - sum(part for factor, part in parts.items() if factor != "customers")
    rows = [
        (factor, before[factor], now[factor], parts[factor], _in_words(factor, before[factor], now[factor]))
        for factor in FACTORS
    ]
    return pd.DataFrame(rows, columns=["factor", "before", "now", "part", "change"])


def losing_orders(lines: Table) -> ir.Table:
    """Return what each customer's orders at a loss have cost: those with less revenue than what was sold in them cost.

    Parameters
    ----------
    lines
        Transaction lines with `cost` and `value`.

    Returns
    -------
    ibis.Table
        One row per customer with an order, the largest loss first: `customer_id`, `orders` (less their returns; what
        is more returns than sales is none; lines without an `order_id` are an order of the customer's day),
        `losing_orders`, `loss` (the sum of their contributions, not above 0), `contribution` of all orders. Raises
        `Unanswerable` without costs.
    """
    table = as_table(lines)
    if "cost" not in table.columns:
        raise Unanswerable("The data have no costs of what was sold, so nothing tells which orders lose money.")
    orders = table.group_by("customer_id", order=_order(table)).aggregate(
        amount=exact_sum(table["amount"]), value=exact_sum(table["value"])
    )
    orders = orders.filter(orders["amount"] >= 0)
    lost = orders["value"] < 0
    found = orders.group_by("customer_id").aggregate(
        orders=orders.count(),
        losing_orders=orders.count(where=lost),
        loss=orders["value"].sum(where=lost).fill_null(0).cast("float64"),
        contribution=orders["value"].sum().cast("float64"),
    )
    return found.order_by("loss", "customer_id")


def _order(lines: ir.Table) -> ir.StringValue:
    """Return what tells the orders apart: their ids, else the customer and the day."""
    day = lines["customer_id"].cast("string") + " " + lines["date"].cast("string")
    return lines["order_id"].cast("string").fill_null(day) if "order_id" in lines.columns else day


def _factors(total: pd.Series) -> dict[str, float]:
    """Return the four factors of a period's profit; NaN where one is not known."""
    whole = {name: float(total[name]) if total[name] > 0 else float("nan") for name in total.index[:-1]}
    purchases, revenue = whole["purchases"], whole["revenue"]
    each = (total["customers"], purchases / whole["customers"], revenue / purchases, total["value"] / revenue)
    return dict(zip(FACTORS, map(float, each), strict=True))


def _product(factors: dict[str, float]) -> float:
    worth = 1.0
    for factor in factors.values():
        worth *= factor
    return worth


def _in_words(factor: str, before: float, now: float) -> str:
    less, more = FACTORS[factor]
    return less if now < before else more if now > before else ""
