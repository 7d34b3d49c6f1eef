"""What customers owe, how old it is, and how late they pay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum

AGES = {"1 to 30 days": 30, "31 to 60 days": 60, "61 to 90 days": 90, "over 90 days": None}  # overdue, up to
LOSS_RATES = (0.02, 0.10, 0.25, 0.50)  # which share of what is open at each age is not expected to be paid any more
HABIT = 3  # months from which invoices must be, so that paying late is a habit and not one bad month


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
        to the as-of date while it is open; below 0 if paid early) and `age` of what is overdue: open, and due before
        the as-of date (a name of `AGES`, else NULL). A credit (an amount below 0) is in it like an invoice.
    """
    table = as_table(payments)
    table = table.mutate(due=table["due"].cast("date"))
    paid = table["paid"].cast("date") if "paid" in table.columns else ibis.null("date")
    table = table.mutate(paid=(paid <= as_of).ifelse(paid, ibis.null("date")))
    until = table["paid"].fill_null(ibis.literal(as_of))
    table = table.mutate(open=table["paid"].isnull(), days_late=until.delta(table["due"], unit="day"))
    *limits, (oldest, _) = AGES.items()
    age = ibis.cases(*((table["days_late"] <= limit, name) for name, limit in limits), else_=oldest)
    return table.mutate(age=(table["open"] & (table["days_late"] > 0)).ifelse(age, ibis.null("string")))


def aged(invoices: Table, loss_rates: Sequence[float] = LOSS_RATES) -> pd.DataFrame:
    """Return what is overdue by how long it is so, and how much of it is at risk.

    Parameters
    ----------
    invoices
        What has fallen due (see `invoices`).
    loss_rates
        The share of what is open at each of `AGES` that is not expected to be paid any more.

    Returns
    -------
    pandas.DataFrame
        One row for each of `AGES`: `age`, `invoices` (one due in parts counts once at each age), `customers`, `owed`
        (credits taken off), `loss_rate`, `at_risk`.
    """
    rates = _rates(loss_rates)
    table = as_table(invoices)
    found = (
        table.filter(table["age"].notnull())
        .group_by("age")
        .aggregate(
            invoices=lambda t: t["order_id"].nunique(),
            customers=lambda t: t["customer_id"].nunique(),
            owed=lambda t: exact_sum(t["amount"]).cast("float64"),
        )
        .to_pandas()
        .set_index("age")
        .reindex([*AGES], fill_value=0)
        .rename_axis("age")
        .reset_index()
    )
    found = found.assign(owed=found["owed"].astype(float), loss_rate=found["age"].map(rates))
    return found.assign(at_risk=found["owed"] * found["loss_rate"])


def by_customer(
    invoices: Table, loss_rates: Sequence[float] = LOSS_RATES, *, since: dt.date, late_days: int = 30
) -> ir.Table:
    """Return what each customer owes, how much of it is at risk, and how they pay.

    Parameters
    ----------
    invoices
        What has fallen due (see `invoices`).
    loss_rates
        See `aged`.
    since
        How customers pay is judged by what has fallen due after this date, and by what is overdue, whatever its age.
    late_days
        Days past due beyond which an invoice is late, paid or not.

    Returns
    -------
    ibis.Table
        One row per customer with an invoice: `customer_id`; `owed` (overdue) and `at_risk` (money, credits taken off),
        `oldest` (days that the oldest invoice is overdue; NULL if none is); of what has fallen due since or is overdue,
        credits left out: `invoices`, `late` (how many of them; one paid in parts counts once, and is late if a part
        is), `months` (of how many different months they are), `days_late` (from due to paid or to now, weighted by
        amount; below 0 if paid early), and `bad_payer`: whether paying late is a habit, which takes invoices of at
        least three months, of which at least half are late.
    """
    if late_days < 0:
        raise ValueError(f"an invoice is late after at least 0 days, not {late_days}")
    rates = _rates(loss_rates)
    table = as_table(invoices)
    amount, overdue = table["amount"], table["age"].notnull()
    lost = amount * ibis.cases(*((table["age"] == age, rate) for age, rate in rates.items()), else_=0.0)
    judged = ((table["due"] > since) | overdue) & (amount > 0)
    weighed = exact_sum(judged.ifelse(amount * table["days_late"], 0)).cast("float64")
    month = table["due"].year() * 12 + table["due"].month()
    found = table.group_by("customer_id").aggregate(
        owed=exact_sum(overdue.ifelse(amount, 0)).cast("float64"),
        at_risk=exact_sum(lost).cast("float64"),
        oldest=table["days_late"].max(where=overdue & (amount > 0)),
        invoices=table["order_id"].nunique(where=judged),
        late=table["order_id"].nunique(where=judged & (table["days_late"] > late_days)),
        months=month.nunique(where=judged),
        days_late=weighed / exact_sum(judged.ifelse(amount, 0)).cast("float64").nullif(0),
    )
    return found.mutate(bad_payer=(found["months"] >= HABIT) & (found["late"] * 2 >= found["invoices"]))


def days_overdue(invoices: Table, since: dt.date, as_of: dt.date) -> float:
    """Return what is overdue in days of sales: how many days' invoices are past due and not paid.

    Of the days sales outstanding it is the part that is late; what is not due yet is in no invoice here.

    Parameters
    ----------
    invoices
        What has fallen due by the as-of date (see `invoices`).
    since, as_of
        The sales are those that fell due after the one and up to the other date.

    Returns
    -------
    float
        NaN if nothing fell due in between.
    """
    table = as_table(invoices)
    amount = table["amount"]
    found = table.aggregate(
        owed=exact_sum(table["age"].notnull().ifelse(amount, 0)).cast("float64"),
        sold=exact_sum((table["due"] > since).ifelse(amount, 0)).cast("float64"),
    )
    owed, sold = found.to_pandas().iloc[0]
    return float(owed / sold * (as_of - since).days) if sold > 0 else float("nan")


def _rates(loss_rates: Sequence[float]) -> dict[str, float]:
    if len(loss_rates) != len(AGES) or not all(0 <= rate <= 1 for rate in loss_rates):
        raise ValueError(f"each of the {len(AGES)} ages has a loss rate from 0 to 1, not {[*loss_rates]}")
    return dict(zip(AGES, map(float, loss_rates), strict=True))
