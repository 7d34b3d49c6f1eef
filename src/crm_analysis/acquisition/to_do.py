"""Whom to win back the cost of, and whom to ask for a recommendation."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table


def not_earned_back(people: Table, valued: Table, *, as_of: dt.date, known_days: int) -> ir.Table:
    """Return customers who have brought less than it cost to win them, those first of whom most may still come.

    Parameters
    ----------
    people
        See `people`; those of whom the cost is not known are left out.
    valued
        One row per customer: `customer_id`, `value` so far, `last_purchase`; `lifetime_value` if it is foretold.
    as_of
        The date of the analysis.
    known_days
        Days since the first purchase from which on somebody is listed.

    Returns
    -------
    ibis.Table
        `customer_id`, `expected` (the value still to come; NULL where nothing is foretold), `shortfall` (cost less
        value), `way`, `cost`, `value`, `last_purchase`.
    """
    table = as_table(people)
    known = table["first_purchase"] <= as_of - dt.timedelta(days=known_days)
    table = table.filter(known & table["cost"].notnull()).select("way", "cost", person="customer_id")
    worth = as_table(valued)
    expected = worth["lifetime_value"] if "lifetime_value" in worth.columns else ibis.null("float64")
    worth = worth.select("customer_id", "value", "last_purchase", expected=expected)
    each = worth.inner_join(table, worth["customer_id"] == table["person"])
    each = each.mutate(shortfall=each["cost"] - each["value"]).filter(lambda t: t["shortfall"] > 0)
    listed = each.select("customer_id", "expected", "shortfall", "way", "cost", "value", "last_purchase")
    return listed.order_by(ibis.desc("expected"), ibis.desc("shortfall"), "customer_id")


def could_recommend(best: Table, people: Table, cases: Table | None = None, *, satisfied: int = 4) -> ir.Table:
    """Return good customers who may be asked to recommend the company.

    Parameters
    ----------
    best
        Valuable customers who are loyal: `customer_id`, `value`, `purchases`, `last_purchase`.
    people
        See `people`, for the `way` in which they were found themselves.
    cases
        What customers turned to the company with, by the as-of date; who was less than `satisfied` with the last case
        rated, or has one that is open, is left out.
    satisfied
        The least satisfaction (1 to 5).

    Returns
    -------
    ibis.Table
        The most valuable first: `customer_id`, `value`, `way`, `purchases`, `last_purchase`.
    """
    table = as_table(best)
    if cases is not None:
        told = as_table(cases)
        unhappy = [told.filter(told["closed"].isnull()).select("customer_id")] if "closed" in told.columns else []
        if "satisfaction" in told.columns:
            rated = told.filter(told["satisfaction"].notnull())
            latest = ibis.row_number().over(
                group_by="customer_id", order_by=[ibis.desc("opened"), "satisfaction", "case_id"]
            )
            rated = rated.mutate(latest=latest).filter(lambda t: t["latest"] == 0)
            unhappy.append(rated.filter(rated["satisfaction"] < satisfied).select("customer_id"))
        for those in unhappy:
            table = table.anti_join(those, "customer_id")
    found = table.inner_join(as_table(people).select("way", person="customer_id"), [("customer_id", "person")])
    found = found.select("customer_id", "value", "way", "purchases", "last_purchase")
    return found.order_by(ibis.desc("value"), "customer_id")
