"""What became of those on an earlier list, beside others who gave like reasons on that day."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import rates
from crm_analysis.call_list.crew import STATES, made
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

GROUPS = ("on the list", "not on the list")
BANDS = 5  # of equally many people, by what they were worth, in which those on the list are compared with others


def outcomes(
    listed: Table, placed: Table, worth: Table, contacts: Table | None = None, *, since: dt.date, as_of: dt.date
) -> ir.Table:
    """Return what those on a list, and others who could have been on it, have done since.

    Parameters
    ----------
    listed
        The list as it was published: `customer_id`, `worth`.
    placed
        The candidates of that day (see `placed`), which tell the kinds of reasons. For some of the others there was no
        time, or they had just been in contact; who must not be called or was worth nothing is left out.
    worth
        What customers bought and brought from the day after it to the as-of date (`periods.by_period`, one period).
    contacts
        Contacts by the as-of date; without them nobody is known to have been called.
    since
        The as-of date of the list; what happened later counts.
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        One row per person: `customer_id`, `kind` (NULL of who is on the list, but no candidate by the data as they are
        now), `worth`, `band` (fifth of all by that, 0 the best), `listed`, `called` (the company has been in touch by
        itself, other than to market something), `bought`, `value` (since; 0 of who did nothing).
    """
    if not since < as_of:
        raise ValueError(f"what became of a list of {since} is told by a later date, not by {as_of}")
    on, then = as_table(listed), as_table(placed)
    on = on.select("customer_id", worth=on["worth"].cast("float64"), listed=ibis.literal(True))
    off = then.filter(then["state"].isin(STATES[:3])).anti_join(on, "customer_id")
    table = on.union(off.select("customer_id", worth=off["worth"].cast("float64"), listed=ibis.literal(False)))
    why = then.select(why_id="customer_id", kind="kind")
    table = table.left_join(why, table["customer_id"] == why["why_id"]).drop("why_id")
    place = ibis.rank().over(order_by=ibis.desc("worth")) * BANDS // table.count().over(ibis.window())
    table = table.mutate(band=place.cast("int64"))
    after = as_table(worth).select(after_id="customer_id", purchases="purchases", value="value")
    table = table.left_join(after, table["customer_id"] == after["after_id"]).drop("after_id")
    table = table.mutate(bought=(table["purchases"] > 0).fill_null(False), value=table["value"].fill_null(0.0))
    if contacts is None:
        return table.drop("purchases").mutate(called=ibis.literal(False))
    calls = made(contacts)
    day = calls["time"].cast("date")
    calls = calls.filter((day > since) & (day <= as_of)).select("customer_id").distinct()
    return table.drop("purchases").mutate(called=table["customer_id"].isin(calls["customer_id"]))


def what_became(outcomes: Table) -> pd.DataFrame:
    """Return how many of each group were called and bought, and what they brought.

    Those called are not set beside those not called: agents call whom they know to be buying, and whoever has left is
    not called any more.

    Parameters
    ----------
    outcomes
        One row per person (see `outcomes`).

    Returns
    -------
    pandas.DataFrame
        One row for each of `GROUPS`: `group`, `customers`, `called`, `bought`, `rate` (of those who bought) and its
        95 % interval, `low` and `high` (NaN where there is nobody), `value` (since).
    """
    table = as_table(outcomes)
    group = table["listed"].ifelse(*GROUPS)
    found = table.group_by(group=group).aggregate(
        customers=table.count(),
        called=table["called"].cast("int64").sum(),
        bought=table["bought"].cast("int64").sum(),
        value=exact_sum(table["value"]).cast("float64"),
    )
    frame = found.to_pandas().set_index("group").reindex(GROUPS).fillna(0).reset_index()
    frame = rates.with_rates(frame.astype(dict.fromkeys(["customers", "called", "bought"], int)), "bought", "customers")
    return frame[["group", "customers", "called", "bought", "rate", "low", "high", "value"]]


def beside(outcomes: Table) -> rates.Difference:
    """Return how much more often those on the list bought than others, among like reasons and worth.

    Called or not: who of the list was called may depend on what they were about to buy anyway. The list was not drawn
    by lot, so the difference is an association and no proof.

    Raises `Unanswerable` where there is nobody on the list, or nobody else.
    """
    table = as_table(outcomes)
    groups = table.group_by("listed", "kind", "band").aggregate(
        customers=table.count(), returned=table["bought"].cast("int64").sum()
    )
    frame = groups.order_by("listed", "kind", "band").to_pandas()
    if frame["listed"].nunique() < 2:
        raise Unanswerable("There is nobody on the last list, or nobody else, so the two cannot be compared.")
    return rates.difference(frame, "listed", "kind", "band")


def missed(placed: Table, outcomes: Table) -> ir.Table:
    """Return who was on the list before, has not been called, and still gives a reason and may be called.

    Parameters
    ----------
    placed
        Today's candidates with their `state` (see `placed`).
    outcomes
        What became of the last list (see `outcomes`).

    Returns
    -------
    ibis.Table
        The columns of `placed`, the most valuable first.
    """
    table, before = as_table(placed), as_table(outcomes)
    waiting = before.filter(before["listed"] & ~before["called"])
    found = table.filter(table["state"].isin(STATES[:2]) & table["customer_id"].isin(waiting["customer_id"]))
    return found.order_by(ibis.desc("worth"), ibis.asc("customer_id"))
