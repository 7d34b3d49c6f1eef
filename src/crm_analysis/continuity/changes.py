"""Who looked after whom from when to when, when that changed, and which account managers left."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table

AROUND = 15  # days before and after the main day of a departure in which customers change because of it
MOST = 0.75  # share of an account manager's customers that change around one date when they leave
LEAST = 5  # customers of whom one can tell that


def spells(assignments: Table, *, as_of: dt.date) -> ir.Table:
    """Return from when to when each customer was looked after by whom, without overlaps.

    Of several account managers at a time the one assigned latest counts, then the first by name, as in
    `treatment.managers`: on each day the two say the same. Rows that follow each other with one manager are one spell;
    a day without anybody ends it. Rows that end before they begin count on no day.

    Parameters
    ----------
    assignments
        `customer_id`, `account_manager_id`, `start`, [`end`: the last day]; what begins after the as-of date is not
        read, and an end on that date or later is not known yet.
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        `customer_id`, `account_manager_id`, `start`, `end` (the last day; NULL: still so).
    """
    table = as_table(assignments)
    end = table["end"].cast("date") if "end" in table.columns else ibis.null("date")
    table = table.select(
        "customer_id", "account_manager_id", start=table["start"].cast("date"), end=(end < as_of).ifelse(end, None)
    )
    table = table.filter((table["start"] <= as_of) & (table["end"].isnull() | (table["end"] >= table["start"])))
    begun = table.select("customer_id", date="start")
    over = table.filter(table["end"].notnull()).select("customer_id", date=_moved(table["end"], 1))
    turns = begun.union(over, distinct=True)
    rows = table.rename(assigned_id="customer_id")
    there = [
        turns["customer_id"] == rows["assigned_id"],
        rows["start"] <= turns["date"],
        rows["end"].fill_null(ibis.date(9999, 12, 31)) >= turns["date"],
    ]
    found = turns.left_join(rows, there)
    latest = ibis.row_number().over(
        group_by=["customer_id", "date"], order_by=[ibis.desc("start"), ibis.asc("account_manager_id")]
    )
    found = found.mutate(_place=latest).filter(ibis._["_place"] == 0)
    found = found.select("customer_id", "account_manager_id", "date")
    in_time = ibis.window(group_by="customer_id", order_by="date")
    before = found["account_manager_id"].lag().over(in_time)
    turned = found["account_manager_id"].fill_null("") != before.fill_null("")
    found = found.mutate(_turned=turned).filter(ibis._["_turned"])
    found = found.mutate(end=_moved(found["date"].lead().over(in_time), -1))
    found = found.filter(found["account_manager_id"].notnull())
    return found.select("customer_id", "account_manager_id", start="date", end="end")


def departures(spells: Table, *, most: float = MOST, least: int = LEAST, around: int = AROUND) -> ir.Table:
    """Return the account managers who left: most of their customers changed on about one date.

    Whether somebody left the company or gave up these customers for another reason, the table of assignments does not
    say. Of one who left several times, the time with most customers is given, then the first.

    Parameters
    ----------
    spells
        Who looked after whom (see `spells`).
    most
        The share of their customers that must have changed.
    least
        How many customers must have changed.
    around
        Days before and after the day with most changes in which a change counts.

    Returns
    -------
    ibis.Table
        The latest first: `account_manager_id`, `left` (the last day with most of those who changed), `customers` (whom
        they had before) and `changed` (of these).
    """
    if not 0.5 < most <= 1 or least < 1 or around < 0:
        raise ValueError(
            "most is a share above 0.5, least at least 1 customer and around at least 0 days,"
            f" not {most}, {least} and {around}"
        )
    table, left = as_table(spells), _partings(spells)
    over = table.filter(table["end"].notnull())
    nothing, one = ibis.literal(0, "int64"), ibis.literal(1, "int64")
    parts = [
        table.select("account_manager_id", date="start", held=one, left=nothing),
        over.select("account_manager_id", date=_moved(over["end"], 1), held=-one, left=nothing),
        left.select(account_manager_id="from_manager", date="changed", held=nothing, left=one),
    ]
    days = ibis.union(*parts).group_by("account_manager_id", "date")
    days = days.aggregate(held=lambda t: t["held"].sum().cast("int64"), left=lambda t: t["left"].sum().cast("int64"))
    days = days.mutate(day=days["date"].delta(ibis.date(1970, 1, 1), unit="day"))
    near = ibis.window(group_by="account_manager_id", order_by="day", range=(-around, around))
    before = ibis.window(group_by="account_manager_id", order_by="day", range=(None, -around - 1))
    days = days.mutate(changed=days["left"].sum().over(near), held=days["held"].sum().over(before).fill_null(0))
    days = days.mutate(customers=ibis.greatest(days["held"], days["changed"]))
    days = days.filter(
        (days["left"] > 0) & (days["changed"] >= least) & (days["changed"] >= most * days["customers"] - 1e-9)
    )
    main = ibis.row_number().over(
        group_by="account_manager_id", order_by=[ibis.desc("changed"), ibis.desc("left"), ibis.asc("date")]
    )
    found = days.mutate(_place=main).filter(ibis._["_place"] == 0)
    found = found.select("account_manager_id", "customers", "changed", left=_moved(found["date"], -1))
    return found.relocate("left", after="account_manager_id").order_by(ibis.desc("left"), "account_manager_id")


def changes(spells: Table, departures: Table, *, as_of: dt.date, around: int = AROUND) -> ir.Table:
    """Return every change of an account manager.

    Who comes back to the same manager after some days without has not changed. Somebody whose manager is gone and who
    has nobody yet has.

    Parameters
    ----------
    spells
        Who looked after whom (see `spells`).
    departures
        The account managers who left (see `departures`).
    as_of
        The date of the analysis.
    around
        As `departures` took it.

    Returns
    -------
    ibis.Table
        `customer_id`, `from_manager`, `to_manager` (NULL: nobody so far), `since` (first day with the old one),
        `changed` (first day without), `begins` (first day with the new one), `days_without` anybody, and `kind`:
        `departure` where the old manager left around that date, else `single`.
    """
    left = as_table(departures).select(gone="account_manager_id", gone_on="left")
    found = _partings(spells)
    found = found.left_join(left, found["from_manager"] == left["gone"])
    apart = (found["changed"].delta(found["gone_on"], unit="day") - 1).abs()
    without = found["begins"].fill_null(_moved(ibis.literal(as_of), 1)).delta(found["changed"], unit="day")
    found = found.mutate(days_without=without, kind=(apart <= around).fill_null(False).ifelse("departure", "single"))
    return found.drop("gone", "gone_on")


def _partings(spells: Table) -> ir.Table:
    """Return where a customer and an account manager parted."""
    table = as_table(spells)
    in_time = ibis.window(group_by="customer_id", order_by="start")
    table = table.mutate(
        to_manager=table["account_manager_id"].lead().over(in_time), begins=table["start"].lead().over(in_time)
    )
    other = (table["to_manager"] != table["account_manager_id"]).fill_null(True)
    return table.filter(table["end"].notnull() & other).select(
        "customer_id",
        from_manager="account_manager_id",
        to_manager="to_manager",
        since="start",
        changed=_moved(ibis._["end"], 1),
        begins="begins",
    )


def _moved(date: ir.DateValue, days: int) -> ir.DateValue:
    """Return a date some days later; as a date, where engines make it a time."""
    return (date.cast("timestamp") + ibis.interval(days=days)).cast("date")
