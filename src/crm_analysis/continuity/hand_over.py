"""Whom a change of the account manager has probably cost, and how to hand customers over."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

RHYTHM = 3  # purchases under the old account manager from which there is a rhythm
MISSED = 3  # purchases that the rhythm would have led to since
USUAL = 0.05  # how probable the last pause before the change must have been: rarer ones are no rhythm
YEAR = 365


def lost_with_manager(
    bought: Table, changes: Table, *, as_of: dt.date, grace_days: int = 14, false_share: float = 0.05
) -> ir.Table:
    """Return the customers who bought regularly until their account manager changed, and have not bought since.

    Looked at are customers who had bought on three days or more before the change and were in their rhythm then (their
    last pause was not one of the longest 5 %). Of these the list has those whose rhythm would have led to three
    purchases or more since, and whose silence is too long for chance.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    changes
        Changes of account managers (see `changes`); of several of a customer the first that fits is listed.
    as_of
        The date of the analysis.
    grace_days
        Days after the change in which a purchase may have been agreed on with the old manager.
    false_share
        Which share of the list may at most be there by chance: customers who in truth go on as before.

    Returns
    -------
    ibis.Table
        Most money at stake first: `customer_id`, `value_before` (of the year before the change), `from_manager`,
        `to_manager`, `changed`, `kind`, `last_purchase`, `usual_gap` (days), `missed` (purchases that the rhythm would
        have led to) and `chance` (of buying nothing for so long).

    Notes
    -----
    With k purchases in T days after the first one, the chance of none in s days more is (T / (T + s))^k: purchases at
    random with a rate that is known only from these k (negative binomial). The share of false ones is controlled by the
    procedure of Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, over all customers looked at.
    """
    if not 0 < false_share < 1:
        raise ValueError(f"false_share is between 0 and 1, not {false_share}")
    each = regular(bought, changes, as_of=as_of, grace_days=grace_days)
    place = ibis.rank().over(order_by="chance") + 1
    rows = each["customer_id"].count().over(ibis.window())
    each = each.mutate(_passes=each["chance"] <= false_share * place / rows)
    limit = each["chance"].max(where=each["_passes"]).over(ibis.window())
    each = each.mutate(_limit=limit)
    lost = each.filter((each["chance"] <= each["_limit"]) & (each["chance"] < 1) & (each["missed"] >= MISSED))
    first = ibis.row_number().over(group_by="customer_id", order_by=["changed", "from_manager"])
    lost = lost.mutate(_place=first).filter(ibis._["_place"] == 0).drop("_place", "_limit", "_passes")
    return lost.order_by(ibis.desc("value_before"), ibis.asc("customer_id"))


def regular(bought: Table, changes: Table, *, as_of: dt.date, grace_days: int = 14) -> ir.Table:
    """Return the customers who bought regularly until their account manager changed: who can be lost with one.

    The columns of `lost_with_manager`, of every change; `chance` is 1 for who bought after the days of grace.
    """
    if grace_days < 0:
        raise ValueError(f"grace_days is at least 0, not {grace_days}")
    table, log = as_table(changes), as_table(bought).select(buyer="customer_id", date="date", value="value")
    lives = table.inner_join(log, table["customer_id"] == log["buyer"])
    day = lives["date"].delta(lives["changed"], unit="day")
    before = day < 0
    keys = ["customer_id", "from_manager", "to_manager", "changed", "kind"]
    each = lives.group_by(keys).aggregate(
        purchases=day.count(where=before),
        first=day.min(where=before),
        last=day.max(where=before),
        latest=day.max(),
        last_purchase=lives["date"].max(),
        value_before=exact_sum((before & (day >= -YEAR)).ifelse(lives["value"], 0)).cast("float64"),
    )
    each = each.filter(each["purchases"] >= RHYTHM)
    repeats, known = (each["purchases"] - 1).cast("float64"), (-each["first"]).cast("float64")
    bought_for = (each["last"] - each["first"]).cast("float64")
    pause = (bought_for / (bought_for - each["last"])).pow(repeats)
    silent = each["latest"] < grace_days
    quiet = ibis.literal(as_of).delta(each["changed"], unit="day") - ibis.greatest(each["latest"], 0)
    found = each.mutate(
        usual_gap=known / repeats,
        missed=quiet * repeats / known,
        chance=silent.ifelse((known / (known + quiet)).pow(repeats), 1.0),
    ).filter(pause >= USUAL)
    columns = ["from_manager", "to_manager", "changed", "kind", "last_purchase", "usual_gap", "missed", "chance"]
    return found.select("customer_id", "value_before", *columns)


def not_yet_met(changes: Table, contacts: Table, customers: Table, *, as_of: dt.date, days: int) -> ir.Table:
    """Return the customers who have a new account manager and have not heard of that one yet.

    Parameters
    ----------
    changes
        Changes of account managers (see `changes`); of several of a customer the last counts, and who has nobody since
        then is not waiting for anyone.
    contacts
        Contacts by the as-of date with `agent_id`; those to market something do not count.
    customers
        Those to be looked at: `customer_id`, `value`.
    as_of
        The date of the analysis.
    days
        The new manager began in the last so many days.

    Returns
    -------
    ibis.Table
        The most valuable first: `customer_id`, `value`, `to_manager`, `from_manager`, `begins`, `days_since` then and
        `last_contact` (by anybody; NULL: never).
    """
    if days < 1:
        raise ValueError(f"days must be at least 1, not {days}")
    table = as_table(changes)
    last = ibis.row_number().over(group_by="customer_id", order_by=ibis.desc("changed"))
    table = table.mutate(_place=last).filter((ibis._["_place"] == 0) & ibis._["to_manager"].notnull())
    table = table.mutate(days_since=ibis.literal(as_of).delta(table["begins"], unit="day"))
    table = table.filter(table["days_since"] < days)
    table = as_table(customers).select("customer_id", "value").inner_join(table, "customer_id")
    met = as_table(contacts)
    met = met.filter(met["purpose"] != "market")
    met = met.select(met_id="customer_id", agent_id="agent_id", date=met["time"].cast("date"))
    joined = table.left_join(met, table["customer_id"] == met["met_id"])
    own = (joined["agent_id"] == joined["to_manager"]) & (joined["date"] >= joined["begins"])
    found = joined.group_by("customer_id", "value", "to_manager", "from_manager", "begins", "days_since").aggregate(
        last_contact=joined["date"].max(), meetings=joined["date"].count(where=own)
    )
    found = found.filter(found["meetings"] == 0).drop("meetings")
    return found.order_by(ibis.desc("value"), ibis.asc("customer_id"))


def hand_over(
    customers: Table,
    managers: Table,
    leaving: str,
    *,
    contacts: Table | None = None,
    cases: Table | None = None,
    invoices: Table | None = None,
) -> ir.Table:
    """Return what is to be known of each customer of an account manager who leaves.

    Parameters
    ----------
    customers
        Those to be handed over: `customer_id`, `tier`, `value`.
    managers
        Who looks after whom now (`treatment.managers`).
    leaving
        The account manager.
    contacts, cases, invoices
        Where they are known: for the last contact (but to market something), what is not closed, and what is overdue
        (`receivables.invoices`).

    Returns
    -------
    ibis.Table
        The most valuable first: `customer_id`, `value`, `tier`, and of what is known `last_contact`, `open_cases` and
        `overdue` (money).

    Raises
    ------
    Unanswerable
        Nobody is assigned to that account manager.
    """
    owner = as_table(managers)
    own = owner.filter(owner["account_manager_id"] == leaving).select("customer_id")
    if not own.count().execute():
        known = sorted(owner.select("account_manager_id").distinct().limit(12).to_pandas()["account_manager_id"])
        raise Unanswerable(f"No customer is assigned to '{leaving}' now; account managers are {', '.join(known)}.")
    table = as_table(customers).select("customer_id", "value", "tier").inner_join(own, "customer_id")
    if contacts is not None:
        met = as_table(contacts)
        met = met.filter(met["purpose"] != "market")
        last = met.group_by(known_id="customer_id").aggregate(last_contact=met["time"].cast("date").max())
        table = table.left_join(last, table["customer_id"] == last["known_id"]).drop("known_id")
    if cases is not None:
        still = as_table(cases)
        still = still.filter(still["closed"].isnull()) if "closed" in still.columns else still.limit(0)
        counted = still.group_by(known_id="customer_id").aggregate(open_cases=still.count())
        table = table.left_join(counted, table["customer_id"] == counted["known_id"]).drop("known_id")
        table = table.mutate(open_cases=table["open_cases"].fill_null(0))
    if invoices is not None:
        owed = as_table(invoices)
        owed = owed.filter(owed["age"].notnull())
        summed = owed.group_by(known_id="customer_id").aggregate(overdue=exact_sum(owed["amount"]).cast("float64"))
        table = table.left_join(summed, table["customer_id"] == summed["known_id"]).drop("known_id")
        table = table.mutate(overdue=table["overdue"].fill_null(0.0))
    return table.order_by(ibis.desc("value"), ibis.asc("customer_id"))
