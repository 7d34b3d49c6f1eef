"""What customers owe, how old it is, and how late they pay."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table

AGES = {"up to 30 days": 30, "31 to 60 days": 60, "61 to 90 days": 90, "over 90 days": None}  # overdue, up to


def invoices(payments: Table, as_of: dt.date) -> ir.Table:
    """Return every invoice that has fallen due, with how late it was paid or is.

    Parameters
    ----------
    payments
        Clean payments that fell due by the as-of date; what was paid later is not paid yet. An invoice
        paid in parts has several rows.
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        Their columns (`due` and `paid` as dates), `open` (whether it is unpaid), `days_late` (from due to paid, or
        to the as-of date while it is open; below 0 if paid early) and `age` of what is open (a name of `AGES`, else
        NULL). A credit (an amount below 0) is in it like an invoice.
    """
    table = as_table(payments)
    table = table.mutate(due=table["due"].cast("date"))
    paid = table["paid"].cast("date") if "paid" in table.columns else ibis.null("date")
    table = table.mutate(paid=(paid <= as_of).ifelse(paid, ibis.null("date")))
    until = table["paid"].fill_null(ibis.literal(as_of))
    table = table.mutate(open=table["paid"].isnull(), days_late=until.delta(table["due"], unit="day"))
    *limits, (oldest, _) = AGES.items()
    age = ibis.cases(*((table["days_late"] <= limit, name) for name, limit in limits), else_=oldest)
    return table.mutate(age=table["open"].ifelse(age, ibis.null("string")))
