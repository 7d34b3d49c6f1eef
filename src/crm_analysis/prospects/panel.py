"""What was known of every lead at each decision date, and who bought soon after it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle import leads

ATTRIBUTES = ("kind", "acquired_via", "region")  # of the customers table, known before anybody buys
STEP = 30  # days from one decision date to the next
CONTACTS = (1, 2, 3, 4, 5, 6, 7, 8)  # so far, and days since the last and the first contact, at which a band begins
SILENCE = (0, 7, 14, 30, 60)
KNOWN = (0, 30, 90, 180, 365)
UNKNOWN = "not recorded"


def decision_dates(first: dt.date, as_of: dt.date, *, horizon_days: int = 90, lead_days: int = 90) -> list[dt.date]:
    """Return the dates at which past leads are looked at: every 30 days, the last one a horizon before the as-of date.

    They begin `lead_days` after the log, because before that people who are customers already look like leads.

    Parameters
    ----------
    first
        The first date of the transactions.
    as_of
        The date of the analysis.
    horizon_days, lead_days
        Days after a date in which a first purchase counts; days after a contact in which people are leads.

    Raises
    ------
    Unanswerable
        The log is too short for a single date.
    """
    if horizon_days < 1:
        raise ValueError(f"a first purchase counts for at least 1 day after a decision date, not {horizon_days}")
    last, start = as_of - dt.timedelta(days=horizon_days), first + dt.timedelta(days=lead_days)
    if last < start:
        raise Unanswerable(
            f"What became of leads is known from {lead_days + horizon_days} days of transactions on;"
            f" these begin on {first} and end by {as_of}."
        )
    return [last - dt.timedelta(days=STEP * n) for n in range((last - start).days // STEP, -1, -1)]


def panel(
    contacts: Table,
    bought: Table,
    customers: Table | None = None,
    *,
    dates: Sequence[dt.date],
    horizon_days: int = 90,
    lead_days: int = 90,
    attributes: Sequence[str] = ATTRIBUTES,
) -> ir.Table:
    """Return all leads at each date, with what was known of them then: nothing later is in their features.

    A lead has been in contact within `lead_days` (see `lifecycle.leads`) and has not bought by that date. Every feature
    is a category, so that leads alike in all of them can be counted together.

    Parameters
    ----------
    contacts
        `contact_id`, `customer_id`, `time`, `purpose` and, if they are there, `interest` and `outcome`.
    bought
        Every purchase (see `customers.purchases`).
    customers
        The customers table, for attributes.
    dates
        The decision dates.
    horizon_days, lead_days
        See `decision_dates`.
    attributes
        Columns of the customers table to tell leads apart by; those that are not there are left out. They have to be
        recorded before a purchase, because they have no date: never a status, or who looks after a customer, and
        nothing that is filled in or corrected only once somebody buys, which would give the purchase away.

    Returns
    -------
    ibis.Table
        One row per date and lead: `customer_id`, `at` (the date), `stage` (`prospect` or `target`), `contacts` (by
        then), `last_contact`; the features (see `features`): `contacts_so_far`, `last_contact_days`, `known_days`,
        and, if known, `last_interest`, `earlier_interest` (the highest before the last contact) and `last_outcome` of
        the contacts, and the attributes; `converted` (whether the first purchase came within the horizon; it means
        something only where that has ended by the end of the log).
    """
    talked = as_table(contacts)
    talked = talked.mutate(date=talked["time"].cast("date"))
    order = {"group_by": "customer_id", "order_by": ["time", "contact_id"]}
    so_far, in_order = ibis.cumulative_window(**order), ibis.window(**order)
    # Not the purpose of the last contact: where it goes with their number (first market, then prospecting, then sales),
    # nothing can tell which of the two is the reason. In the sample company the scores are the same without it.
    known = {}
    if "interest" in talked.columns:
        known["last_interest"] = _told(talked["interest"])
        earlier = ibis.window(**order, preceding=(None, 1), following=None)
        known["earlier_interest"] = _told(talked["interest"].max().over(earlier))
    if "outcome" in talked.columns:
        known["last_outcome"] = _told(talked["outcome"])
    states = talked.select(
        "customer_id",
        "date",
        contacts=ibis.row_number().over(in_order) + 1,
        first_contact=talked["date"].min().over(so_far),
        next_date=talked["date"].lead().over(in_order),
        **known,
    )
    states = states.filter(states["next_date"].isnull() | (states["next_date"] > states["date"])).drop("next_date")
    stages = leads(talked, lead_days=lead_days).rename(lead_id="customer_id", lead_date="date")
    states = states.inner_join(stages, [("customer_id", "lead_id"), ("date", "lead_date")])
    days = ibis.array(list(dates)).unnest().name("at").as_table()  # not a memtable, which not every engine can join
    rows = states.inner_join(days, [states["date"] <= days["at"], states["until"] > days["at"]])
    firsts = as_table(bought)
    firsts = firsts.filter(firsts["number"] == 1).select(buyer_id="customer_id", first="date")
    rows = rows.left_join(firsts, [("customer_id", "buyer_id")])
    rows = rows.filter(rows["first"].isnull() | (rows["first"] > rows["at"]))
    told = [name for name in attributes if customers is not None and name in as_table(customers).columns]
    if told:
        people = as_table(customers)
        people = people.select(person_id="customer_id", **{name: _told(people[name]) for name in told})
        rows = rows.left_join(people, [("customer_id", "person_id")])
    return rows.select(
        *("customer_id", "at", "stage", "contacts"),
        last_contact="date",
        contacts_so_far=_band(rows["contacts"], CONTACTS),
        last_contact_days=_band(rows["at"].delta(rows["date"], unit="day"), SILENCE),
        known_days=_band(rows["at"].delta(rows["first_contact"], unit="day"), KNOWN),
        **{name: rows[name] for name in known},
        **{name: rows[name].fill_null(UNKNOWN) for name in told},
        converted=(rows["first"] <= rows["at"] + ibis.interval(days=horizon_days)).fill_null(False),
    )


def features(panel: Table) -> list[str]:
    """Return the names of the columns that leads are told apart by."""
    columns = as_table(panel).columns
    return [*columns[columns.index("last_contact") + 1 : columns.index("converted")]]


def _told(column: ir.Value) -> ir.StringValue:
    return column.cast("string").fill_null(UNKNOWN)


def _band(number: ir.NumericValue, starts: Sequence[int]) -> ir.StringValue:
    """Return the band a number lies in: `7–13`, `5`, `60 or more`."""
    names = [str(low) if high - low == 1 else f"{low}–{high - 1}" for low, high in pairwise(starts)]
    return ibis.cases(
        *((number < high, name) for high, name in zip(starts[1:], names, strict=True)),
        else_=f"{starts[-1]} or more",
    )
