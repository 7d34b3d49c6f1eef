"""Who is no lead: people once in contact and no longer, and customers who were never seen as leads."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.lifecycle import LEADS, leads
from crm_analysis.rates import with_rates


def fallen_silent(contacts: Table, bought: Table, *, as_of: dt.date, lead_days: int = 90) -> ir.Table:
    """Return each time that contact with somebody ended without a purchase: a lead became a non-customer.

    Parameters
    ----------
    contacts, bought
        Contacts and every purchase (see `panel`).
    as_of
        The date of the analysis.
    lead_days
        Days after a contact for which people are leads.

    Returns
    -------
    ibis.Table
        `customer_id`, `since` (the first day as a non-customer), `stage` before, `last_contact`, `next_contact` and
        `first_purchase` after that (NULL: none yet). A person may be there several times.
    """
    known = leads(contacts, lead_days=lead_days).rename(last_contact="date", since="until")
    person = ibis.window(group_by="customer_id", order_by="last_contact")
    known = known.mutate(next_contact=known["last_contact"].lead().over(person))
    firsts = as_table(bought)
    firsts = firsts.filter(firsts["number"] == 1).select(buyer_id="customer_id", first_purchase="date")
    known = known.left_join(firsts, [("customer_id", "buyer_id")])
    known = known.filter(
        known["since"] <= as_of,
        known["next_contact"].isnull() | (known["next_contact"] > known["since"]),
        known["first_purchase"].isnull() | (known["first_purchase"] >= known["since"]),
    )
    return known.select("customer_id", "since", "stage", "last_contact", "next_contact", "first_purchase")


def non_customers(silent: Table) -> int:
    """Return how many people are non-customers: once in contact, no longer, and no customers (see `fallen_silent`)."""
    table = as_table(silent)
    now = table.filter(table["next_contact"].isnull(), table["first_purchase"].isnull())
    return int(now["customer_id"].nunique().execute())


def became(silent: Table, *, as_of: dt.date, within_days: int = 365) -> pd.DataFrame:
    """Return what became of people with whom contact had ended.

    Parameters
    ----------
    silent
        Each time that it did (see `fallen_silent`).
    as_of
        The date of the analysis.
    within_days
        Days from then on in which something counts. Only who became a non-customer so long ago is looked at.

    Returns
    -------
    pandas.DataFrame
        By `stage` before: `people` (times), `bought` (of them, within these days), `contacted` (again, but did not
        buy), `nothing`, and the share who bought, `rate`, with its 95 % interval, `low` and `high`.
    """
    if within_days < 1:
        raise ValueError(f"what became of people is told for at least 1 day, not {within_days}")
    table = as_table(silent)
    table = table.filter(table["since"] <= as_of - dt.timedelta(days=within_days))
    end = table["since"] + ibis.interval(days=within_days)
    bought = (table["first_purchase"] < end).fill_null(False)
    again = (table["next_contact"] < end).fill_null(False) & ~bought
    counts = table.group_by("stage").aggregate(
        people=table.count(), bought=table.count(where=bought), contacted=table.count(where=again)
    )
    frame = counts.to_pandas().sort_values("stage", key=lambda c: c.map(LEADS.index), ignore_index=True)
    return with_rates(frame.assign(nothing=frame["people"] - frame["bought"] - frame["contacted"]), "bought", "people")


def not_from_leads(contacts: Table, bought: Table) -> dict[str, int]:
    """Return how many customers there are, and of how many the data hold no contact, or none before the purchase.

    Returns
    -------
    dict
        `customers`, `no_contact`, and `bought_first`: on the day of the first contact or before. Nobody could have
        known them as leads, so nothing is learnt from them.
    """
    first = as_table(bought)
    first = first.filter(first["number"] == 1).select("customer_id", bought="date")
    met = as_table(contacts)
    met = met.group_by(met_id="customer_id").aggregate(met=met["time"].cast("date").min())
    both = first.left_join(met, [("customer_id", "met_id")])
    counts = both.aggregate(
        customers=both.count(),
        no_contact=both.count(where=both["met"].isnull()),
        bought_first=both.count(where=both["met"] >= both["bought"]),
    )
    return {name: int(number) for name, number in counts.to_pandas().iloc[0].items()}
