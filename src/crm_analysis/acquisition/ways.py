"""How everybody was found, how many of those approached were won, and what each cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import calls, numerals
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import FEW, with_rates

UNKNOWN, OTHER = "unknown", "other ways"
WAYS = 9  # ways that are told apart; those in which fewer people were found are taken together
ALIKE = ["kind", "year"]  # what people are to be alike in when ways are compared


def people(customers: Table, bought: Table, contacts: Table | None = None, *, ways: int = WAYS) -> ir.Table:
    """Return everybody of whom the company knew by the as-of date, and the way in which they were found.

    How somebody was found, and what that cost, has no date in the customers table. Whoever had neither a contact nor a
    purchase by the as-of date is therefore not counted, although the table may name them.

    Parameters
    ----------
    customers
        The customers table with `acquired_via`, and if known `acquisition_cost` and `kind`.
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    contacts
        The contacts by the as-of date.
    ways
        How many ways are told apart: those in which most people were found; the rest are "other ways".

    Returns
    -------
    ibis.Table
        One row per person: `customer_id`, `way` ("unknown" where the customers table does not tell), `kind`, `cost`
        (NULL where it is not known), `approached` (the first contact; NULL of those who bought before it, or without
        one), `first_purchase` (NULL of those who have not bought).
    """
    if ways < 1:
        raise ValueError(f"at least 1 way is told apart, not {ways}")
    table, purchases = as_table(customers), as_table(bought)
    kind = table["kind"].cast("string") if "kind" in table.columns else ibis.null("string")
    cost = table["acquisition_cost"] if "acquisition_cost" in table.columns else ibis.null("float64")
    named = table.select(
        person_id="customer_id",
        via=table["acquired_via"].cast("string").strip().nullif(""),
        kind=kind.fill_null(UNKNOWN),
        cost=cost.cast("float64"),
    )
    known = purchases.filter(purchases["number"] == 1).select("customer_id", first_purchase="date")
    known = known.mutate(approached=ibis.null("date"))
    if contacts is not None:
        talks = as_table(contacts)
        met = talks.group_by(met_id="customer_id").aggregate(met=talks["time"].cast("date").min())
        both = known.outer_join(met, [("customer_id", "met_id")]).select(
            "customer_id", "first_purchase", "met_id", "met"
        )
        before = (both["met"] <= both["first_purchase"]).fill_null(True)
        both = both.mutate(approached=before.ifelse(both["met"], ibis.null("date")))
        known = both.mutate(customer_id=ibis.coalesce(both["customer_id"], both["met_id"])).drop("met_id", "met")
    found = known.left_join(named, [("customer_id", "person_id")])
    counted = found.filter(found["via"].notnull()).group_by(main="via").aggregate(people=lambda t: t.count())
    place = ibis.row_number().over(order_by=[ibis.desc("people"), "main"])
    main = counted.mutate(place=place).filter(lambda t: t["place"] < ways).select("main")
    found = found.left_join(main, [("via", "main")])
    way = ibis.cases((found["via"].isnull(), UNKNOWN), (found["main"].isnull(), OTHER), else_=found["via"])
    kind = found["kind"].fill_null(UNKNOWN)
    return found.select("customer_id", "cost", "approached", "first_purchase", way=way, kind=kind)


def approached(people: Table, *, as_of: dt.date, within_days: int) -> pd.DataFrame:
    """Return how many of those approached became customers, and what they all cost.

    Parameters
    ----------
    people
        See `people`. Those without a first contact before the purchase are not among those approached: they are known
        only because they bought.
    as_of
        The date of the analysis.
    within_days
        Days from the first contact in which the first purchase counts. Who was approached later than so many days
        before the as-of date is left out, because nobody knows yet.

    Returns
    -------
    pandas.DataFrame
        By `way`, `kind` and `year` (of the first contact): `people`, `won` (of them), `too_recent` (left out), `cost`
        of the people of whom it is known, and how many these are: `priced`.

    Raises
    ------
    Unanswerable
        Nobody was approached early enough.
    """
    if within_days < 1:
        raise ValueError(f"a first purchase counts within at least 1 day, not {within_days}")
    table = as_table(people)
    table = table.filter(table["approached"].notnull())
    early = table["approached"] <= as_of - dt.timedelta(days=within_days)
    won = (table["first_purchase"].delta(table["approached"], unit="day") <= within_days).fill_null(False)
    cells = table.group_by("way", "kind", year=table["approached"].year()).aggregate(
        people=table.count(where=early),
        won=table.count(where=early & won),
        too_recent=table.count(where=~early),
        cost=exact_sum(early.ifelse(table["cost"], 0.0).fill_null(0.0)).cast("float64"),
        priced=table["cost"].count(where=early),
    )
    frame = cells.order_by("way", "kind", "year").to_pandas()
    if not frame["people"].sum():
        raise Unanswerable(
            f"Nobody is known to have been approached {numerals.count(within_days)} days or more before {as_of}, so "
            "nothing tells how"
            " many of those approached became customers; with fewer within_days, they can be judged sooner."
        )
    return frame


def costs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return what a person approached and a customer won cost, way by way.

    The cost of all who were approached, also of those who never bought, belongs to the customers who were won. Those of
    whom the cost is not known count as much as the others of the same way.

    Parameters
    ----------
    cells
        Those approached (see `approached`).

    Returns
    -------
    pandas.DataFrame
        The rows of `by_way` (`people`, `won`, `rate`, …) with `cost_per_person` (NaN where no cost is known) and
        `cost_per_customer` (NaN as well where nobody was won).
    """
    frame = by_way(cells, "won", "people")
    each = frame["cost"] / frame["priced"].where(frame["priced"] > 0)
    won = frame["won"].where(frame["won"] > 0)
    return frame.assign(cost_per_person=each, cost_per_customer=each * frame["people"] / won)


def compared(cells: pd.DataFrame, part: str, whole: str) -> pd.DataFrame:
    """Return how the share of each way differs from that of all others, among people of the same kind and year.

    The intervals are wide enough for all ways at once (see `calls.compared`). People of whom it is not known how they
    were found are not compared.
    """
    return calls.compared(cells[cells["way"] != UNKNOWN], "way", ALIKE, part=part, whole=whole)


def apart(compared: pd.DataFrame) -> str:
    """Return in words which ways are clearly above and below the others (see `compared`).

    "clearly more of those found by referral (88%)", or that chance could explain the differences; "" if no two ways
    have enough people to be compared.
    """
    if (~compared["few"]).sum() < 2:
        return ""
    named = compared["way"] + " (" + compared["rate"].map("{:.0%}".format) + ")"
    said = [
        f"clearly {how} of those found by {' and '.join(named[compared['clear'] & (sign * compared['adjusted'] > 0)])}"
        for sign, how in ((1, "more"), (-1, "fewer"))
        if (compared["clear"] & (sign * compared["adjusted"] > 0)).any()
    ]
    return ", ".join(said) or "between the ways, chance could explain the differences"


def own_costs(people: Table) -> pd.DataFrame:
    """Return what customers cost themselves, for data that do not tell who else was approached.

    `way`, `customers`, `cost_per_customer` (the mean of those of whom it is known; NaN if of nobody). What was spent on
    those who never bought is left out.
    """
    table = as_table(people)
    table = table.filter(table["first_purchase"].notnull())
    found = table.group_by("way").aggregate(
        customers=table.count(), cost=exact_sum(table["cost"]).cast("float64"), priced=table["cost"].count()
    )
    frame = found.order_by("way").to_pandas()
    return frame.assign(cost_per_customer=frame["cost"] / frame["priced"].where(frame["priced"] > 0))[
        ["way", "customers", "cost_per_customer"]
    ]


def by_way(cells: pd.DataFrame, part: str, whole: str) -> pd.DataFrame:
    """Return the share of each way with its 95 % interval, the highest first; ways of few, and unknown ones, last.

    `way`, the sums of the cells' columns, `rate`, `low`, `high` (see `rates.with_rates`).
    """
    sums = cells.drop(columns=ALIKE).groupby("way").sum().reset_index()
    frame = with_rates(sums, part, whole)
    frame = frame.assign(last=frame["way"].isin([OTHER, UNKNOWN]), few=frame[whole] < FEW)
    frame = frame.sort_values(["last", "few", "rate", "way"], ascending=[True, True, False, True], ignore_index=True)
    return frame.drop(columns=["last", "few"])


def arrivals(people: Table, edges: Sequence[dt.date]) -> pd.DataFrame:
    """Return by which ways the new customers of each period were found.

    Parameters
    ----------
    people
        See `people`.
    edges
        The day before the first period, and the last day of each (see `periods.edges`).

    Returns
    -------
    pandas.DataFrame
        Every pair of a `period` (its last day) and a `way` of anybody new in them: `new` (customers who first bought
        then), `all` new customers of the period, `rate`, `low` and `high` (see `rates.with_rates`).
    """
    first, *ends = sorted(edges)
    table = as_table(people)
    table = table.filter((table["first_purchase"] > first) & (table["first_purchase"] <= ends[-1]))
    period = ibis.cases(*((table["first_purchase"] <= end, number) for number, end in enumerate(ends)), else_=None)
    found = table.group_by("way", period=period).aggregate(new=table.count()).to_pandas()
    pairs = pd.MultiIndex.from_product([range(len(ends)), sorted(found["way"].unique())], names=["period", "way"])
    frame = found.set_index(["period", "way"])["new"].reindex(pairs, fill_value=0).reset_index()
    frame = frame.assign(all=frame.groupby("period")["new"].transform("sum"))
    return with_rates(frame.assign(period=frame["period"].map(dict(enumerate(ends)))), "new", "all")
