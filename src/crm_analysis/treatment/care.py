"""Who is due for a visit or a call, and how the key customers are spread over the account managers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import pyramid
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

CADENCE = (30, 60, 180, 0)
NOBODY = "nobody"


def visits_due(tiered: Table, contacts: Table, cadence: Sequence[int] = CADENCE, *, as_of: dt.date) -> ir.Table:
    """Return when the company last got in touch with each customer, and whether that is too long ago for the tier.

    Calls that customers make, and contacts to market something, are no care for them and do not count; without a
    `direction` all others do. Of who was never contacted, the days are counted from the first purchase.

    Parameters
    ----------
    tiered
        One row per customer with `customer_id`, `first_purchase`, `value` and `tier`.
    contacts
        Contacts by the as-of date.
    cadence
        The most days between two contacts with each tier, best first; 0 where none is asked for.
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        `customer_id`, `tier`, `value`, `last_contact` (NULL: never), `days_since`, `cadence`, `days_overdue` (past the
        cadence; 0 of who is not due) and `due`. Who never purchased and was never contacted is not due.
    """
    if len(cadence) != len(pyramid.TIERS) or min(cadence) < 0:
        raise ValueError(f"each of the {len(pyramid.TIERS)} tiers has a cadence of at least 0 days, not {cadence}")
    made = as_table(contacts)
    made = made.filter(made["purpose"] != "market")
    if "direction" in made.columns:
        made = made.filter(made["direction"].fill_null("out") == "out")
    last = made.group_by(met_id="customer_id").aggregate(last_contact=made["time"].cast("date").max())
    table = as_table(tiered).select("customer_id", "first_purchase", "tier", "value")
    table = table.left_join(last, table["customer_id"] == last["met_id"]).drop("met_id")
    since = ibis.coalesce(table["last_contact"], table["first_purchase"].cast("date"))
    days = dict(zip(pyramid.TIERS, cadence, strict=True))
    table = table.mutate(
        days_since=ibis.literal(as_of).delta(since, unit="day"),
        cadence=ibis.cases(*((table["tier"] == tier, limit) for tier, limit in days.items()), else_=0),
    )
    due = ((table["cadence"] > 0) & (table["days_since"] > table["cadence"])).fill_null(False)
    return table.drop("first_purchase").mutate(
        days_overdue=due.ifelse(table["days_since"] - table["cadence"], 0), due=due
    )


def in_cadence(visits: Table, cadence: Sequence[int] = CADENCE) -> pd.DataFrame:
    """Return how many customers of each tier are due: all four tiers, best first.

    Parameters
    ----------
    visits
        Who is due (see `visits_due`).
    cadence
        What they were judged by.

    Returns
    -------
    pandas.DataFrame
        `tier`, `cadence` (days), `customers`, `within` (not due), `due`, `value_due` (what these brought).
    """
    table = as_table(visits)
    found = table.group_by("tier").aggregate(
        customers=table.count(),
        due=table["due"].cast("int64").sum(),
        value_due=exact_sum(table["due"].ifelse(table["value"], 0)).cast("float64"),
    )
    frame = found.to_pandas().set_index("tier").reindex(pyramid.TIERS).rename_axis("tier").fillna(0)
    frame = frame.astype({"customers": int, "due": int}).reset_index()
    frame.insert(1, "cadence", [*cadence])
    frame.insert(3, "within", frame["customers"] - frame["due"])
    return frame


def managers(customers: Table | None, assignments: Table | None, as_of: dt.date) -> ir.Table:
    """Return who looks after each customer on the as-of date: `customer_id`, `account_manager_id`.

    Parameters
    ----------
    customers
        The table of customers; its `account_manager_id` counts where nobody is assigned to anyone.
    assignments
        Who was assigned from when to when; of several at a time the latest counts, then the first by name.
    as_of
        The date of the analysis.

    Raises `Unanswerable` if there is neither.
    """
    if assignments is not None:
        table = as_table(assignments)
        still = table["end"].isnull() | (table["end"].cast("date") >= as_of) if "end" in table.columns else True
        table = table.filter((table["start"].cast("date") <= as_of) & still)
        order = ibis.row_number().over(
            group_by="customer_id", order_by=[ibis.desc("start"), ibis.asc("account_manager_id")]
        )
        table = table.mutate(_place=order)
        return table.filter(table["_place"] == 0).select("customer_id", "account_manager_id")
    if customers is None or "account_manager_id" not in as_table(customers).columns:
        raise Unanswerable("This needs the table 'assignments', or the column 'account_manager_id' of 'customers'.")
    table = as_table(customers)
    return table.filter(table["account_manager_id"].notnull()).select("customer_id", "account_manager_id")


def load(warned: Table, managers: Table, visits: Table | None = None, *, most_accounts: int) -> pd.DataFrame:
    """Return how many key customers each account manager has, and how they are looked after.

    Parameters
    ----------
    warned
        Key customers with their number of `signs` (see `warned`).
    managers
        `customer_id`, `account_manager_id` (see `managers`).
    visits
        Who is due (see `visits_due`), where contacts are known.
    most_accounts
        Key customers that one manager can look after.

    Returns
    -------
    pandas.DataFrame
        Those first whose customers with a warning sign are worth most: `account_manager_id` (`nobody` for key
        customers without), `key_customers`, `value`, `with_signs` and `value_warned` (of those with a warning sign),
        `due` (where contacts are known), `too_many` (key customers above what one can look after; 0 of nobody's).
    """
    if most_accounts < 1:
        raise ValueError(f"an account manager can look after at least 1 customer, not {most_accounts}")
    key = as_table(warned).select("customer_id", "value", "signs")
    owner = as_table(managers).select(owned_id="customer_id", account_manager_id="account_manager_id")
    key = key.left_join(owner, key["customer_id"] == owner["owned_id"]).drop("owned_id")
    key = key.mutate(account_manager_id=key["account_manager_id"].fill_null(NOBODY))
    counted = {}
    if visits is not None:
        late = as_table(visits)
        late = late.filter(late["tier"].isin(pyramid.KEY) & late["due"]).select(late_id="customer_id")
        key = key.left_join(late, key["customer_id"] == late["late_id"])
        counted["due"] = key["late_id"].count()
    marked = key["signs"] > 0
    found = key.group_by("account_manager_id").aggregate(
        key_customers=key["customer_id"].count(),
        value=exact_sum(key["value"]).cast("float64"),
        with_signs=marked.cast("int64").sum(),
        value_warned=exact_sum(marked.ifelse(key["value"], 0)).cast("float64"),
        **counted,
    )
    frame = found.order_by(ibis.desc("value_warned"), ibis.desc("value"), "account_manager_id").to_pandas()
    above = (frame["key_customers"] - most_accounts).clip(lower=0)
    return frame.assign(too_many=above.where(frame["account_manager_id"] != NOBODY, 0).astype(int))
