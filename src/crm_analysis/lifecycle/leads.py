"""Who is not a customer yet, but may become one."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable

INTERESTED = 2  # of 3: the interest shown in a contact that makes a target


def leads(customers: Table | None, contacts: Table | None, *, as_of: dt.date) -> ir.Table:
    """Return since when each person known to the company has been a prospect, and a target.

    A prospect has been in contact with the company; a target has shown interest in a contact (2 or more of 3) or,
    where interest is not recorded, has had a sales contact. What the customers table says of a person's status goes
    before: who is a `target` or a `prospect` there is one at the as-of date, and a prospect is no target; who has
    the status `none` is neither.

    Parameters
    ----------
    customers
        One row per person: `customer_id` and, if it is there, `status`.
    contacts
        Contacts up to the as-of date: `customer_id`, `time`, `purpose` and, if it is there, `interest`.
    as_of
        The date of the analysis; from then on somebody is what only the status tells.

    Returns
    -------
    ibis.Table
        One row per person in either table: `customer_id`, `prospect_from`, `target_from` (dates; NULL: is none).
        Purchases are not looked at: who has bought is a customer, and what is said here is how it began.

    Raises
    ------
    Unanswerable
        Both tables are None.
    """
    never = ibis.null("date")
    if customers is None:
        if contacts is None:
            raise Unanswerable("Neither a customers table nor contacts tell who could become a customer.")
        return _seen(as_table(contacts)).select("customer_id", prospect_from="met", target_from="interested")
    people = _people(as_table(customers))
    if contacts is None:
        known = people.mutate(met=never, interested=never)
    else:
        known = people.outer_join(_seen(as_table(contacts)), "customer_id")
        somebody = ibis.coalesce(known["customer_id"], known["customer_id_right"])
        known = known.select("status", "met", "interested", customer_id=somebody)
    status, today = known["status"].fill_null(""), ibis.literal(as_of)
    met, interested = known["met"], known["interested"]
    return known.select(
        "customer_id",
        prospect_from=ibis.cases(
            (status == "none", never), (status.isin(["prospect", "target"]), met.fill_null(today)), else_=met
        ),
        target_from=ibis.cases(
            (status.isin(["none", "prospect"]), never),
            (status == "target", interested.fill_null(today)),
            else_=interested,
        ),
    )


def _people(customers: ir.Table) -> ir.Table:
    status = customers["status"] if "status" in customers.columns else ibis.null("string")
    return customers.select("customer_id", status=status)


def _seen(contacts: ir.Table) -> ir.Table:
    """Return when each person was first in contact, and first showed interest."""
    wants = contacts["interest"] >= INTERESTED if "interest" in contacts.columns else contacts["purpose"] == "sales"
    day = contacts["time"].cast("date")
    return contacts.group_by("customer_id").aggregate(met=day.min(), interested=day.min(where=wants))
