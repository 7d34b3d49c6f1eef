"""Who calls whom: the most valuable first, as many as there is time for, and nobody who must not be called."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import treatment
from crm_analysis.call_list.reasons import KINDS
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

CALLABLE = ("", "no", "false", "0", "n", "f")  # in `do_not_call`: no objection to calls
STATES = ("on the list", "waiting", "too soon", "do not call", "worth nothing")


def barred(customers: Table | None) -> ir.Table | None:
    """Return the `customer_id` of those who do not want to be called; None where the table does not tell.

    In the column `do_not_call` anything but nothing, no, false, 0, n and f, in any case of letters, means so. It has no
    date: what was known of it last counts at every date.
    """
    if customers is None or "do_not_call" not in as_table(customers).columns:
        return None
    table = as_table(customers)
    said = table["do_not_call"].cast("string").strip().lower().fill_null("")
    return table.filter(said.notin(CALLABLE)).select("customer_id")


def made(contacts: Table) -> ir.Table:
    """Return the contacts that the company made by itself, without those to market something."""
    table = as_table(contacts)
    table = table.filter(table["purpose"] != "market")
    return table.filter(table["direction"].fill_null("out") == "out") if "direction" in table.columns else table


def managed(customers: Table | None, assignments: Table | None, as_of: dt.date) -> ir.Table | None:
    """Return who looks after each customer (see `treatment.managers`); None where no table tells."""
    try:
        return treatment.managers(customers, assignments, as_of)
    except Unanswerable:
        return None


def agents(contacts: Table | None, managed: Table | None, *, as_of: dt.date, active_days: int = 90) -> list[str]:
    """Return who makes calls: the agents of contacts that the company made in the last days; else the managers.

    Parameters
    ----------
    contacts
        Contacts by the as-of date.
    managed
        `customer_id` and `account_manager_id` (see `managed`).
    as_of
        The date of the analysis.
    active_days
        Days before it in which an agent has made a contact.

    Returns
    -------
    list of str
        In the order of their names; empty where nobody is known.
    """
    if active_days < 1:
        raise ValueError(f"an agent is active who made a contact within at least 1 day, not {active_days}")
    found: list[str] = []
    if contacts is not None and "agent_id" in as_table(contacts).columns:
        calls = made(contacts)
        calls = calls.filter(calls["time"].cast("date") > as_of - dt.timedelta(days=active_days))
        found = calls.select(agent="agent_id").distinct().to_pandas()["agent"].dropna().to_list()
    if not found and managed is not None:
        found = as_table(managed).select(agent="account_manager_id").distinct().to_pandas()["agent"].dropna().to_list()
    return sorted(found)


def placed(
    candidates: Table,
    agents: Sequence[str],
    managed: Table | None = None,
    barred: Table | None = None,
    *,
    as_of: dt.date,
    calls_a_day: int,
    days: int,
    min_days_between: int,
) -> ir.Table:
    """Return who is to be called in the next days, and by whom.

    Of those who may be called the most valuable are chosen, as many as the agents have time for. Whoever has an active
    account manager is called by that one, or waits. All others are given to the agents with most time left, the most
    valuable first. No other choice within these limits is worth more.

    Parameters
    ----------
    candidates
        One row per customer (see `candidates`).
    agents
        Who makes calls (see `agents`); with nobody there is one list, of `nobody`.
    managed
        Their account managers (see `managed`); those who are no agents do not count.
    barred
        The `customer_id` of those who must not be called (see `barred`).
    as_of
        The date of the analysis.
    calls_a_day, days
        Calls that an agent makes on a working day, and the working days that the list is for.
    min_days_between
        Who was in contact less than so many days ago is left alone.

    Returns
    -------
    ibis.Table
        The candidates, the most valuable first, with `state` (a name of `STATES`: on the list; waiting for time of the
        agents; too soon after the last contact; do not call; worth nothing) and `agent_id` (NULL of who is not on the
        list). Who is of several states has that which excludes first: do not call, too soon, worth nothing.
    """
    if min(calls_a_day, days) < 1:
        raise ValueError(f"there is at least 1 call a day on at least 1 day, not {calls_a_day} on {days}")
    if min_days_between < 0:
        raise ValueError(f"there are at least 0 days between two contacts, not {min_days_between}")
    crew, capacity = sorted(set(agents)) or [treatment.NOBODY], calls_a_day * days
    table = _with_manager(as_table(candidates), managed, crew)
    refused = ibis.literal(False) if barred is None else table["customer_id"].isin(as_table(barred)["customer_id"])
    recent = ibis.literal(as_of).delta(table["last_contact"], unit="day") < min_days_between
    table = table.mutate(
        state=ibis.cases(
            (refused, "do not call"),
            (recent.fill_null(False), "too soon"),
            ((table["worth"] > 0).fill_null(False), "waiting"),
            else_="worth nothing",
        )
    )
    best = [ibis.desc("worth"), ibis.asc("customer_id")]
    within = ibis.row_number().over(group_by=["state", "manager"], order_by=best) < capacity
    table = table.mutate(fits=(table["state"] == "waiting") & (table["manager"].isnull() | within))
    among = ibis.row_number().over(group_by="fits", order_by=best) < capacity * len(crew)
    table = table.mutate(listed=table["fits"] & among)
    # Those without a manager, by their number, get the free places: of each agent the one above those already taken.
    number = ibis.row_number().over(group_by=["listed", table["manager"].isnull()], order_by=best)
    table = table.mutate(number=(table["listed"] & table["manager"].isnull()).ifelse(number, ibis.null("int64")))
    places = _free_places(table, crew, capacity)
    table = table.left_join(places, table["number"] == places["free"])
    table = table.mutate(
        agent_id=table["listed"].ifelse(ibis.coalesce(table["manager"], table["free_agent"]), ibis.null("string")),
        state=table["listed"].ifelse("on the list", table["state"]),
    )
    return table.select(*as_table(candidates).columns, "state", "agent_id").order_by(best)


def by_state(placed: Table) -> pd.DataFrame:
    """Return how many candidates are in each of `STATES` and what they are worth: `state`, `customers`, `worth`."""
    return (
        _counted(placed, "state").set_index("state").reindex(STATES).fillna(0).astype({"customers": int}).reset_index()
    )


def by_agent(placed: Table) -> pd.DataFrame:
    """Return what each agent's list holds, by name: `agent_id`, `customers`, `worth`."""
    table = as_table(placed)
    return _counted(table.filter(table["agent_id"].notnull()), "agent_id")


def by_kind(placed: Table) -> pd.DataFrame:
    """Return why those on the list are called, in the order of `KINDS`: `kind`, `purpose`, `customers`, `worth`."""
    table = as_table(placed)
    frame = _counted(table.filter(table["agent_id"].notnull()), "kind")
    frame.insert(1, "purpose", frame["kind"].map(KINDS))
    return frame.sort_values("kind", key=lambda kinds: kinds.map([*KINDS].index), ignore_index=True)


def _counted(table: Table, by: str) -> pd.DataFrame:
    groups = as_table(table).group_by(by)
    found = groups.aggregate(customers=lambda t: t.count(), worth=lambda t: exact_sum(t["worth"]).cast("float64"))
    return found.order_by(by).to_pandas()


def _with_manager(table: ir.Table, managed: Table | None, crew: list[str]) -> ir.Table:
    """Add the `manager` of each customer who has one that makes calls."""
    if managed is None:
        return table.mutate(manager=ibis.null("string"))
    owner = as_table(managed).select(owned_id="customer_id", manager="account_manager_id")
    owner = owner.filter(owner["manager"].isin(crew))
    return table.left_join(owner, table["customer_id"] == owner["owned_id"]).drop("owned_id")


def _free_places(table: ir.Table, crew: list[str], capacity: int) -> ir.Table:
    """Return the places that agents have left, numbered by turns, those first who have fewest taken."""
    taken = table.filter(table["listed"]).group_by(busy="manager").aggregate(taken=lambda t: t.count())
    who = ibis.array(crew).unnest().name("free_agent").as_table()  # not a memtable: not every engine joins it
    who = who.left_join(taken, who["free_agent"] == taken["busy"])
    who = who.select("free_agent", taken=who["taken"].fill_null(0))
    numbers = table.filter(table["number"].notnull()).select(turn="number")
    places = who.cross_join(numbers)
    # Nobody's turn comes later than the number of those to be given away, however much time there is.
    places = places.mutate(place=places["taken"] + places["turn"]).filter(lambda t: t["place"] < capacity)
    order = [ibis.asc("place"), ibis.asc("free_agent")]
    return places.select("free_agent", free=ibis.row_number().over(order_by=order))
