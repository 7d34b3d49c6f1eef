"""How long callers wait, when, and who hangs up."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.calls.compared import compared
from crm_analysis.calls.conversion import with_all_columns
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import with_rates

NAMES = {
    "hour": [f"{hour}:00" for hour in range(24)],
    "weekday": [f"{day}s" for day in calendar.day_name],
    "month": list(calendar.month_name),
}
TIMES = [*NAMES]


def incoming(contacts: Table, *, service_seconds: float, hung_up: Sequence[str]) -> ir.Table:
    """Return the calls that came in and have a waiting time; 0 is one, too.

    Parameters
    ----------
    contacts
        Contacts of the time looked at: those with `wait_seconds` that did not go out.
    service_seconds
        Nobody should wait longer than this.
    hung_up
        The outcomes that mean that the caller hung up, in any case of letters.

    Returns
    -------
    ibis.Table
        One row per call: `contact_id`, `wait_seconds`, `date`, `hour` (0 to 23), `weekday` (0: Monday), `month` (1 to
        12), as the times in the data are; `longer` (than `service_seconds`), `hung_up`.
    """
    if service_seconds < 0:
        raise ValueError(f"service_seconds must be at least 0, not {service_seconds}")
    table = with_all_columns(contacts)
    table = table.filter((table["direction"] != "out").fill_null(True), table["wait_seconds"] >= 0)
    time = table["time"]
    return table.select(
        "contact_id",
        "wait_seconds",
        date=time.cast("date"),
        hour=time.hour(),
        weekday=time.day_of_week.index(),
        month=time.month(),
        longer=table["wait_seconds"] > service_seconds,
        hung_up=is_hung_up(table, hung_up),
    )


def waiting(calls: Table, *by: str) -> pd.DataFrame:
    """Return how long callers waited.

    Parameters
    ----------
    calls
        Calls that came in (see `incoming`).
    by
        `hour`, `weekday`, `month`, or nothing: all calls together.

    Returns
    -------
    pandas.DataFrame
        `by` in order, `calls`, `median` and `most` (which nine in ten do not exceed) of the seconds, `longer` (calls
        that waited longer than they should), `hung_up`, `rate` (of `longer`) with its 95 % interval, `low` and `high`.

    Raises
    ------
    Unanswerable
        No call has a waiting time.
    """
    table = as_table(calls)
    seconds = table["wait_seconds"]
    found = (table.group_by([*by]) if by else table).aggregate(
        calls=table.count(),
        median=seconds.quantile(0.5),
        most=seconds.quantile(0.9),
        longer=table.count(where=table["longer"]),
        hung_up=table.count(where=table["hung_up"]),
    )
    frame = (found.order_by([*by]) if by else found).to_pandas()
    if not frame["calls"].sum():
        raise Unanswerable("No call that came in has a waiting time in this period.")
    return with_rates(frame, "longer", "calls")


def slow_times(calls: Table) -> pd.DataFrame:
    """Return in which hours, on which weekdays and in which months callers wait too long more, or less, often.

    Each is compared with all others among calls alike in the other two; see `compared`.

    Parameters
    ----------
    calls
        Calls that came in (see `incoming`).

    Returns
    -------
    pandas.DataFrame
        One row per hour, weekday and month with a call, in order: `by` (which of the three), `name` (`10:00`,
        `Mondays`, `April`), `calls`, and what `compared` tells of `longer`.
    """
    table = as_table(calls)
    counted = table.group_by(TIMES).aggregate(calls=table.count(), longer=table.count(where=table["longer"]))
    frame = counted.order_by(TIMES).to_pandas()
    parts = [
        compared(frame, by, [other for other in TIMES if other != by], part="longer", whole="calls")
        .assign(by=by, name=lambda f, by=by: [NAMES[by][at] for at in f[by]])
        .drop(columns=by)
        for by in TIMES
    ]
    return pd.concat(parts, ignore_index=True)


def hang_ups(calls: Table, bands: Sequence[float]) -> pd.DataFrame:
    """Return which share of the callers hung up, by how long they waited.

    Parameters
    ----------
    calls
        Calls that came in (see `incoming`).
    bands
        The seconds at which a band ends and the next begins, upwards.

    Returns
    -------
    pandas.DataFrame
        One row per band with a call: `waited` (the seconds, in words), `calls`, `hung_up`, `rate` with its 95 %
        interval, `low` and `high`.

    Raises
    ------
    Unanswerable
        Nobody hung up, so that it is not known whether that is recorded.
    """
    ends = [*bands]
    if not ends or sorted({end for end in ends if end > 0}) != ends:
        raise ValueError(f"the bands of waiting end at numbers of seconds above 0 that rise, not at {ends}")
    names = [f"up to {ends[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(ends))]
    names.append(f"over {ends[-1]:g}")
    table = as_table(calls)
    band = ibis.cases(*((table["wait_seconds"] <= end, at) for at, end in enumerate(ends)), else_=len(ends))
    found = table.group_by(band=band).aggregate(calls=table.count(), hung_up=table.count(where=table["hung_up"]))
    frame = found.order_by("band").to_pandas()
    if not frame["hung_up"].sum():
        raise Unanswerable("No call in this period has an outcome that says that the caller hung up.")
    return with_rates(frame.assign(waited=[names[at] for at in frame["band"]]).drop(columns="band"), "hung_up", "calls")


def not_called_back(
    contacts: Table, worth: Table, *, hung_up: Sequence[str], as_of: dt.date, within_days: int
) -> ir.Table:
    """Return callers who hung up and with whom there was no contact since.

    Parameters
    ----------
    contacts
        Contacts up to the as-of date.
    worth
        What customers brought: `customer_id`, `value`.
    hung_up
        The outcomes that mean that the caller hung up, in any case of letters.
    as_of
        The date of the analysis.
    within_days
        Days before it in which they called; what is older is not worth a call any more.

    Returns
    -------
    ibis.Table
        One row per customer, the most valuable first: `customer_id`, `value` (0 of those without any), `called` (the
        date of the last such call), `waited` (seconds; NULL where not known), `purpose`, `calls` (in vain since the
        last contact that took place).
    """
    table = with_all_columns(contacts)
    vain = is_hung_up(table, hung_up) & (table["direction"] != "out").fill_null(True)
    table = table.mutate(vain=vain, late=table["time"].cast("date") > as_of - dt.timedelta(days=within_days))
    callers = table.filter("vain", "late").select(caller_id="customer_id").distinct()
    table = table.semi_join(callers, [("customer_id", "caller_id")])
    latest = ibis.window(group_by="customer_id", order_by=[ibis.desc("time"), ibis.desc("contact_id")])
    place = table.mutate(place=ibis.row_number().over(latest))
    place = place.mutate(
        met=place["vain"].ifelse(ibis.null("int64"), place["place"]).min().over(group_by="customer_id")
    )
    open_calls = place.filter("vain", (place["place"] < place["met"]).fill_null(True))
    last = open_calls.filter("late", open_calls["place"] == 0)
    often = open_calls.group_by(often_id="customer_id").aggregate(calls=open_calls.count())
    value = as_table(worth).select(worth_id="customer_id", value="value")
    found = last.inner_join(often, [("customer_id", "often_id")]).left_join(value, [("customer_id", "worth_id")])
    found = found.select(
        "customer_id",
        "purpose",
        "calls",
        value=found["value"].fill_null(0.0),
        called=found["time"].cast("date"),
        waited="wait_seconds",
    )
    ordered = found.select("customer_id", "value", "called", "waited", "purpose", "calls")
    return ordered.order_by(ibis.desc("value"), ibis.asc("customer_id"))


def is_hung_up(contacts: ir.Table, words: Sequence[str]) -> ir.BooleanValue:
    """Whether the outcome of a contact is one of the words, in any case of letters."""
    return contacts["outcome"].lower().isin([word.lower() for word in words]).fill_null(False)
