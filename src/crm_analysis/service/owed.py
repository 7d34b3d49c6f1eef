"""Whom something is still owed: customers with an open complaint, and dissatisfied ones who have not bought since."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.service.cases import DISSATISFIED

YEAR = 365


def worth(cases: Table, lines: Table) -> ir.Table:
    """Add to each case what the customer brought in the 365 days up to the day on which it was opened.

    Parameters
    ----------
    cases
        See `cases.handled`.
    lines
        Transaction lines by the as-of date with their `value` (see `customers.transaction_lines`).

    Returns
    -------
    ibis.Table
        `cases` and `value`: before service costs; 0 of those who brought nothing in these days.
    """
    table, sold = as_table(cases), as_table(lines)
    sold = sold.select(buyer="customer_id", date="date", brought="value")
    joined = table.inner_join(sold, [table["customer_id"] == sold["buyer"], table["opened"] >= sold["date"]])
    joined = joined.filter(joined["opened"].delta(joined["date"], unit="day") < YEAR)
    sums = joined.group_by(about="case_id").aggregate(value=exact_sum(joined["brought"]).cast("float64"))
    table = table.left_join(sums, table["case_id"] == sums["about"]).drop("about")
    return table.mutate(value=table["value"].fill_null(0.0))


def open_complaints(valued: Table, *, as_of: dt.date) -> ir.Table:
    """Return complaints that are not settled, those of the most valuable customers first.

    Parameters
    ----------
    valued
        Cases with the customer's `value` (see `worth`).
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        `customer_id`, `value`, `cause`, `opened`, `age` (days), `answered` (yes or no), `case_id`.
    """
    table = as_table(valued)
    table = table.filter((table["kind"] == "complaint") & ~table["resolved"])
    table = table.order_by(ibis.desc("value"), "customer_id", "opened", "case_id")
    age, answered = ibis.literal(as_of).delta(table["opened"], unit="day"), table["responded"].ifelse("yes", "no")
    return table.select("customer_id", "value", "cause", "opened", age=age, answered=answered, case_id="case_id")


def dissatisfied(valued: Table, bought: Table, *, as_of: dt.date, recent_days: int) -> ir.Table:
    """Return who rated the last closed case 1 or 2, not long ago, and has not bought since; most valuable first.

    Parameters
    ----------
    valued
        Cases with the customer's `value` (see `worth`).
    bought
        Every purchase by the as-of date.
    as_of
        The date of the analysis.
    recent_days
        The case was closed in the last so many days.

    Returns
    -------
    ibis.Table
        One row per customer: `customer_id`, `value`, `cause`, `satisfaction`, `closed`, `days_since`.
    """
    table, log = as_table(valued), as_table(bought)
    table = table.filter(table["satisfaction"].notnull() & table["closed"].notnull())
    latest = ibis.row_number().over(
        group_by="customer_id", order_by=[ibis.desc("closed"), ibis.asc("satisfaction"), ibis.asc("case_id")]
    )
    table = table.mutate(place=latest, days_since=ibis.literal(as_of).delta(table["closed"], unit="day"))
    bad = (table["place"] == 0) & (table["satisfaction"] <= DISSATISFIED) & (table["days_since"] <= recent_days)
    last = log.group_by(buyer="customer_id").aggregate(last=log["date"].max())
    table = table.filter(bad).left_join(last, [("customer_id", "buyer")])
    table = table.filter(table["last"].isnull() | (table["last"] <= table["closed"]))
    table = table.order_by(ibis.desc("value"), ibis.asc("customer_id"))
    return table.select("customer_id", "value", "cause", "satisfaction", "closed", "days_since")


def at_risk(waiting: Table, displeased: Table) -> pd.Series:
    """Return how many `customers` are on the lists of open complaints and of the dissatisfied, and their `value`.

    A customer on both, or with two open complaints, counts once, with the largest value; losses are not set off.
    """
    rows = as_table(waiting).select("customer_id", "value").union(as_table(displeased).select("customer_id", "value"))
    each = rows.group_by("customer_id").aggregate(value=ibis.greatest(rows["value"].max(), 0.0))
    found = each.aggregate(customers=each.count(), value=exact_sum(each["value"]).cast("float64").fill_null(0.0))
    return found.to_pandas().iloc[0]
