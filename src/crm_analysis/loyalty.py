"""Whom to show that the company cares: visits that become due, birthdays and anniversaries, and what is on record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import pyramid
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

PREFERENCES = ("contact_person", "preferred_contact", "preference")
YES = ("yes", "y", "true", "t", "1", "x")
BLANK = ("-", "?", "n/a", "na", "none", "null", "unknown", "nan")  # what people write into a field to leave it empty
OLDEST = 110  # an age above it is a mistake


def coming_visits(visits: Table, *, as_of: dt.date, days: int) -> ir.Table:
    """Return the customers who become due for a contact in the coming days; who is overdue already is not among them.

    Parameters
    ----------
    visits
        When the company last got in touch with each customer (see `treatment.visits_due`).
    as_of
        The date of the analysis.
    days
        How many days ahead to look.

    Returns
    -------
    ibis.Table
        By date, then the most valuable first: `customer_id`, `due_on` (the first day on which the last contact is
        longer ago than the cadence of the tier), `value`, `tier`, `last_contact` (NULL: never, then the cadence runs
        from the first purchase).
    """
    table = as_table(visits)
    ahead = table["cadence"] + 1 - table["days_since"]
    table = table.mutate(ahead=ahead).filter((table["cadence"] > 0) & ahead.between(1, _ahead(days)))
    table = table.mutate(due_on=_days_after(as_of, table["ahead"], days))
    table = table.select("customer_id", "due_on", "value", "tier", "last_contact")
    return table.order_by("due_on", ibis.desc("value"), "customer_id")


def occasions(dates: Table, column: str, *, as_of: dt.date, days: int, every: int) -> ir.Table:
    """Return whose birthday, or other day of the year, is in the coming days, and which one it is.

    A day on 29 February is kept on the 28th in years without one. The as-of date itself is past.

    Parameters
    ----------
    dates
        One row per customer: `customer_id` and the dates.
    column
        The column with the dates, such as `birthday`; rows without a date, or with one after the as-of date, are left
        out.
    as_of
        The date of the analysis.
    days
        How many days ahead to look, at most 365.
    every
        Years of which multiples are round.

    Returns
    -------
    ibis.Table
        `customer_id`, `date` (when it is), `years` since then, and `round` (whether these are a multiple of `every`;
        more than 110 years are taken for a mistake, and never are).
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 year, not {every}")
    table = as_table(dates)
    born = table[column].cast("date")
    table = table.select("customer_id", born=born).filter(born <= as_of)
    coming: dict[int, dt.date] = {}
    for date in (as_of + dt.timedelta(days=ahead) for ahead in range(1, _ahead(days) + 1)):
        coming.setdefault(100 * date.month + date.day, date)
        if (date.month, date.day) == (2, 28) and (date + dt.timedelta(days=1)).month == 3:
            coming.setdefault(229, date)
    day = table["born"].month() * 100 + table["born"].day()
    on = ibis.cases(*((day == number, ibis.literal(date)) for number, date in coming.items()))
    table = table.filter(day.isin([*coming])).mutate(date=on)
    years = table["date"].year() - table["born"].year()
    found = table.select("customer_id", "date", years=years)
    return found.mutate(round=(found["years"] > 0) & (found["years"] % every == 0) & (found["years"] <= OLDEST))


def with_preferences(table: Table, customers: Table | None) -> ir.Table:
    """Add what is on record of how customers like to be contacted, so that a visit is a good one.

    Parameters
    ----------
    table
        One row per customer.
    customers
        The customers table. It has no dates: it says what is on record now, whatever the as-of date.

    Returns
    -------
    ibis.Table
        The columns of the table, and of `contact_person`, `preferred_contact` and `preference` those that are on
        record. Where `do_not_call` is a yes, `preferred_contact` ends in "do not call", and names no telephone.
    """
    table = as_table(table)
    if customers is None:
        return table
    people = as_table(customers)
    known = {name: filled(people[name]) for name in PREFERENCES if name in people.columns}
    if "do_not_call" in people.columns:
        refuses = people["do_not_call"].cast("string").lower().isin(YES).fill_null(False)
        wish = known.get("preferred_contact", ibis.null("string"))
        wish = (wish.lower() == "telephone").fill_null(False).ifelse(ibis.null("string"), wish)
        known["preferred_contact"] = refuses.ifelse(
            ibis.coalesce(wish + ", do not call", ibis.literal("do not call")),
            known.get("preferred_contact", ibis.null("string")),
        )
    if not known:
        return table
    people = people.select(person_id="customer_id", **known)
    return table.left_join(people, table["customer_id"] == people["person_id"]).drop("person_id")


def records(
    tiered: Table,
    customers: Table,
    fields: Sequence[str],
    weights: Sequence[float] = (),
    *,
    of_companies: Sequence[str] = (),
) -> ir.Table:
    """Return how complete each customer's record is.

    Parameters
    ----------
    tiered
        One row per customer with `customer_id`, `value` and `tier`; who is not in the customers table has an empty
        record.
    customers
        The customers table. It has no dates: it says what is on record now, whatever the as-of date.
    fields
        Its columns that should be filled; those that the table does not have are skipped (see `looked_at`).
    weights
        How much each of the fields counts; by default all the same.
    of_companies
        Fields that are not asked of customers whose `kind` is person.

    Returns
    -------
    ibis.Table
        `customer_id`, `tier`, `value`; for each field `has_` and its name: true where it is filled, NULL where it is
        not asked for; `score` (the filled share of what is asked for, by weight; NULL where nothing is), its parts
        `filled` and `asked`, and `missing` (the names of fields to be asked for, by weight; "" if none).
    """
    weights = weights or [1.0] * len(fields)
    if len(weights) != len(fields) or not all(number > 0 for number in weights):
        raise ValueError(
            f"{len(fields)} fields need as many weights above 0, one for each in the same order, not {len(weights)}:"
            f" {', '.join(map(str, weights))}"
        )
    weight = dict(zip(fields, weights, strict=True))
    there = sorted(looked_at(customers, fields), key=lambda name: -weight[name])
    people, table = as_table(customers), as_table(tiered).select("customer_id", "tier", "value")
    person = (people["kind"] == "person").fill_null(False) if "kind" in people.columns else ibis.literal(False)
    has = {
        f"has_{name}": (filled(people[name]) if people[name].type().is_string() else people[name]).notnull()
        for name in there
    }
    people = people.select(person_id="customer_id", person=person, **has)
    table = table.left_join(people, table["customer_id"] == people["person_id"])
    spared = table["person"].fill_null(False)
    asked = {
        f"has_{name}": (spared if name in of_companies else ibis.literal(False)).ifelse(
            ibis.null("boolean"), table[f"has_{name}"].fill_null(False)
        )
        for name in there
    }
    table = table.select("customer_id", "tier", "value", **asked)
    shown = {name: table[f"has_{name}"] for name in there}
    got = sum((has.fill_null(False).ifelse(weight[name], 0.0) for name, has in shown.items()), ibis.literal(0.0))
    of = sum((has.notnull().ifelse(weight[name], 0.0) for name, has in shown.items()), ibis.literal(0.0))
    lacking = [(~has).fill_null(False).ifelse(f"{labelled(name)}, ", "") for name, has in shown.items()]
    names = ibis.literal("").concat(*lacking)
    missing = names.left(ibis.greatest(names.length() - 2, 0))
    return table.mutate(score=got / of.nullif(0.0), filled=got, asked=of, missing=missing)


def completeness(records: Table) -> pd.DataFrame:
    """Return which share of each tier's customers has each field filled.

    Parameters
    ----------
    records
        The records (see `records`).

    Returns
    -------
    pandas.DataFrame
        One row per field, least filled of key customers first, and last the `record score` (what is filled of all that
        is asked for, by weight): `field`, the four tiers, and `all`, as shares; NaN where a field is asked of nobody.
    """
    table = as_table(records)
    fields = [name.removeprefix("has_") for name in table.columns if name.startswith("has_")]
    sums: dict[str, ir.Scalar] = {"filled": exact_sum(table["filled"]), "asked": exact_sum(table["asked"])}
    for name in fields:
        has = table[f"has_{name}"]
        sums |= {f"{name}_filled": has.cast("int64").sum(), f"{name}_asked": has.count()}
    found = table.group_by("tier").aggregate(**sums).to_pandas().set_index("tier").astype(float)
    found = found.reindex(pyramid.TIERS).fillna(0.0)
    found.loc["all"], found.loc["key"] = found.sum(), found.loc[[*pyramid.KEY]].sum()
    shares = {
        labelled(name): found[f"{name}_filled"] / found[f"{name}_asked"].where(found[f"{name}_asked"] > 0)
        for name in fields
    }
    frame = pd.DataFrame(shares).T.rename_axis("field").reset_index().sort_values(["key", "all", "field"])
    score = (found["filled"] / found["asked"].where(found["asked"] > 0)).rename("record score")
    frame = pd.concat([frame, score.to_frame().T.rename_axis("field").reset_index()], ignore_index=True)
    return frame[["field", *pyramid.TIERS, "all"]].rename_axis(columns=None)


def gaps(records: Table) -> ir.Table:
    """Return the customers whose record has gaps, the most valuable first.

    `customer_id`, `value`, `missing` (see `records`), `score`.
    """
    table = as_table(records)
    found = table.filter(table["missing"] != "").select("customer_id", "value", "missing", "score")
    return found.order_by(ibis.desc("value"), ibis.asc("customer_id"))


def looked_at(customers: Table, fields: Sequence[str]) -> list[str]:
    """Return those of the fields that the customers table has; raises `Unanswerable` if it has none of them."""
    there = [name for name in dict.fromkeys(fields) if name in as_table(customers).columns]
    if not there:
        raise Unanswerable(
            f"The customers table has none of the fields {', '.join(fields) or '(none are named)'}, so nothing tells"
            " how complete its records are."
        )
    return there


def filled(field: ir.Value) -> ir.StringValue:
    """Return what is written in a field as text; NULL where nothing is, or a dash, "unknown" or the like."""
    text = field.cast("string").strip()
    return (text.lower().isin(BLANK) | (text == "")).ifelse(ibis.null("string"), text)


def labelled(field: str) -> str:
    """Return what a reader calls a field: `account_manager_id` → account manager."""
    return field.removesuffix("_id").replace("_", " ").strip()


def _ahead(days: int) -> int:
    if not 1 <= days <= 365:
        raise ValueError(f"one looks from 1 to 365 days ahead, not {days}")
    return days


def _days_after(as_of: dt.date, ahead: ir.IntegerValue, most: int) -> ir.DateValue:
    """Return the date so many days ahead, up to `most`."""
    return ibis.cases(*((ahead == n, ibis.literal(as_of + dt.timedelta(days=n))) for n in range(1, most + 1)))
