"""Who is not a customer yet, but may become one."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table

INTERESTED = 2  # of 3: the interest shown in a contact that makes a target


def leads(contacts: Table, *, lead_days: int = 90) -> ir.Table:
    """Return from when to when people are prospects and targets: those with whom the company is in contact.

    A contact makes a prospect for `lead_days`, or until the next one. From the first contact on in which somebody
    showed interest (2 or more of 3; where interest is not recorded, from the first sales contact on), it makes a
    target. So what is said of a date rests on what was known then. What the customers table says of a person's
    `status` has no date and is not looked at (see `leads_on_record`).

    Parameters
    ----------
    contacts
        Contacts up to the as-of date: `customer_id`, `time`, `purpose` and, if it is there, `interest`.
    lead_days
        Days after a contact for which the company counts as in contact.

    Returns
    -------
    ibis.Table
        One row per person and day of a contact: `customer_id`, `date`, `until` (the first day on which this no longer
        holds), `stage` (`prospect` or `target`). Purchases are not looked at: who has bought is a customer.
    """
    if lead_days < 1:
        raise ValueError(f"a contact makes a prospect for at least 1 day, not {lead_days}")
    table = as_table(contacts)
    wants = table["interest"] >= INTERESTED if "interest" in table.columns else table["purpose"] == "sales"
    days = table.group_by("customer_id", date=table["time"].cast("date")).aggregate(
        wants=wants.fill_null(False).cast("int64").max()
    )
    contact = {"group_by": "customer_id", "order_by": "date"}
    days = days.mutate(
        wanted=days["wants"].max().over(ibis.cumulative_window(**contact)),
        then=days["date"].lead().over(ibis.window(**contact)),
        until=days["date"] + ibis.interval(days=lead_days),
    )
    return days.select(
        "customer_id",
        "date",
        until=ibis.least(days["then"], days["until"]),  # NULL is passed over
        stage=(days["wanted"] == 1).ifelse("target", "prospect"),
    )


def leads_on_record(customers: Table, as_of: dt.date) -> ir.Table:
    """Return those whom the customers table calls prospects and targets, as `leads` does, of the as-of date alone.

    Parameters
    ----------
    customers
        One row per person: `customer_id`, `status`.
    as_of
        The date of the analysis.
    """
    people = as_table(customers).filter(lambda t: t["status"].isin(["prospect", "target"]))
    today = ibis.literal(as_of)
    return people.select("customer_id", date=today, until=today + ibis.interval(days=1), stage="status")
