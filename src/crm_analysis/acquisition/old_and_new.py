"""What old and new customers bring and cost, and first and later orders."""

from __future__ import annotations

import datetime as dt
import math

import ibis
import pandas as pd

from crm_analysis.acquisition.ratios import ratios
from crm_analysis.customers import Table, as_table, exact_sum

OLD, NEW = "old", "new"
FIRST, LATER = "first order", "later orders"


def old_and_new(
    people: Table, worth: Table, service_costs: Table | None = None, *, since: dt.date, as_of: dt.date
) -> pd.DataFrame:
    """Return what old and new customers brought in a period, and what it cost to serve them.

    Parameters
    ----------
    people
        See `people`; who first bought by `since` is old.
    worth
        What each customer was worth in the period (see `periods.by_period`).
    service_costs
        What it cost to serve each customer.
    since, as_of
        The day before the period, and its last day.

    Returns
    -------
    pandas.DataFrame
        For `group` old and new: `customers` who bought in the period, `value` of all of the group and `served`, their
        service cost (NaN where it is not known), each for one of these customers (NaN without any).
    """
    table = as_table(people)
    group = (table["first_purchase"] <= since).ifelse(OLD, NEW)
    table = table.filter(table["first_purchase"].notnull()).select("customer_id", group=group)
    brought = as_table(worth)
    each = brought.inner_join(table.select("group", of="customer_id"), [("customer_id", "of")])
    found = each.group_by("group").aggregate(
        customers=each.count(where=each["purchases"] > 0), value=exact_sum(each["value"]).cast("float64")
    )
    frame = found.to_pandas().set_index("group").reindex([OLD, NEW]).fillna(0.0).assign(served=math.nan)
    if service_costs is not None:
        paid = as_table(service_costs)
        day = paid["date"].cast("date")
        paid = paid.filter((day > since) & (day <= as_of)).inner_join(
            table.rename(of="customer_id"), [("customer_id", "of")]
        )
        sums = paid.group_by("group").aggregate(served=exact_sum(paid["cost"]).cast("float64")).to_pandas()
        frame["served"] = sums.set_index("group")["served"].reindex(frame.index).fillna(0.0)
    each_one = frame["customers"].where(frame["customers"] > 0)
    frame = frame.assign(value=frame["value"] / each_one, served=frame["served"] / each_one)
    return frame.astype({"customers": int}).rename_axis("group").reset_index()


def orders(lines: Table, bought: Table, *, since: dt.date, as_of: dt.date) -> pd.DataFrame:
    """Return what a first order brings, and what a later one does.

    An order is a purchase: all that a customer buys on one day, less what is returned that day. The intervals allow
    for customers who order often, so that their orders are alike.

    Parameters
    ----------
    lines
        Transaction lines with their value (`customers.transaction_lines`), with `list_amount` if discounts are known.
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    since, as_of
        The day before the period looked at, and its last day.

    Returns
    -------
    pandas.DataFrame
        For `order` first and later (if there are any): `orders`, `share` of all, and for one of them with its 95 %
        interval (`…_low`, `…_high`): `amount`, `value`, `margin` (value for each unit of revenue) and `discount` (the
        mean share of the list price that an order is below it, NaN where list prices are not known).
    """
    days = as_table(bought)
    days = days.filter((days["date"] > since) & (days["date"] <= as_of))
    sold = as_table(lines)
    price = sold["list_amount"].cast("decimal(38, 6)") if "list_amount" in sold.columns else ibis.null("decimal(38, 6)")
    paid = price.notnull().ifelse(sold["amount"].cast("decimal(38, 6)"), None)
    sold = sold.select(line_id="customer_id", day=sold["date"].cast("date"), price=price, paid=paid)
    per_day = sold.group_by("line_id", "day").aggregate(price=sold["price"].sum(), paid=sold["paid"].sum())
    days = days.left_join(per_day, [("customer_id", "line_id"), ("date", "day")])
    off = 1 - days["paid"].cast("float64") / (days["price"] > 0).ifelse(days["price"].cast("float64"), None)
    order = (days["number"] == 1).ifelse(FIRST, LATER)
    days = days.select("customer_id", "amount", "value", order=order, off=off)
    money = {name: exact_sum(days[name]).fill_null(0).cast("float64") for name in ("amount", "value", "off")}
    each = days.group_by("customer_id", "order").aggregate(orders=days.count(), priced=days["off"].count(), **money)
    counted = each.group_by("order").aggregate(orders=each["orders"].sum()).to_pandas()
    measures = {
        "amount": ("amount", "orders"),
        "value": ("value", "orders"),
        "margin": ("value", "amount"),
        "discount": ("off", "priced"),
    }
    frame = counted.merge(ratios(each, "order", **measures), on="order").sort_values("order", ignore_index=True)
    return frame.assign(share=frame["orders"] / frame["orders"].sum())


def differ(orders: pd.DataFrame, measure: str) -> bool:
    """Whether first and later orders differ in a measure by more than chance explains (see `orders`)."""
    middle, reach = orders[measure], orders[f"{measure}_high"] - orders[measure]
    return bool(middle.diff().abs().max() > math.hypot(*reach))
