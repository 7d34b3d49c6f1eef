"""Refunds both ways: in the month in which they happened, and in that of the order which they undo."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

LONGEST = 12  # months after an order in which its refunds are expected


def refund_flows(lines: Table) -> pd.DataFrame:
    """Return sales by month, and refunds by the month in which they happened and that of their order.

    A refund is a line with an amount below 0. It undoes the order of the same customer and `order_id`; where no line of
    that order was sold by then, the order is not known, and the refund's month is its own.

    Parameters
    ----------
    lines
        Transaction lines with their `value` and `order_id` (see `customers.transaction_lines`).

    Returns
    -------
    pandas.DataFrame
        `month` and `order_month` (the number of months since the year 0; equal for sales), `kind` (`sales`, `refunds`
        or `unknown`, refunds of no known order), `amount`, `value` (decimals; those of refunds below 0, as a rule).

    Raises
    ------
    Unanswerable
        There are no refunds.
    """
    table = as_table(lines)
    back, sold = table.filter(table["amount"] < 0), table.filter(table["amount"] >= 0)
    key = ["customer_id", "order_id"]
    orders = (
        sold.semi_join(back, key).group_by(buyer="customer_id", order="order_id").aggregate(ordered=sold["date"].min())
    )
    back = back.left_join(orders, [("customer_id", "buyer"), ("order_id", "order")])
    known = (back["ordered"] <= back["date"]).fill_null(False)
    back = back.mutate(kind=known.ifelse("refunds", "unknown"), ordered=known.ifelse(back["ordered"], back["date"]))
    sold = sold.mutate(kind=ibis.literal("sales"), ordered=sold["date"])
    columns = ["date", "ordered", "kind", "amount", "value"]
    both = sold.select(columns).union(back.select(columns))
    found = both.group_by(month=_month(both["date"]), order_month=_month(both["ordered"]), kind="kind").aggregate(
        amount=exact_sum(both["amount"]), value=exact_sum(both["value"])
    )
    frame = found.to_pandas().sort_values(["month", "order_month", "kind"], ignore_index=True)
    if not (frame["kind"] != "sales").any():
        raise Unanswerable("No transaction has an amount below 0, so there are no refunds.")
    return frame


def both_ways(flows: pd.DataFrame, as_of: dt.date) -> pd.DataFrame:
    """Return each month's net revenue and value with refunds as they happened, and with those of the month's orders.

    Parameters
    ----------
    flows
        See `refund_flows`.
    as_of
        The date of the analysis.

    Returns
    -------
    pandas.DataFrame
        One row per month, no month left out: `month` (its first day), `sales`; twice, of refunds as they `happened` and
        of the month's `orders`: `refunds_…` (below 0), `revenue_…` and `value_…`; `difference` (`revenue_orders` -
        `revenue_happened`), `unknown` (refunds of no known order, which stay in their own month both ways) and
        `expected` (refunds of the month's orders that are still to come). Both ways sum to the same.

    Notes
    -----
    What is expected: of the sales of each month, as large a share comes back so many months later as did of those of
    the months for which that has been seen in full, up to 12 months later. Refunds that happen later than this, or
    more often than so far, are not foreseen.
    """
    months = range(int(flows["order_month"].min()), as_of.year * 12 + as_of.month)
    refunds, sales = flows[flows["kind"] != "sales"], flows[flows["kind"] == "sales"]

    def summed(part: pd.DataFrame, by: str, column: str = "amount") -> pd.Series:
        return part.groupby(by)[column].sum().reindex(months, fill_value=0).astype(object)

    sold = summed(sales, "month")
    frame = {"sales": sold}
    for way, by in (("happened", "month"), ("orders", "order_month")):
        frame[f"refunds_{way}"] = summed(refunds, by)
        frame[f"revenue_{way}"] = sold + frame[f"refunds_{way}"]
        frame[f"value_{way}"] = summed(flows, by, "value")
    found = pd.DataFrame(frame)
    for name in ("refunds", "revenue", "value"):
        if found[f"{name}_happened"].sum() != found[f"{name}_orders"].sum():
            raise ArithmeticError(f"the {name} of all months are not the same both ways")
    found["difference"] = found["revenue_orders"] - found["revenue_happened"]
    found["unknown"] = summed(flows[flows["kind"] == "unknown"], "month")
    found = found.astype(float)
    found["expected"] = _expected(flows[flows["kind"] == "refunds"], found["sales"], as_of)
    month = pd.to_datetime(
        pd.DataFrame({"year": [m // 12 for m in months], "month": [m % 12 + 1 for m in months], "day": 1})
    )
    return found.assign(month=month.to_numpy())[["month", *found.columns]].reset_index(drop=True)


def refunders(lines: Table, customers: Table, after: dt.date) -> ir.Table:
    """Return the customers with refunds since a date, those whose refunds weigh most first.

    Parameters
    ----------
    lines
        Transaction lines (see `customers.transaction_lines`).
    customers
        One row per customer: `customer_id`, `value` (so far).
    after
        The day before the first that counts.

    Returns
    -------
    ibis.Table
        `customer_id`, `refunded` (above 0), `sales`, `refund_share` (of sales; NULL without any) and `value`.
    """
    table = as_table(lines)
    table = table.filter(table["date"] > after)
    back = table["amount"] < 0
    sums = table.group_by("customer_id").aggregate(
        refunded=-table["amount"].sum(where=back).cast("float64"),
        sales=table["amount"].sum(where=~back).cast("float64").fill_null(0.0),
    )
    sums = sums.filter(sums["refunded"] > 0).mutate(refund_share=sums["refunded"] / sums["sales"].nullif(0))
    known = as_table(customers).select("customer_id", "value")
    return sums.inner_join(known, "customer_id").order_by(ibis.desc("refunded"), "customer_id")


def _expected(refunds: pd.DataFrame, sales: pd.Series, as_of: dt.date) -> np.ndarray:
    """Return the refunds of each month's orders that are still to come, below 0 as refunds are."""
    months = sales.index.to_numpy()
    last, passed = months[-1], as_of.day / pd.Timestamp(as_of).days_in_month
    lags = np.arange(LONGEST + 1)
    came = pd.crosstab(
        refunds["order_month"],
        refunds["month"] - refunds["order_month"],
        refunds["amount"].astype(float),
        aggfunc="sum",
    )
    came = came.reindex(index=months, columns=lags).fillna(0).to_numpy()
    at = months[:, None] + lags
    sold = np.broadcast_to(sales.to_numpy()[:, None], at.shape)
    seen = at <= last - (passed < 1)
    known = np.where(seen, sold, 0).sum(axis=0)
    rate = np.divide(np.where(seen, came, 0).sum(axis=0), known, out=np.zeros(len(lags)), where=known > 0)
    to_come = np.where(at > last, 1, np.where(at == last, 1 - passed, 0))
    return (sold * rate * to_come).sum(axis=1)


def _month(date: ir.DateValue) -> ir.IntegerValue:
    return (date.year() * 12 + date.month() - 1).cast("int64")
